# What all rules share: the validated grid, paths, digests and resources.

import functools
import itertools
import os
import sys
from pathlib import Path

import yaml

# Scripts run in processes of their own, which find dclib through the first of these variables and
# end with the process that the second one names.
sys.path.insert(0, workflow.basedir)
os.environ.update(
    PYTHONPATH=os.pathsep.join(
        [workflow.basedir, *filter(None, [os.environ.get("PYTHONPATH")])]
    ),
    DCLIB_SNAKEMAKE=str(os.getpid()),
)

from dclib import grid, integrity, locks, provenance
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

RESULTS = os.path.normpath(os.path.expanduser(GRID.config["results_dir"]))
SCRIPTS = Path(workflow.basedir, "workflow_scripts")
ENVIRONMENT = Path(workflow.basedir, "envs/dclib.yaml")
LEARNT = f"({'|'.join(grid.ITERATIVE)})(-[A-Za-z0-9]+)?"  # methods that learn a set, and variants
CELL = f"{RESULTS}/{{dataset}}/{{method}}/{{network}}/ipc-{{ipc}}/seed-{{seed}}"


onstart:
    # Before the first job; not in a dry run, nor for a single job on the node of a cluster.
    try:
        locks.hold_run(RESULTS)
    except InputError as error:
        sys.exit(f"error: {error}")


wildcard_constraints:
    dataset=r"[A-Za-z0-9][A-Za-z0-9_-]*",
    method=f"({'|'.join([*grid.SELECTIONS, grid.WHOLE])})|{LEARNT}",
    network=r"[A-Za-z0-9_-]+",
    eval_network=r"[A-Za-z0-9_-]+",
    ipc=r"[1-9][0-9]*|all",
    seed=r"0|[1-9][0-9]*",


def cell(wildcards):
    """The cell that a job's wildcards name, which has to have a meaning."""
    named = grid.Cell(
        wildcards.dataset,
        wildcards.method,
        wildcards.network,
        wildcards.ipc,
        int(wildcards.seed),
    )
    try:
        GRID.check(named, wildcards.get("eval_network"))
    except InputError as error:
        sys.exit(f"error: {error}")
    return named


def all_evaluations():
    """The evaluations of all grids of the config."""
    return list(
        dict.fromkeys(
            [
                *GRID.evaluations(),
                *GRID.table2(),
                *GRID.cross_architecture(),
                *itertools.chain(*GRID.ablations().values()),
            ]
        )
    )


def files_to_check():
    """The files of the grid whose damage can be seen, and how many models a table has."""
    for cell, network in all_evaluations():
        models = GRID.evaluation(cell, network)["models"]
        yield f"{RESULTS}/{cell.dataset}/data.safetensors", None
        yield f"{RESULTS}/{cell.dataset}/reference/{cell.network}/network.safetensors", None
        yield f"{RESULTS}/{cell.folder}/set.safetensors", None
        yield f"{RESULTS}/{cell.folder}/eval/{network}.csv", models
        yield f"{RESULTS}/{cell.folder}/eval/{network}.curve.csv", models


@functools.cache
def mend_damaged():
    """Remove the damaged files of the grid, so that they are made again.

    A data set is made again at once: its bytes are known to be the same, but Snakemake would make
    all that was made from it again, too.

    Every rule of a cell calls this when Snakemake asks for its input, that is before Snakemake
    looks at what is there. Only then is known whether this is a dry run, which changes nothing.
    """
    if not workflow.executor_plugin or not workflow.is_main_process:
        return  # a look at the plan, or a single job on a cluster
    for name, models in dict.fromkeys(files_to_check()):
        path = Path(name)
        damage = path.exists() and integrity.damage(path, models)
        if not damage:
            continue
        print(f"{name} is damaged and is made again: {damage}", file=sys.stderr)
        if workflow.dryrun:
            continue
        if path.name == "data.safetensors":
            from dclib import readers  # needs PyTorch

            try:
                readers.prepare(
                    GRID.dataset(path.parent.name), GRID.config["data_dir"], path
                )
            except InputError as error:
                sys.exit(f"error: {error}")
        else:
            path.unlink()


