"""Publish what a grid has computed: its sets, what they are worth, and what made them.

    PYTHONPATH=. python benchmarks/record.py results/ config.yaml table1     (the grid's, a name)
    snakemake --configfile benchmarks/records/DATE-table1/evaluate.yaml --cores 1
    PYTHONPATH=. python benchmarks/record.py --restore benchmarks/records/DATE-table1 results/

The first writes benchmarks/records/DATE-NAME, where files lie as in a results folder, or adds to
the record of that name. The second trains networks on the sets that are there. The third puts all
of it where a grid has it, also what an unfinished set goes on from, so that the grid goes on, here
or on another machine: results count as made as long as the code is that of the commits which it
tells. What selections look at, a reference network, is no part of a record.
"""

import argparse
import datetime
import itertools
import json
import math
import os
import platform
import shutil
import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from dclib import files, methods, provenance
from dclib.applications.evaluation.protocols import DEFAULT, PROTOCOLS
from dclib.errors import InputError
from dclib.networks import names as networks
from dclib.pipeline import documents, expansion, faults, overrides, settings, tabulation
from dclib.pipeline.cell_settings import FREE, CellSettings
from dclib.pipeline.description import DIGESTS, MADE_FROM
from dclib.pipeline.paths import Cell, Trained
from dclib.pipeline.staleness import differences
from dclib.pipeline.tables import as_published
from dclib.tensors import read_sealed

ROOT = Path(__file__).resolve().parent.parent
RECORDS = ROOT / "benchmarks/records"
LARGEST = 200_000  # bytes of a set that is published here
# What is kept of a cell; of an unfinished one, what it goes on from.
TELLING = ("run.json", "trace.csv")
OF_SET = ("set.safetensors", "set.png", *TELLING)
TESTED = "eval/[!.]*.json"  # what begins with a dot was not written to its end
OF_NETWORKS = ("eval/[!.]*.csv", TESTED)
UNFINISHED = "checkpoint.safetensors"


