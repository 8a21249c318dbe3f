# From the rows of every evaluation to what the paper prints.


rule evaluations:
    input:
        evaluation_files("csv"),
    output:
        f"{RESULTS}/tables/evaluations.csv",
    log:
        f"{RESULTS}/tables/evaluations.log",
    benchmark:
        f"{RESULTS}/tables/evaluations.benchmark.tsv"
    conda:
        ENVIRONMENT
    params:
        code=code("evaluations.py"),
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
    conda:
        ENVIRONMENT
    params:
        expected=GRID.expected_models(),
        published_digest=provenance.digest(
            Path(workflow.basedir, "resources/published.csv").read_text()
        ),
        code=code("table1.py"),
    script:
        "../workflow_scripts/table1.py"
