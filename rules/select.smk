# Sets of real images.


rule select:
    input:
        data=data_of,
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
    params:
        cell=cell,
        code=lambda wildcards: code(
            "select.py", f"dclib.methods.{grid.SELECTIONS[wildcards.method]}"
        ),
        module=lambda wildcards: grid.SELECTIONS[wildcards.method],
    script:
        "../workflow_scripts/select.py"
