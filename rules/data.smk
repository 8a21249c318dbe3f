# Every data set becomes one memory-mappable file of uint8 tensors that all cells share.


rule prepare:
    input:
        unpack(PIPELINE.inputs("prepare")),
    output:
        **PIPELINE.files("prepare").outputs,
    log:
        PIPELINE.files("prepare").log,
    benchmark:
        PIPELINE.files("prepare").benchmark
    priority: 1  # what is wrong with one is said before anything is computed on another
    localrule: True  # it may have to download, which compute nodes seldom can
    conda:
        ENVIRONMENT
    threads: PIPELINE.readers
    params:
        job=PIPELINE.job("prepare"),
        options=lambda wildcards: PIPELINE.grid.dataset(wildcards.dataset),
    script:
        "../workflow_scripts/prepare.py"


# What makes the pixels of a data set uncorrelated, where networks are trained on such images.
rule whiten:
    input:
        unpack(PIPELINE.inputs("whiten")),
    output:
        **PIPELINE.files("whiten").outputs,
    log:
        PIPELINE.files("whiten").log,
    benchmark:
        PIPELINE.files("whiten").benchmark
    conda:
        ENVIRONMENT
    threads: THREADS
    resources:
        gpu=0,
        mem_mb=PIPELINE.memory("whiten", "select"),
        runtime=PIPELINE.runtime("select"),
    params:
        job=PIPELINE.job("whiten"),
    script:
        "../workflow_scripts/whiten.py"
