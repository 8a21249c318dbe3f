# What all rules share: the validated grid, paths, digests and resources.

import contextlib
import functools
import itertools
import os
import sys
from pathlib import Path

import yaml
from snakemake.cli import get_argument_parser

sys.path.insert(0, workflow.basedir)

from dclib import provenance
from dclib.pipeline import grid
from dclib.pipeline import integrity
from dclib.pipeline import paths as limits
from dclib.pipeline import locks
from dclib.data import sources
from dclib.errors import InputError, did_you_mean

# Scripts run in processes of their own, which find dclib through the first of these variables and
# end with the process that the second one names.
os.environ.update(
    PYTHONPATH=os.pathsep.join(
        [workflow.basedir, *filter(None, [os.environ.get("PYTHONPATH")])]
    ),
    DCLIB_SNAKEMAKE=locks.this_process(),
)


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


def files_to_check():
    """The files of the grid whose damage can be seen."""
    for cell, network in GRID.all_evaluations():
        yield f"{RESULTS}/{cell.dataset}/data.safetensors"
        yield f"{RESULTS}/{cell.dataset}/reference/{cell.network}/network.safetensors"
        yield f"{RESULTS}/{cell.folder}/set.safetensors"
        yield f"{RESULTS}/{cell.folder}/eval/{network}.csv"
        yield f"{RESULTS}/{cell.folder}/eval/{network}.curve.csv"


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
    elsewhere = locks.started(RESULTS) is not None  # this run will not be let in
    for name in dict.fromkeys(files_to_check()):
        path = Path(name)
        try:
            damage = path.exists() and integrity.damage(path)
        except OSError as error:
            sys.exit(f"error: {name}: cannot be read ({error.strerror})")
        if not damage:
            continue
        print(f"{name} is damaged and is made again: {damage}", file=sys.stderr)
        if workflow.dryrun or elsewhere:
            continue
        if path.name == "data.safetensors":
            from dclib.data import readers  # needs PyTorch

            with in_one_line():
                readers.prepare(
                    GRID.dataset(path.parent.name), GRID.config["data_dir"], path
                )
        else:
            path.unlink()


def no_files(wildcards):
    """The input of `prepare`, which reads what lies elsewhere."""
    data_of(wildcards)
    return []


def data_of(wildcards):
    """The prepared file of a job's data set, which the config has to know."""
    mend_damaged()
    with in_one_line():
        GRID.dataset(wildcards.dataset)
    return f"{RESULTS}/{wildcards.dataset}/data.safetensors"


def set_of(wildcards):
    """The set that networks are trained on; the whole training split has none."""
    folder = f"{RESULTS}/{cell(wildcards).folder}"
    return [] if wildcards.method == grid.WHOLE else f"{folder}/set.safetensors"


def reference_of(wildcards):
    """The network that a selection looks at; a random one looks at none."""
    if wildcards.method not in grid.BY_REFERENCE:
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
    evaluations = GRID.all_evaluations()
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
    return provenance.code_digest(SCRIPTS / script, *modules)


def asked(rule, key):
    """What the config asks for; the time limit grows with every attempt."""

    def value(wildcards, attempt):
        resources = GRID.config["resources"]
        if key == "runtime":
            return min(resources[rule][key] * attempt, resources["max_runtime"])
        return resources[rule][key]

    return value


@functools.cache
def predicted_mib(data, kind, network, ipc, settings):
    """What a job is predicted to take, in MiB, once its data set is there."""
    data_bytes = os.stat(data).st_size  # Snakemake asks again when it is there
    # It takes a second to import PyTorch; without a prepared data set nothing needs it here.
    from dclib.data import datasets
    from dclib.pipeline import resources as footprint

    with in_one_line():
        images = datasets.ImageDataset.load(data)
        return footprint.job_mib(
            kind,
            network,
            yaml.safe_load(settings),
            shape=(images.channels, *images.image_size),
            num_classes=images.num_classes,
            ipc=None if ipc == "all" else int(ipc),
            data_bytes=data_bytes,
            device=GRID.config["execution"]["device"],
        )


def memory_of(rule, network, settings, kind):
    """What the config asks for, or else what the job is predicted to take: megabytes.

    A further attempt asks for as many times of what is predicted.

    Args:
        rule: the section of the config's `resources`.
        network, settings, kind: functions of the wildcards, for dclib.pipeline.resources.job_mib.
    """

    def value(wildcards, input, attempt):
        fixed = GRID.config["resources"][rule]["mem_mb"]
        if fixed is not None:
            return fixed
        mib = predicted_mib(
            input.data,
            kind(wildcards),
            network(wildcards),
            wildcards.get("ipc", "all"),
            yaml.safe_dump(settings(wildcards)),
        )
        return int(mib * 1.05) * attempt

    return value


def data_digest(wildcards):
    """What a prepared data set depends on, and with it all that is made from it."""
    with in_one_line():
        return provenance.data_digest(
            GRID.dataset(wildcards.dataset), SCRIPTS / "prepare.py"
        )


def check_targets():
    """Refuse a target that no rule makes; Snakemake's own message says nothing of those there are."""
    if not workflow.is_main_process or "snakemake" not in sys.argv[0]:
        return
    names = [rule.name for rule in workflow.rules if not rule.has_wildcards()]
    for target in get_argument_parser().parse_known_args()[0].targets:
        path = target if os.path.isabs(target) else os.path.relpath(target)
        made = any(each.is_producer(path) for each in workflow.rules)
        if target not in names and not made:
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
