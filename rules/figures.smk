# Pictures, each as PNG and PDF, in seconds: not worth a job of a cluster.


localrules:
    figure1_condensed_sets,
    figure2_accuracy,


rule figure1_condensed_sets:
    input:
        shown_sets(),
    output:
        png=report(
            f"{RESULTS}/figures/figure1_condensed_sets.png",
            caption="../report/figure1.rst",
            category="Figures",
        ),
        pdf=f"{RESULTS}/figures/figure1_condensed_sets.pdf",
    log:
        f"{RESULTS}/figures/figure1_condensed_sets.log",
    benchmark:
        f"{RESULTS}/figures/figure1_condensed_sets.benchmark.tsv"
    conda:
        ENVIRONMENT
    params:
        code=code("figure1_condensed_sets.py"),
    script:
        "../workflow_scripts/figure1_condensed_sets.py"


rule figure2_accuracy:
    input:
        shown_curves(),
    output:
        png=report(
            f"{RESULTS}/figures/figure2_accuracy.png",
            caption="../report/figure2.rst",
            category="Figures",
        ),
        pdf=f"{RESULTS}/figures/figure2_accuracy.pdf",
    log:
        f"{RESULTS}/figures/figure2_accuracy.log",
    benchmark:
        f"{RESULTS}/figures/figure2_accuracy.benchmark.tsv"
    conda:
        ENVIRONMENT
    params:
        code=code("figure2_accuracy.py"),
    script:
        "../workflow_scripts/figure2_accuracy.py"
