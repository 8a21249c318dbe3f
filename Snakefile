# Condense image data sets, train networks on the condensed sets, draw up tables and figures.
#
#   snakemake --cores 1 --resources gpu=1                  everything in config.yaml
#   snakemake --configfile config/demo.yaml --cores 2      minutes on a laptop
#
# Targets: all (default), page, table1, table2, scores, cross_architecture, ablations, figures, or the path of
# any file under results/.

from snakemake.utils import min_version

min_version("9.20")


report: "report/workflow.rst"


include: "rules/common.smk"  # reads config.yaml and what --configfile and --config change in it


rule all:
    default_target: True
    input:
        # Every file of every cell, so that one that is missing is made again.
        PIPELINE.cell_files(),
        PIPELINE.aggregate_files(".csv", ".md", ".tex", ".png", ".pdf", ".html"),


rule figures:
    input:
        PIPELINE.aggregate_files(".png", ".pdf"),


include: "rules/data.smk"
include: "rules/select.smk"
include: "rules/condense.smk"
include: "rules/evaluate.smk"
include: "rules/export.smk"
include: "rules/aggregates.smk"


PIPELINE.check_targets()
