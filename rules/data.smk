# Every data set becomes one memory-mappable file of uint8 tensors that all cells share.


localrules:
    prepare,  # it may have to download, which compute nodes seldom can


rule prepare:
    input:
        source_files,
    output:
        f"{RESULTS}/{{dataset}}/data.safetensors",
    log:
        f"{RESULTS}/{{dataset}}/data.log",
    benchmark:
        f"{RESULTS}/{{dataset}}/data.benchmark.tsv"
    priority: 1  # what is wrong with one is said before anything is computed on another
    conda:
        ENVIRONMENT
    params:
        dataset=lambda wildcards: GRID.dataset(wildcards.dataset),
        files=source_digest,
        code=code("prepare.py"),
    script:
        "../workflow_scripts/prepare.py"
