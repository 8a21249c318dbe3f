# Sets that an iterative method learns.


rule condense:
    input:
        unpack(PIPELINE.inputs("condense")),
    output:
        **PIPELINE.files("condense").outputs,
    log:
        PIPELINE.files("condense").log,
    benchmark:
        PIPELINE.files("condense").benchmark
    wildcard_constraints:
        method=LEARNT,
    conda:
        ENVIRONMENT
    threads: THREADS
    resources:
        gpu=1,
        mem_mb=PIPELINE.memory("condense", "condense"),
        runtime=PIPELINE.runtime("condense"),
    params:
        job=PIPELINE.job("condense"),
    script:
        "../workflow_scripts/condense.py"
