# Sets of real images, and the network that some selections look at.


rule reference_network:
    input:
        data=data_of,
    output:
        f"{RESULTS}/{{dataset}}/reference/{{network}}/network.safetensors",
    log:
        f"{RESULTS}/{{dataset}}/reference/{{network}}/network.log",
    benchmark:
        f"{RESULTS}/{{dataset}}/reference/{{network}}/network.benchmark.tsv"
    conda:
        ENVIRONMENT
    threads: GRID.config["execution"]["threads"]
    resources:
        gpu=1,
        mem_mb=memory_of(
            "evaluate",
            lambda wildcards: wildcards.network,
            lambda wildcards: GRID.reference_network(
                wildcards.dataset, wildcards.network
            ),
            lambda wildcards: "reference_network",
        ),
        runtime=asked("evaluate", "runtime"),
    params:
        data=data_digest,
        settings=lambda wildcards: GRID.reference_network(
            wildcards.dataset, wildcards.network
        ),
        code=code("reference_network.py"),
    script:
        "../workflow_scripts/reference_network.py"


rule select:
    input:
        data=data_of,
        reference=reference_of,
    output:
        set=f"{CELL}/set.safetensors",
        png=f"{CELL}/set.png",
        run=f"{CELL}/run.json",
    log:
        f"{CELL}/set.log",
    benchmark:
        f"{CELL}/set.benchmark.tsv"
    wildcard_constraints:
        method="|".join(grid.SELECTIONS),
    conda:
        ENVIRONMENT
    resources:
        gpu=0,
        mem_mb=asked("select", "mem_mb"),
        runtime=asked("select", "runtime"),
    params:
        data=data_digest,
        cell=cell,
        code=code("select.py"),
    script:
        "../workflow_scripts/select.py"
