# Condense image data sets, train networks on the condensed sets, draw up tables and figures.
#
#   snakemake --cores 1 --resources gpu=1                  everything in config.yaml
#   snakemake --configfile config/demo.yaml --cores 2      minutes on a laptop
#
# Targets: all (default), table1, table2, cross_architecture, ablations, figures, or the path of any
# file under results/.

from snakemake.utils import min_version

min_version("9.0")


configfile: "config.yaml"


report: "report/workflow.rst"


include: "rules/common.smk"


rule all:
    default_target: True
    input:
        # Every file of every cell, so that one that is missing is made again.
        cell_files(),
        table_targets(),
        figure_targets(),


rule figures:
    input:
        figure_targets(),


check_targets()