class _Asked(CellSettings):
    """What a configuration asks for of each cell, whether its data are at hand or not."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        parsed, said = settings.parse(config), settings.with_text_keys(config)
        sections = expansion.sections(parsed)
        super().__init__(parsed, said.get("condensation") or {}, faults.data_sets(sections))
        pairs = itertools.chain(*map(expansion.evaluations, sections.values()))
        self._points = {
            (cell._replace(seed=0), how) for cell, tested in pairs for how in (tested, None)
        }

    def settings_of(self, cell: Cell, tested: Trained | None) -> dict[str, Any]:
        """Return the settings that touch a set, or else networks that are trained on it.

        They are as JSON holds them; there are none where the configuration has nothing of the kind.
        """
        if (cell.finished._replace(seed=0), tested) not in self._points:
            return {}
        others = not tested and methods.face(self.base(cell.method)).kind == "imported"
        told = self.imported(cell.method) if others else self.relevant(cell, tested)
        made: dict[str, Any] = json.loads(json.dumps(told))
        return made


def cells(folder: Path, having: str) -> list[Cell]:
    """Return the cells of a results folder, or of a record, that have a file."""
    paths = sorted(folder.glob(f"*/*/*/ipc-*/seed-*/{having}"))
    return [*dict.fromkeys(Cell.of(path.relative_to(folder))[0] for path in paths)]


def publish(results: Path, config: Path, folder: Path) -> None:
    """Write, or add to, a record of the sets and evaluations of `results`.

    Raises:
        InputError: there is nothing to publish, or the config is missing or wrong.
    """
    asked, written = settings.load([ROOT / "config.yaml", config]), config.read_text("utf-8")
    grid = _Asked(asked)
    done = [
        cell
        for cell in cells(results, "run.json")
        if _whole(results / cell.folder / "run.json", results / cell.folder / "set.safetensors")
        and _as_asked(results / cell.folder / "run.json", grid)
    ]
    tested = [
        path
        for path in sorted(results.glob(f"*/*/*/ipc-*/seed-*/{TESTED}"))
        if _whole(path, path.with_suffix(".csv"))
        and _of_its_set(path)
        and _as_asked(path, grid)
        and (_cell(path) in done or not (path.parent.parent / "run.json").exists())
    ]
    if not (done or tested or cells(results, UNFINISHED)):
        raise InputError(f"{results}: no set is begun, and no evaluation finished")
    recorded = _before(folder)
    if odd := {cell.dataset for cell in done} - _entries(recorded, asked).keys():
        raise InputError(
            f"{results}: has sets of '{min(odd)}', which {config} does not name; allowed is the "
            "config of their grid"
        )
    under = {Trained.of(path.stem).protocol for path in tested}
    if odd := under - PROTOCOLS.keys() - _recipes(recorded, asked).keys():
        raise InputError(
            f"{results}: has networks trained under protocol '{min(odd)}', which {config} does not "
            "name; allowed is the config of their grid"
        )
    replaced = [cell for cell in done if _differs(results, folder, cell)]
    made = [results / cell.folder / "run.json" for cell in done] + tested
    kept = [
        path
        for path in sorted(path for part in ("run.json", TESTED) for path in folder.rglob(part))
        if _cell(path) not in replaced and results / path.relative_to(folder) not in made
    ]
    for path in kept:
        if why := _unlike(_settings(path), grid.settings_of(_cell(path), _tested(path))):
            raise InputError(
                f"{path}: is there already, and is not of {config}: {why}; allowed is another name "
                "for the record, or to make it anew"
            )
    _refuse_unlike([*kept, *made])
    for cell in done:
        (folder / cell.folder / UNFINISHED).unlink(missing_ok=True)
        if cell in replaced:
            shutil.rmtree(folder / cell.folder)  # with what was trained on another set
        small = _small(results / cell.folder / "set.safetensors")
        _copy(results, folder, cell, OF_SET if small else TELLING)
    for path in tested:
        of_it = (f"eval/{path.stem}{end}" for end in (".csv", ".curve.csv", ".json"))
        _copy(results, folder, _cell(path), of_it)
    for cell in cells(results, UNFINISHED):
        finished = cell in done or (folder / cell.folder / "run.json").exists()
        if not finished and _iteration(results, cell) > _iteration(folder, cell):
            _copy(results, folder, cell, (UNFINISHED,))
    found, begun = cells(folder, "set.safetensors"), cells(folder, UNFINISHED)
    paths = sorted(folder.glob(f"*/*/*/ipc-*/seed-*/{TESTED}"))
    files.write_text(folder / "config.yaml", written)
    if found:
        protocols = [*dict.fromkeys(Trained.of(path.stem).protocol for path in paths)]
        again = yaml.safe_dump(overlay(folder, found, asked, protocols), sort_keys=False)
        files.write_text(folder / "evaluate.yaml", again)
    told = folder / "record.json"
    before = files.read_json(told) if told.exists() else {}
    sets = [
        files.read_json(folder / cell.folder / "run.json") for cell in cells(folder, "run.json")
    ]
    evaluated = [files.read_json(path) for path in paths]
    # Of the code around the results, which made them; where there is none, of this.
    commit = provenance.commit(results.resolve().parent) or provenance.commit()
    files.write_json(
        told,
        {
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "commits": sorted({str(each.get("commit", "")) for each in (*sets, *evaluated)}),
            "published_on": [*dict.fromkeys([*before.get("published_on", []), _machine()])],
            "devices": sorted({str(each.get("device", "cpu")) for each in (*sets, *evaluated)}),
            "versions": {
                part: ", ".join(sorted({each["versions"][part] for each in (*sets, *evaluated)}))
                for part in ("dclib", "python", "torch")
            },
            "seconds": {
                "sets": round(sum(each["seconds"] for each in sets)),
                "evaluations": round(sum(each["seconds"] for each in evaluated)),
            },
            "unfinished": [_unfinished(folder, cell, before, commit) for cell in begun],
        },
    )  # fmt: skip
    rows = [path.with_suffix(".csv") for path in paths]
    evaluations = tabulation.collect(rows, folder) if rows else None
    (folder / "evaluations.csv").unlink(missing_ok=True)  # it may be of sets that are replaced
    if evaluations is not None:
        files.write_text(folder / "evaluations.csv", evaluations.to_csv(index=False))
    entries = map(expansion.options_of, _entries(recorded, asked).values())
    altered = [each["name"] for each in entries if not as_published(each)]
    files.write_text(folder / "README.md", page(folder, evaluations, altered))


def _copy(
    source: Path, target: Path, cell: Cell, patterns: Iterable[str], again: bool = True
) -> bool:
    """Copy files of a cell, those that are there `again` or not; return whether any was."""
    copied = False
    for pattern in patterns:
        for path in (source / cell.folder).glob(pattern):
            place = target / path.relative_to(source)
            if again or not place.exists():
                with files.atomic(place) as part:
                    shutil.copyfile(path, part)
                copied = True
    return copied


def _iteration(folder: Path, cell: Cell) -> int:
    """Return how far an unfinished set is; -1 where there is none."""
    path = folder / cell.folder / UNFINISHED
    return int(read_sealed(path)[1]["progress"]["iteration"]) if path.exists() else -1


def _unfinished(folder: Path, cell: Cell, before: Mapping[str, Any], commit: str) -> dict[str, Any]:
    """Return how far an unfinished set of a record is, and the commit that it goes on with."""
    told = {**cell._asdict(), "iteration": _iteration(folder, cell), "commit": commit}
    for each in before.get("unfinished", []):
        if {**told, "commit": each["commit"]} == each:
            return dict(each)
    return told


def overlay(
    folder: Path, found: list[Cell], config: Mapping[str, Any], protocols: list[str]
) -> dict[str, Any]:
    """Return the configuration that evaluates the sets of a record as `config` does.

    A method's own protocol is told by its name: a set that is imported has none. One that trains
    by what a set was learnt for is left out. Of overrides those are kept that hold somewhere.

    Sets that do not fill a grid are several of them: the first is the main one, the others stand as
    ablations.
    """
    place = os.path.relpath(folder.resolve(), ROOT)
    methods = [*dict.fromkeys(cell.method for cell in found)]
    stems = [method.replace("-", "_").replace("@", "_after_") for method in methods]
    names = {
        method: f"{stem}_recorded{'_' * stems[:i].count(stem)}"  # dc-x and an imported dc_x
        for i, (method, stem) in enumerate(zip(methods, stems, strict=True))
    }
    file = "{network}/ipc-{ipc}/seed-{seed}/set.safetensors"
    before = _before(folder)
    entries = _entries(before, config)
    own_protocols = faults.own_protocols({"protocols": _recipes(before, config)})
    evaluation = dict(config.get("evaluation", {}))
    protocols = [each for each in protocols if not faults.by_own_recipe(each, own_protocols)]
    evaluation["protocols"] = protocols or [DEFAULT]
    tested = evaluation.get("networks", [expansion.SAME])
    differing: dict[str, dict[str, Any]] = {}
    for override, cell, network, protocol in itertools.product(
        overrides.read(config.get("overrides") or {}), found, tested, evaluation["protocols"]
    ):
        network = expansion.twin(cell.network) if network == expansion.SAME else network
        told = override.sections.get("evaluation")
        if told and override.holds(expansion.point_of(cell, Trained(network, protocol))):
            method = override.conditions.get("method")
            key = override.key.replace(f"method={method}", f"method={names[cell.method]}")
            differing.setdefault(key, {}).update(told)
    alike: dict[frozenset[Cell], list[str]] = {}  # methods that have the same cells
    for method in names:
        own = frozenset(cell._replace(method="") for cell in found if cell.method == method)
        alike.setdefault(own, []).append(names[method])
    grids = [
        {
            "datasets": [entries[name] for name in part[0]],
            "images_per_class": sorted(map(int, part[3])),
            "methods": methods,
            "networks": part[2],
            "seeds": sorted(part[4]),
        }
        for own, methods in sorted(alike.items(), key=lambda item: -len(item[0]) * len(item[1]))
        for part in _products(sorted(own))
    ]
    return {
        **grids[0],
        "imported": {
            name: {"file": f"{place}/{{dataset}}/{method}/{file}"} for method, name in names.items()
        },
        "evaluation": evaluation,
        **({"protocols": own_protocols} if own_protocols else {}),
        "overrides": {key: {"evaluation": told} for key, told in differing.items()},
        "table2": None, "cross_architecture": None,
        "ablations": {
            **dict.fromkeys(settings.load([ROOT / "config.yaml"])["ablations"]),  # none of those
            **{
                f"more_{i}": {**grid, "evaluation_networks": [*tested]}
                for i, grid in enumerate(grids[1:], 1)
            },
        },
    }  # fmt: skip


def _before(folder: Path) -> dict[str, Any]:
    """Return the configuration of a record that is added to; what was told is told again."""
    path = folder / "evaluate.yaml"
    return documents.read(path) if path.exists() else {}


def _entries(*configs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of the data sets of all grids of configurations by name."""
    parts = [
        part
        for config in configs
        for part in (
            config, *(config.get("table2") or []), config.get("cross_architecture"),
            *(config.get("ablations") or {}).values(),
        )
    ]  # fmt: skip
    entries = [entry for part in parts if part for entry in part.get("datasets", [])]
    return {expansion.options_of(entry)["name"]: entry for entry in entries}


