# Every data set becomes one memory-mappable file of uint8 tensors that all cells share.


rule prepare:
    input:
        source_files,
        discard_damaged(f"{RESULTS}/{{dataset}}/data.safetensors"),
    output:
        f"{RESULTS}/{{dataset}}/data.safetensors",
    log:
        f"{RESULTS}/{{dataset}}/data.log",
    benchmark:
        f"{RESULTS}/{{dataset}}/data.benchmark.tsv"
    conda:
        ENVIRONMENT
    params:
        dataset=lambda wildcards: GRID.dataset(wildcards.dataset),
        files=source_digest,
        code=code("prepare.py"),
    script:
        "../workflow_scripts/prepare.py"
