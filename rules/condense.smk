# Sets that an iterative method learns.


rule condense:
    input:
        data=data_of,
    output:
        set=f"{CELL}/set.safetensors",
        png=f"{CELL}/set.png",
        run=f"{CELL}/run.json",
        trace=f"{CELL}/trace.csv",
    log:
        f"{CELL}/set.log",
    benchmark:
        f"{CELL}/set.benchmark.tsv"
    wildcard_constraints:
        method=LEARNT,
    conda:
        ENVIRONMENT
    threads: GRID.config["execution"]["threads"]
    resources:
        gpu=1,
        mem_mb=memory_of(
            "condense",
            lambda wildcards: wildcards.network,
            lambda wildcards: GRID.condensation(cell(wildcards)),
            lambda wildcards: grid.ITERATIVE[grid.base(wildcards.method)],
        ),
        runtime=asked("condense", "runtime"),
    params:
        data=data_digest,
        cell=cell,
        settings=lambda wildcards: GRID.condensation(cell(wildcards)),
        code=lambda wildcards: code(
            "condense.py",
            f"dclib.methods.{grid.ITERATIVE[grid.base(wildcards.method)]}",
        ),
        module=lambda wildcards: grid.ITERATIVE[grid.base(wildcards.method)],
    script:
        "../workflow_scripts/condense.py"
