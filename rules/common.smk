# What all rules share: the validated grid, paths, digests and resources.

import os
import sys
from pathlib import Path

import yaml

# Scripts run in processes of their own, which find dclib through this variable.
sys.path.insert(0, workflow.basedir)
os.environ.update(
    PYTHONPATH=os.pathsep.join(
        [workflow.basedir, *filter(None, [os.environ.get("PYTHONPATH")])]
    )
)

from dclib import grid, provenance
from dclib.errors import InputError

try:
    GRID = grid.Grid(
        config,
        yaml.safe_load(
            Path(workflow.basedir, "schemas/config.schema.yaml").read_text()
        ),
    )
except InputError as error:
    sys.exit(f"error: {error}")

RESULTS = GRID.config["results_dir"].rstrip("/")
SCRIPTS = Path(workflow.basedir, "workflow_scripts")
ENVIRONMENT = Path(workflow.basedir, "envs/dclib.yaml")
CELL = f"{RESULTS}/{{dataset}}/{{method}}/{{network}}/ipc-{{ipc}}/seed-{{seed}}"


wildcard_constraints:
    dataset=r"[A-Za-z0-9][A-Za-z0-9_-]*",
    method="|".join([*grid.SELECTIONS, *grid.ITERATIVE, grid.WHOLE]),
    network=r"[A-Za-z0-9_-]+",
    eval_network=r"[A-Za-z0-9_-]+",
    ipc=r"[1-9][0-9]*|all",
    seed=r"0|[1-9][0-9]*",


def cell(wildcards):
    """The cell that a job's wildcards name."""
    return grid.Cell(
        wildcards.dataset,
        wildcards.method,
        wildcards.network,
        wildcards.ipc,
        int(wildcards.seed),
    )


def data_of(wildcards):
    """The prepared file of a job's data set, which the config has to know."""
    try:
        GRID.dataset(wildcards.dataset)
    except InputError as error:
        sys.exit(f"error: {error}")
    return f"{RESULTS}/{wildcards.dataset}/data.safetensors"


def cell_files():
    """Sets and evaluations of the main grid."""
    sets = [
        f"{RESULTS}/{cell.folder}/set.safetensors"
        for cell in GRID.cells()
        if cell.method != grid.WHOLE
    ]
    return sets + evaluation_files("csv") + evaluation_files("curve.csv")


def evaluation_files(kind):
    """The evaluations of the main grid: `csv`, a row for each network, or `curve.csv`."""
    return [
        f"{RESULTS}/{cell.folder}/eval/{network}.{kind}"
        for cell, network in GRID.evaluations()
    ]


def set_of(wildcards):
    """The set that networks are trained on; the whole training split has none."""
    folder = f"{RESULTS}/{cell(wildcards).folder}"
    return [] if wildcards.method == grid.WHOLE else f"{folder}/set.safetensors"


def code(script, *modules):
    """The digest of a script and of all that it imports from dclib."""
    return provenance.code_digest(
        SCRIPTS / script, *map(provenance.module_path, modules)
    )


def gpu_resource(rule, key):
    """What the config asks for; the time limit grows with every attempt."""

    def value(wildcards, attempt):
        return GRID.config["resources"][rule][key] * (
            attempt if key == "runtime" else 1
        )

    return value


def source_files(wildcards):
    """The file that a data set of the user's own is read from."""
    options = GRID.dataset(wildcards.dataset)
    return options["path"] if options.get("source") == "npz" else []


def source_digest(wildcards):
    """Names and sizes of the images in a folder of the user's own."""
    options = GRID.dataset(wildcards.dataset)
    if options.get("source") != "folder" or "path" not in options:
        return None
    root = Path(options["path"]).expanduser()
    return provenance.digest(
        sorted(
            (str(path.relative_to(root)), path.stat().st_size)
            for path in root.rglob("*")
            if path.is_file()
        )
    )


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


include: "data.smk"
include: "select.smk"
include: "condense.smk"
include: "evaluate.smk"
include: "tables.smk"
include: "figures.smk"
