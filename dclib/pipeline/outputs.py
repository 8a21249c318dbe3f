"""Which files each rule writes, told once for the plan, the rules and the page on files."""

from collections.abc import Mapping

from dclib.pipeline import figures, pages, tables
from dclib.pipeline.aggregates import Aggregate
from dclib.pipeline.description import Files
from dclib.pipeline.paths import Cell

AGGREGATES: Mapping[str, Aggregate] = {**tables.TABLES, **figures.FIGURES, **pages.PAGES}
RULES = (
    "prepare", "whiten", "reference_network", "select", "import_set", "export", "condense",
    "evaluate", *AGGREGATES,
)  # fmt: skip
EXPORTS = {
    "pt": "set.pt", "images": "images_best.pt", "labels": "labels_best.pt", "npz": "set.npz",
    "pictures": "pictures.zip",
}  # fmt: skip
# The parts of a cell, and what its set is tested on and how, as Snakemake's wildcards.
WILDCARDS = Cell._make(f"{{{name}}}" for name in Cell._fields)
TESTED = "{eval_network}"


def files(rule: str, results: str, cell: Cell = WILDCARDS, tested: str = TESTED) -> Files:
    """Return what a job of a rule writes, by default with wildcards in the paths.

    Args:
        results: the folder of all results.
        tested: the stem of a `Trained`.
    """
    place, record = cell.folder, ""
    if rule in AGGREGATES:
        outputs = dict(AGGREGATES[rule].outputs)
        stem = next(iter(outputs.values())).rpartition(".")[0]
    elif rule == "prepare":
        stem = f"{cell.dataset}/data"
        outputs = {"data": f"{stem}.safetensors"}
    elif rule == "whiten":
        stem = f"{cell.dataset}/whitening"
        outputs = {"whitening": f"{stem}.safetensors"}
    elif rule == "reference_network":
        stem = f"{cell.dataset}/reference/{cell.network}/network"
        outputs = {"network": f"{stem}.safetensors"}
    elif rule == "export":
        stem = f"{place}/export"
        outputs = {name: f"{place}/{file}" for name, file in EXPORTS.items()}
    elif rule == "evaluate":
        stem = f"{place}/eval/{tested}"
        outputs = {"rows": f"{stem}.csv", "curve": f"{stem}.curve.csv"}
    else:
        stem, record = f"{place}/set", f"{place}/run.json"
        outputs = {"set": f"{stem}.safetensors", "png": f"{stem}.png"}
        outputs |= {"trace": f"{place}/trace.csv"} if rule == "condense" else {}
    outputs["record"] = record or f"{stem}.json"
    beside = f"{results}/{place}/" if record else f"{results}/{stem}."
    kept = f"{beside}state"
    if cell.snapshot and rule == "condense":
        kept = f"{results}/{cell.finished.folder}/state-{cell.snapshot}"
    return Files(
        {name: f"{results}/{path}" for name, path in outputs.items()},
        log=f"{results}/{stem}.log",
        benchmark=f"{results}/{stem}.benchmark.tsv",
        checkpoint=f"{beside}checkpoint.safetensors",
        kept=f"{kept}.safetensors",
    )
