# From the rows of every evaluation to the tables and figures of the paper, and the page of them: a rule
# for each of those that dclib.pipeline describes.

for NAME, AGGREGATE in AGGREGATES.items():

    rule:
        name:
            NAME
        input:
            unpack(PIPELINE.inputs(NAME)),
        output:
            **{
                name: (
                    report(
                        path,
                        caption=f"../report/{AGGREGATE.caption}",
                        category=AGGREGATE.reported[name],
                    )
                    if name in AGGREGATE.reported
                    else path
                )
                for name, path in PIPELINE.files(NAME).outputs.items()
            },
        log:
            PIPELINE.files(NAME).log,
        benchmark:
            PIPELINE.files(NAME).benchmark
        localrule: True  # it takes seconds, which is not worth a job of a cluster
        conda:
            ENVIRONMENT
        params:
            job=PIPELINE.job(NAME),
        script:
            "../workflow_scripts/aggregate.py"
