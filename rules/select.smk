# Sets of real images, and the network that some selections look at.


rule reference_network:
    input:
        unpack(PIPELINE.inputs("reference_network")),
    output:
        **PIPELINE.files("reference_network").outputs,
    log:
        PIPELINE.files("reference_network").log,
    benchmark:
        PIPELINE.files("reference_network").benchmark
    conda:
        ENVIRONMENT
    threads: THREADS
    resources:
        gpu=1,
        mem_mb=PIPELINE.memory("reference_network", "evaluate"),
        runtime=PIPELINE.runtime("evaluate"),
    params:
        job=PIPELINE.job("reference_network"),
    script:
        "../workflow_scripts/reference_network.py"


rule select:
    input:
        unpack(PIPELINE.inputs("select")),
    output:
        **PIPELINE.files("select").outputs,
    log:
        PIPELINE.files("select").log,
    benchmark:
        PIPELINE.files("select").benchmark
    wildcard_constraints:
        method=SELECTED,
    conda:
        ENVIRONMENT
    resources:
        gpu=0,
        mem_mb=PIPELINE.memory("select", "select"),
        runtime=PIPELINE.runtime("select"),
    params:
        job=PIPELINE.job("select"),
    script:
        "../workflow_scripts/select.py"