def _recipes(before: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the protocols of configurations' own by name."""
    return {**(before.get("protocols") or {}), **(config.get("protocols") or {})}


def _products(own: list[Cell]) -> list[list[list[Any]]]:
    """Return the axes of grids, which together are these cells: as many as it takes."""
    axes = [[*dict.fromkeys(values)] for values in zip(*own, strict=True)]
    if len(own) == math.prod(map(len, axes)):
        return [axes]
    axis = next(i for i, values in enumerate(axes) if len(values) > 1)
    return [
        grid
        for value in axes[axis]
        for grid in _products([cell for cell in own if cell[axis] == value])
    ]


def page(folder: Path, evaluations: pd.DataFrame | None, altered: Collection[str]) -> str:
    """Return the page of a record: its table, beside what is published.

    Args:
        altered: data sets of which nothing is published.
    """
    published = tabulation.read_published(ROOT / "resources/published.csv")
    published = published[~published["dataset"].isin(altered)]
    told = json.loads((folder / "record.json").read_text())
    lines = [f"# {folder.name}\n"]
    if told["unfinished"]:
        lines += ["| unfinished | iterations done | goes on with commit |", "|---|---|---|"]
        lines += [
            f"| {Cell(*(each[part] for part in Cell._fields)).folder} | {each['iteration']} "
            f"| {each['commit']} |"
            for each in told["unfinished"]
        ] + [""]
    if evaluations is None:
        return "\n".join(lines)
    lines += [
        f"Commit {' and '.join(told['commits'])}, {' and '.join(told['published_on'])}, PyTorch "
        f"{told['versions']['torch']}, {told['date']}. n networks, trained from scratch.\n",
        "| data set | method | ipc | network | tested | protocol | test accuracy | n | published |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in tabulation.summarise(evaluations).itertuples():
        same = published[
            (published["dataset"] == row.dataset) & (published["ipc"] == str(row.ipc))
            & (published["method"] == row.method) & (published["network"] == row.network)
            & (published["protocol"] == row.protocol)
            & (networks.parse(row.network).twin == row.eval_network)
        ]  # fmt: skip
        beside = ", ".join(
            f"{one.accuracy_mean}" + f" ± {one.accuracy_std}" * (one.accuracy_std > 0)
            + f" ({one.source}, {row.mean - one.accuracy_mean:+z.1f})"
            for one in same.itertuples()
        )  # fmt: skip
        spread = "" if pd.isna(row.std) else f" ± {row.std:.1f}"
        lines.append(
            f"| {row.dataset} | {row.method} | {row.ipc} | {row.network} | {row.eval_network} "
            f"| {row.protocol} | {row.mean:.1f}{spread} | {row.n} | {beside} |"
        )
    return "\n".join(lines) + "\n"


def restore(folder: Path, results: Path) -> int:
    """Put the files of a record where a grid has them, and return of how many cells.

    None that is there is overwritten, but by a further state of the same computation.

    Raises:
        InputError: there is no record.
    """
    if not (folder / "record.json").is_file():
        raise InputError(f"{folder}: is no record, it has no record.json")
    count = 0
    for cell in cells(folder, "**/*"):
        of_set = OF_SET if (folder / cell.folder / "set.safetensors").exists() else ()
        copied = _copy(folder, results, cell, (*of_set, *OF_NETWORKS), again=False)
        if not (results / cell.folder / "set.safetensors").exists() and _further(
            folder, results, cell
        ):
            copied |= _copy(folder, results, cell, (UNFINISHED,))
        count += copied
    return count


def _further(folder: Path, results: Path, cell: Cell) -> bool:
    """Whether an unfinished set is further in a record than here, by the same computation."""
    theirs, own = (place / cell.folder / UNFINISHED for place in (folder, results))
    if not theirs.exists():
        return False
    try:
        here = read_sealed(own)[1] if own.exists() else None
    except InputError:  # nothing can go on from it
        here = None
    there = read_sealed(theirs)[1]
    if here is None or here.get("digest") == there.get("digest"):
        return here is None or there["progress"]["iteration"] > here["progress"]["iteration"]
    print(f"{own}: stays, it is of other settings, code or data than the record's", file=sys.stderr)
    return False


def commits(folder: Path) -> list[str]:
    """Return the commits of what is in a record, and of what is unfinished in it."""
    told = files.read_json(folder / "record.json")
    return sorted({*told["commits"], *(each["commit"] for each in told["unfinished"])})


def _whole(record: Path, made: Path) -> bool:
    """Whether a file is there, and has the bytes that its record says."""
    told = files.read_json(record).get(DIGESTS)
    if whole := made.exists() and (told is None or files.sha256(made) in told.values()):
        return whole
    print(f"{made}: left out, it is missing or damaged", file=sys.stderr)
    return False


def _of_its_set(record: Path) -> bool:
    """Whether networks were trained on the set that is beside them now."""
    made, told = record.parent.parent / "set.safetensors", files.read_json(record).get(MADE_FROM)
    trained_on = told["inputs"].get("set") if told else None
    if same := trained_on is None or (
        made.exists() and trained_on == provenance.digest([files.sha256(made)])
    ):
        return same
    print(f"{record}: left out, it is of another set than is there", file=sys.stderr)
    return False


def _cell(path: Path) -> Cell:
    """Return the cell that a record beside a set, or below `eval`, is of."""
    place = path.parent.parent if path.parent.name == "eval" else path.parent
    return Cell.of(Path(*path.parts[len(place.parts) - len(Cell._fields) :]))[0]


def _differs(results: Path, folder: Path, cell: Cell) -> bool:
    """Whether a record has another set of a cell than there is now, or had it in mind."""
    made, kept = (place / cell.folder for place in (results, folder))
    if (kept / "set.safetensors").exists():
        return (kept / "set.safetensors").read_bytes() != (made / "set.safetensors").read_bytes()
    return (kept / "run.json").exists() and _told(kept / "run.json", DIGESTS) != _told(
        made / "run.json", DIGESTS
    )


def _told(record: Path, part: str) -> dict[str, Any]:
    told: dict[str, Any] = files.read_json(record).get(part) or {}
    return told


def _unlike(was: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Return in which settings two things differ that become one row, in words.

    What stands on one side only is of another version of the code.
    """
    both = (was.keys() & wanted.keys()) - FREE
    old, new = ({"settings": {name: of[name] for name in both}} for of in (was, wanted))
    return differences(old, {"cell": {}, **new})


def _tested(record: Path) -> Trained | None:
    """Return what a record of networks is of; nothing of that of a set."""
    return Trained.of(record.stem) if record.parent.name == "eval" else None


def _settings(record: Path) -> dict[str, Any]:
    told: dict[str, Any] = _told(record, MADE_FROM).get("settings", {})
    return told


def _refuse_unlike(records: Iterable[Path]) -> None:
    """Refuse to put into one row what was made with different settings."""
    first: dict[Any, Path] = {}
    for record in records:
        one = first.setdefault((_cell(record)._replace(seed=0), _tested(record)), record)
        if why := _unlike(_settings(one), _settings(record)):
            raise InputError(
                f"{record}: differs from {one}, and would be in one row with it: {why}; allowed is "
                "what was made with one config, or another name for the record"
            )


def _as_asked(record: Path, asked: _Asked) -> bool:
    wanted = asked.settings_of(_cell(record), _tested(record))
    if not (why := _unlike(_settings(record), wanted)):
        return True
    print(f"{record}: left out, it is not of this config: {why}", file=sys.stderr)
    return False


def _small(path: Path) -> bool:
    if small := path.stat().st_size <= LARGEST:
        return small
    print(f"{path}: left out, it has more than {LARGEST} bytes", file=sys.stderr)
    return False


def _machine() -> str:
    try:
        told = Path("/proc/cpuinfo").read_text()
    except OSError:
        told = ""
    names = [line.partition(":")[2].strip() for line in told.splitlines() if "model name" in line]
    return f"{[*names, platform.processor()][0]}, {os.cpu_count()} cores, {platform.platform()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--restore", action="store_true", help="RECORD RESULTS: the way back")
    parser.add_argument("places", nargs="+", type=Path, help="RESULTS CONFIG NAME")
    given = parser.parse_args()
    if len(given.places) != (2 if given.restore else 3):
        parser.error("what is wanted is RESULTS CONFIG NAME, or --restore RECORD RESULTS")
    try:
        if given.restore:
            record, results = given.places
            print(f"{restore(record, results)} cells are there again")
            print(f"They are current at the commits {', '.join(commits(record))}")
        else:
            results, config, title = given.places
            date = datetime.datetime.now(datetime.UTC).date().isoformat()
            there = sorted(RECORDS.glob(f"????-??-??-{title}"))
            publish(results, config, there[-1] if there else RECORDS / f"{date}-{title}")
    except (InputError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
