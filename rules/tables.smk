# From the rows of every evaluation to what the paper prints, in seconds: not worth a job of a cluster.


localrules:
    evaluations,
    table1,
    table2,
    cross_architecture,
    ablations,


PUBLISHED = provenance.digest(
    Path(workflow.basedir, "resources/published.csv").read_text()
)


rule evaluations:
    input:
        evaluation_files(GRID.evaluations()),
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
        data=data_files(GRID.evaluations()),
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
        expected=GRID.expected_models(GRID.evaluations()),
        published=PUBLISHED,
        code=code("table1.py"),
    script:
        "../workflow_scripts/table1.py"


rule table2:
    input:
        evaluations=evaluation_files(GRID.table2()),
        data=data_files(GRID.table2()),
    output:
        csv=report(
            f"{RESULTS}/tables/table2.csv",
            caption="../report/table2.rst",
            category="Tables",
        ),
        md=f"{RESULTS}/tables/table2.md",
        tex=f"{RESULTS}/tables/table2.tex",
    log:
        f"{RESULTS}/tables/table2.log",
    benchmark:
        f"{RESULTS}/tables/table2.benchmark.tsv"
    conda:
        ENVIRONMENT
    params:
        expected=GRID.expected_models(GRID.table2()),
        published=PUBLISHED,
        code=code("table2.py"),
    script:
        "../workflow_scripts/table2.py"


rule cross_architecture:
    input:
        evaluations=evaluation_files(GRID.cross_architecture()),
    output:
        csv=report(
            f"{RESULTS}/tables/cross_architecture.csv",
            caption="../report/cross_architecture.rst",
            category="Tables",
        ),
        md=f"{RESULTS}/tables/cross_architecture.md",
        tex=f"{RESULTS}/tables/cross_architecture.tex",
        figure=report(
            f"{RESULTS}/figures/cross_architecture.png",
            caption="../report/cross_architecture.rst",
            category="Figures",
        ),
        pdf=f"{RESULTS}/figures/cross_architecture.pdf",
    log:
        f"{RESULTS}/tables/cross_architecture.log",
    benchmark:
        f"{RESULTS}/tables/cross_architecture.benchmark.tsv"
    conda:
        ENVIRONMENT
    params:
        expected=GRID.expected_models(GRID.cross_architecture()),
        code=code("cross_architecture.py"),
    script:
        "../workflow_scripts/cross_architecture.py"


rule ablations:
    input:
        evaluations=list(
            dict.fromkeys(
                itertools.chain(*map(evaluation_files, GRID.ablations().values()))
            )
        ),
    output:
        csv=report(
            f"{RESULTS}/tables/ablations.csv",
            caption="../report/ablations.rst",
            category="Tables",
        ),
        md=f"{RESULTS}/tables/ablations.md",
        tex=f"{RESULTS}/tables/ablations.tex",
    log:
        f"{RESULTS}/tables/ablations.log",
    benchmark:
        f"{RESULTS}/tables/ablations.benchmark.tsv"
    conda:
        ENVIRONMENT
    params:
        ablations={
            name: GRID.expected_models(evaluations)
            for name, evaluations in GRID.ablations().items()
        },
        code=code("ablations.py"),
    script:
        "../workflow_scripts/ablations.py"
