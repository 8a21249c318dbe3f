# Pictures, each as PNG and PDF.

# Figures show one line or picture for each data set and ipc: the first method that learns a set (or
# selects one, where none learns) with the first network, evaluated on the first network.
SHOWN_METHOD = next(
    (method for method in GRID.config["methods"] if method in grid.ITERATIVE),
    GRID.config["methods"][0],
)


def shown_cells():
    """The cells that the figures show."""
    network = GRID.config["networks"][0]
    return [
        cell
        for cell in GRID.cells()
        if cell.method == SHOWN_METHOD and cell.network == network
    ]


def shown_sets():
    """One set of every data set, of the first seed and at the ipc nearest to what is asked for."""
    wanted = GRID.config["figures"]["condensed_sets_ipc"]
    ipc = min(GRID.config["images_per_class"], key=lambda n: (abs(n - wanted), n))
    return [
        f"{RESULTS}/{cell.folder}/set.safetensors"
        for cell in shown_cells()
        if cell.ipc == str(ipc) and cell.seed == GRID.config["seeds"][0]
    ]


def shown_curves():
    """The accuracy curves of the shown cells."""
    networks = dict(reversed(GRID.evaluations()))
    return [
        f"{RESULTS}/{cell.folder}/eval/{networks[cell]}.curve.csv"
        for cell in shown_cells()
    ]


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
    params:
        code=code("figure1_condensed_sets.py"),
    conda:
        ENVIRONMENT
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
    params:
        code=code("figure2_accuracy.py"),
    conda:
        ENVIRONMENT
    script:
        "../workflow_scripts/figure2_accuracy.py"
