# Sets in the files that other people's code reads.


rule export:
    input:
        unpack(PIPELINE.inputs("export")),
    output:
        **PIPELINE.files("export").outputs,
    log:
        PIPELINE.files("export").log,
    benchmark:
        PIPELINE.files("export").benchmark
    wildcard_constraints:
        method="|".join([SELECTED, LEARNT, IMPORTED]),
    localrule: True
    conda:
        ENVIRONMENT
    params:
        job=PIPELINE.job("export"),
    script:
        "../workflow_scripts/export.py"