def no_files(wildcards):
    """The input of `prepare`, which reads what lies elsewhere."""
    mend_damaged()
    return []


def data_of(wildcards):
    """The prepared file of a job's data set, which the config has to know."""
    mend_damaged()
    try:
        GRID.dataset(wildcards.dataset)
    except InputError as error:
        sys.exit(f"error: {error}")
    return f"{RESULTS}/{wildcards.dataset}/data.safetensors"


def set_of(wildcards):
    """The set that networks are trained on; the whole training split has none."""
    folder = f"{RESULTS}/{cell(wildcards).folder}"
    return [] if wildcards.method == grid.WHOLE else f"{folder}/set.safetensors"


def reference_of(wildcards):
    """The network that a selection looks at; a random one looks at none."""
    if wildcards.method == "random":
        return []
    return f"{RESULTS}/{wildcards.dataset}/reference/{wildcards.network}/network.safetensors"


def evaluation_files(evaluations, kind="csv"):
    """The files of evaluations: `csv`, a row for each network, or `curve.csv`."""
    return [
        f"{RESULTS}/{cell.folder}/eval/{network}.{kind}"
        for cell, network in evaluations
    ]


def cell_files():
    """Sets and evaluations of all grids of the config."""
    evaluations = all_evaluations()
    sets = [
        f"{RESULTS}/{cell.folder}/{name}"
        for cell, _ in evaluations
        if cell.method != grid.WHOLE
        for name in ("set.safetensors", "set.png", "run.json", "trace.csv")
        if name != "trace.csv" or grid.base(cell.method) in grid.ITERATIVE
    ]
    return [
        *dict.fromkeys(sets),
        *dict.fromkeys(evaluation_files(evaluations)),
        *dict.fromkeys(evaluation_files(evaluations, "curve.csv")),
    ]


def data_files(evaluations):
    """The prepared files of the data sets in evaluations."""
    names = dict.fromkeys(cell.dataset for cell, _ in evaluations)
    return [f"{RESULTS}/{name}/data.safetensors" for name in names]


def figure_targets():
    """The figures that the config has something to show for."""
    names = ["figure2_accuracy"]
    if shown_sets():
        names.insert(0, "figure1_condensed_sets")
    if GRID.cross_architecture():
        names.append("cross_architecture")
    return [
        f"{RESULTS}/figures/{name}.{kind}" for name in names for kind in ("png", "pdf")
    ]


def table_targets():
    """The tables that the config describes."""
    described = {
        "table1": GRID.evaluations(),
        "table2": GRID.table2(),
        "cross_architecture": GRID.cross_architecture(),
        "ablations": GRID.ablations(),
    }
    return [
        f"{RESULTS}/tables/{name}.{kind}"
        for name, evaluations in described.items()
        if evaluations
        for kind in ("csv", "md", "tex")
    ]


def code(script, *modules):
    """The digest of a script and of all that it imports from dclib."""
    return provenance.code_digest(
        SCRIPTS / script, *map(provenance.module_path, modules)
    )


def gpu_resource(rule, key):
    """What the config asks for; the time limit grows with every attempt."""

    def value(wildcards, attempt):
        asked = GRID.config["resources"][rule][key]
        return asked * attempt if key == "runtime" else asked

    return value


def data_digest(wildcards):
    """What a prepared data set depends on, and with it all that is made from it."""
    options = GRID.dataset(wildcards.dataset)
    content = provenance.content_digest(options["path"]) if "path" in options else None
    return provenance.digest(options, content, code("prepare.py"))


# Figures show one line or picture for each data set and ipc: the first method that learns a set (or
# else selects one, or else `whole`) with the first network, evaluated on the first network.
SHOWN_METHOD = min(
    GRID.config["methods"],
    key=lambda method: (
        method == grid.WHOLE,
        grid.base(method) not in grid.ITERATIVE,
    ),
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
    return evaluation_files(
        [(cell, networks[cell]) for cell in shown_cells()], "curve.csv"
    )


include: "data.smk"
include: "select.smk"
include: "condense.smk"
include: "evaluate.smk"
include: "tables.smk"
include: "figures.smk"
