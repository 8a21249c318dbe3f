# What all rules share: the validated grid, paths, digests and resources.

import contextlib
import functools
import itertools
import os
import sys
from pathlib import Path

import yaml
from snakemake.cli import get_argument_parser

# Scripts run in processes of their own, which find dclib through the first of these variables and
# end with the process that the second one names.
sys.path.insert(0, workflow.basedir)
os.environ.update(
    PYTHONPATH=os.pathsep.join(
        [workflow.basedir, *filter(None, [os.environ.get("PYTHONPATH")])]
    ),
    DCLIB_SNAKEMAKE=str(os.getpid()),
)

from dclib import grid, integrity, limits, locks, provenance, sources
from dclib.errors import InputError, did_you_mean


@contextlib.contextmanager
def in_one_line():
    """End with one line on wrong input."""
    try:
        yield
    except InputError as error:
        sys.exit(f"error: {error}")


with in_one_line():
    GRID = grid.Grid(
        config,
        yaml.safe_load(
            Path(workflow.basedir, "schemas/config.schema.yaml").read_text()
        ),
        # A job on a cluster takes on trust what was looked at when it was planned.
        sources.look if workflow.is_main_process else None,
    )
    RESULTS = limits.results_folder(GRID.config["results_dir"], Path(workflow.basedir))
config.update(GRID.config)  # where text that spells numbers has become numbers

SCRIPTS = Path(workflow.basedir, "workflow_scripts")
ENVIRONMENT = Path(workflow.basedir, "envs/dclib.yaml")
LEARNT = f"({'|'.join(grid.ITERATIVE)})(-[A-Za-z0-9]+)?"  # methods that learn a set, and variants
CELL = f"{RESULTS}/{{dataset}}/{{method}}/{{network}}/ipc-{{ipc}}/seed-{{seed}}"


onstart:
    # Before the first job; not in a dry run, nor for a single job on the node of a cluster.
    with in_one_line():
        locks.hold_run(RESULTS)


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
    with in_one_line():
        GRID.check(named, wildcards.get("eval_network"))
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
def discard_damaged():
    """Remove the damaged files of the grid, so that they are made again.

    Every rule of a cell calls it when Snakemake asks for its input, that is before Snakemake looks
    at what is there. Only then is known whether this is a dry run, which removes nothing.
    """
    if not workflow.executor_plugin or not workflow.is_main_process:
        return  # a look at the plan, or a single job on a cluster
    for name, models in dict.fromkeys(files_to_check()):
        path = Path(name)
        damage = path.exists() and integrity.damage(path, models)
        if damage:
            print(f"{name} is damaged and counts as missing: {damage}", file=sys.stderr)
            if not workflow.dryrun:
                path.unlink()


def no_files(wildcards):
    """The input of `prepare`, which reads what lies elsewhere."""
    discard_damaged()
    return []


def data_of(wildcards):
    """The prepared file of a job's data set, which the config has to know."""
    discard_damaged()
    with in_one_line():
        GRID.dataset(wildcards.dataset)
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


def asked(rule, key):
    """What the config asks for; the time limit grows with every attempt."""

    def value(wildcards, attempt):
        resources = GRID.config["resources"]
        if key == "runtime":
            return min(resources[rule][key] * attempt, resources["max_runtime"])
        return resources[rule][key]

    return value


def memory_of(rule, network, settings, kind):
    """What the config asks for, or else what the job is predicted to take: megabytes.

    Args:
        rule: the section of the config's `resources`.
        network, settings, kind: functions of the wildcards, for dclib.memory.job_mib.
    """

    def value(wildcards, input, attempt):
        fixed = GRID.config["resources"][rule]["mem_mb"]
        if fixed is not None:
            return fixed
        data_bytes = os.stat(input.data).st_size  # not known before it is there
        # PyTorch takes a second to import: only here, where a job is about to be submitted.
        from dclib import datasets, memory

        data = datasets.ImageDataset.load(input.data)
        ipc = wildcards.get("ipc", "all")
        mib = memory.job_mib(
            kind(wildcards),
            network(wildcards),
            settings(wildcards),
            shape=(data.channels, *data.image_size),
            num_classes=data.num_classes,
            ipc=None if ipc == "all" else int(ipc),
            data_bytes=data_bytes,
            device=GRID.config["execution"]["device"],
        )
        return int(mib * 1.05) * attempt

    return value


def data_digest(wildcards):
    """What a prepared data set depends on, and with it all that is made from it.

    Its file is an `ancient` input of theirs: one that was lost is made again, to the same bytes,
    and nothing else is.
    """
    options = GRID.dataset(wildcards.dataset)
    content = provenance.content_digest(options["path"]) if "path" in options else None
    return provenance.digest(options, content, code("prepare.py"))


def check_targets():
    """Refuse a target that no rule makes; Snakemake's own message says nothing of those there are."""
    if not workflow.is_main_process or "snakemake" not in sys.argv[0]:
        return
    names = [rule.name for rule in workflow.rules if not rule.has_wildcards()]
    for target in get_argument_parser().parse_known_args()[0].targets:
        path = os.path.relpath(target)
        if not (
            target in names
            or os.path.exists(path)
            or any(rule.is_producer(path) for rule in workflow.rules)
        ):
            sys.exit(
                f"error: target '{target}' is not one of {', '.join(names)}, nor the path of a "
                f"file that a rule makes under {RESULTS}/{did_you_mean(target, names)}"
            )


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
