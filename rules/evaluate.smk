# Networks trained from scratch on a set, or on the whole training split.


rule evaluate:
    input:
        unpack(PIPELINE.inputs("evaluate")),
    output:
        **PIPELINE.files("evaluate").outputs,
    log:
        PIPELINE.files("evaluate").log,
    benchmark:
        PIPELINE.files("evaluate").benchmark
    conda:
        ENVIRONMENT
    threads: THREADS
    resources:
        gpu=1,
        mem_mb=PIPELINE.memory("evaluate", "evaluate"),
        runtime=PIPELINE.runtime("evaluate"),
    params:
        job=PIPELINE.job("evaluate"),
    script:
        "../workflow_scripts/evaluate.py"
