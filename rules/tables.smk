# From the rows of every evaluation to what the paper prints.

rule evaluations:
    input:
        [
            f"{RESULTS}/{cell.folder}/eval/{network}.csv"
            for cell, network in GRID.evaluations()
        ],
    output:
        f"{RESULTS}/tables/evaluations.csv",
    log:
        f"{RESULTS}/tables/evaluations.log",
    benchmark:
        f"{RESULTS}/tables/evaluations.benchmark.tsv"
    params:
        code=code("evaluations.py"),
    conda:
        ENVIRONMENT
    script:
        "../workflow_scripts/evaluations.py"


rule table1:
    input:
        evaluations=rules.evaluations.output,
        data=[f"{RESULTS}/{name}/data.safetensors" for name in GRID.datasets],
    output:
        csv=report(
            f"{RESULTS}/tables/table1.csv",
            caption="../report/table1.rst",
            category="Tables",
        ),
        md=f"{RESULTS}/tables/table1.md",
        tex=f"{RESULTS}/tables/table1.tex",
    log:
        f"{RESULTS}/tables/table1.log",
    benchmark:
        f"{RESULTS}/tables/table1.benchmark.tsv"
    params:
        expected=GRID.expected_models(),
        published=str(Path(workflow.basedir, "resources/published.csv")),
        published_digest=provenance.digest(
            Path(workflow.basedir, "resources/published.csv").read_text()
        ),
        code=code("table1.py"),
    conda:
        ENVIRONMENT
    script:
        "../workflow_scripts/table1.py"
