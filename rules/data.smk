# Every data set becomes one memory-mappable file of uint8 tensors that all cells share.


localrules:
    prepare,  # it may have to download, which compute nodes seldom can


rule prepare:
    input:
        no_files,
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
        data=data_digest,
    script:
        "../workflow_scripts/prepare.py"
