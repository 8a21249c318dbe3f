# Networks trained from scratch on a set, or on the whole training split.


rule evaluate:
    input:
        data=data_of,
        set=set_of,
    output:
        rows=f"{CELL}/eval/{{eval_network}}.csv",
        curve=f"{CELL}/eval/{{eval_network}}.curve.csv",
    log:
        f"{CELL}/eval/{{eval_network}}.log",
    benchmark:
        f"{CELL}/eval/{{eval_network}}.benchmark.tsv"
    conda:
        ENVIRONMENT
    threads: GRID.config["execution"]["threads"]
    resources:
        gpu=1,
        mem_mb=memory_of(
            "evaluate",
            lambda wildcards: wildcards.eval_network,
            lambda wildcards: GRID.evaluation(cell(wildcards), wildcards.eval_network),
            lambda wildcards: "evaluation",
        ),
        runtime=asked("evaluate", "runtime"),
    params:
        data=data_digest,
        cell=cell,
        settings=lambda wildcards: GRID.evaluation(
            cell(wildcards), wildcards.eval_network
        ),
        code=code("evaluate.py"),
    script:
        "../workflow_scripts/evaluate.py"
