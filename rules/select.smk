# Sets of real images, the network that some selections look at, and sets of others.


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


rule import_set:
    input:
        unpack(PIPELINE.inputs("import_set")),
    output:
        **PIPELINE.files("import_set").outputs,
    log:
        PIPELINE.files("import_set").log,
    benchmark:
        PIPELINE.files("import_set").benchmark
    wildcard_constraints:
        method=IMPORTED,
    localrule: True  # it takes seconds, and the file may not be where nodes of a cluster look
    conda:
        ENVIRONMENT
    params:
        job=PIPELINE.job("import_set"),
    script:
        "../workflow_scripts/import_set.py"
