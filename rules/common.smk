# What all rules share: the validated grid, paths, digests and resources.

import os
import sys
from pathlib import Path

import yaml

# Scripts run in processes of their own, which find dclib through this variable.
sys.path.insert(0, workflow.basedir)
os.environ["PYTHONPATH"] = os.pathsep.join(
    [workflow.basedir, *filter(None, [os.environ.get("PYTHONPATH")])]
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


def set_of(wildcards):
    """The set that networks are trained on; the whole training split has none."""
    folder = f"{RESULTS}/{cell(wildcards).folder}"
    return [] if wildcards.method == grid.WHOLE else f"{folder}/set.safetensors"


def code(script, *modules):
    """The digest of a script and of all that it imports from dclib."""
    return provenance.code_digest(SCRIPTS / script, *map(provenance.module_path, modules))


def gpu_resource(rule, key):
    """What the config asks for; the time limit grows with every attempt."""

    def value(wildcards, attempt):
        return GRID.config["resources"][rule][key] * (attempt if key == "runtime" else 1)

    return value


include: "data.smk"
include: "select.smk"
include: "condense.smk"
include: "evaluate.smk"
include: "tables.smk"
include: "figures.smk"
