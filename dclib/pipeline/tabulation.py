"""From the rows of evaluations to the tables of the paper."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors import safe_open

from dclib import files
from dclib.applications.evaluation import scores
from dclib.errors import InputError, one_line
from dclib.networks import names
from dclib.pipeline import integrity, typesetting
from dclib.pipeline.paths import Cell, Trained

KEY = ["dataset", "method", "network", "ipc", "eval_network", "protocol"]
_READ = ("model", "epoch", "test_accuracy", "validation_accuracy", "authors_accuracy")

MEANING = (
    "Test accuracy in percent: mean and standard deviation over n networks trained from scratch "
    "(seeds x models; the paper has 5 x 20 = 100)."
)
COMPARED = (
    f"{MEANING} The ratio is that of the images to the training set, in percent; `over random` is "
    "the difference to as many random images, and `of whole` the share in percent of what all "
    "images give, both under the same protocol. Published figures of this protocol are followed by "
    "the difference of this run's mean to them."
)
SCORED = (
    f"{MEANING} DD-Ranking's scores are of fractions: HLR is whole less this set, less is better, "
    "and there is none where a teacher labels; a set that brings probabilities has no scores "
    "unless the protocol says `labels: hard`; "
    "IOR is this set less random; LRS = scaled((IOR - HLR) / 2); ARS = scaled((IOR of this "
    "protocol + IOR of the first one without augmentation) / 2), where this one augments; scaled(x)"
    " = (exp(x) - exp(-1)) / (exp(1) - exp(-1)). Empty is what wants random, whole or another "
    "protocol that is not there. No learning rate and no epoch is chosen by test "
    "accuracy, as the authors' code does."
)


@dataclass(frozen=True)
class Work:
    """What a job that draws up a table or a figure is given.

    Attributes:
        settings: of its description in `tables` or `figures`.
        inputs: the files that are read, by the name of the output: see `Aggregate`; `data` are
            the prepared data sets of their cells.
        outputs: by name.
        results: the folder of all results.
        published: the published figures.
    """

    settings: Mapping[str, Any]
    inputs: Mapping[str, Sequence[Path]]
    outputs: Mapping[str, Path]
    results: Path
    published: Path

    def rows(self, name: str = "rows") -> pd.DataFrame:
        """Return the rows of the inputs, or where `name` says so their curves: see `collect`."""
        return collect(self.inputs[name], self.results)


def evaluations(work: Work) -> None:
    """Write every row of the evaluations."""
    files.write_text(work.outputs["csv"], work.rows().to_csv(index=False))


def compared(work: Work) -> None:
    """Write the table of the paper that `number` in the settings names, beside what it says."""
    published = read_published(work.published)
    published = published[
        (published["table"] == work.settings["number"])
        & ~published["dataset"].isin(work.settings["altered"])
    ]
    table = compare(work.rows(), published, work.inputs["data"], work.settings["expected"])
    typesetting.write(table, work.outputs, COMPARED, changed=work.settings["changed"])


def scored(work: Work) -> None:
    """Write DD-Ranking's scores of every set."""
    soft = set()
    for path in work.inputs.get("set", ()):  # none where `whole` is the only method
        with safe_open(path, "np") as opened:
            if opened.get_slice("labels").get_dtype() != "I64":
                cell, _ = Cell.of(path.relative_to(work.results))
                soft.add("/".join(cell[:-1]))  # without its seed
    labels = {
        key: "probabilities" if told == "own" and key.rsplit("/", 2)[0] in soft else told
        for key, told in work.settings["labels"].items()
    }
    table = score(work.rows(), work.settings["expected"], work.settings["augmented"], labels)
    typesetting.write(table, work.outputs, SCORED, changed=work.settings["changed"])


def ablations(work: Work) -> None:
    """Write what a change of the network or of the distance does to the accuracy."""
    table = by_ablation(work.rows(), work.settings["ablations"], work.settings["cells"])
    typesetting.write(table, work.outputs, MEANING, changed=work.settings["changed"])


def collect(paths: Iterable[Path], results: Path) -> pd.DataFrame:
    """Return the rows of evaluations under one another, with the cell that each is from.

    Args:
        paths: of rows or of curves, below `results`.

    Raises:
        InputError: a file is missing, or no such table, or has a value that cannot be.
    """
    parts = []
    for path in paths:
        cell, rest = Cell.of(path.relative_to(results))
        try:
            values = integrity.read_table(path)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from error
        tested = Trained.of(Path(rest).name.removesuffix(".csv").removesuffix(".curve"))
        rows = pd.DataFrame(
            {**cell._asdict(), "eval_network": tested.network, "protocol": tested.protocol}
            | {name: values[name] for name in _READ if name in values}
        )
        parts.append(rows.astype({name: int for name in ("model", "epoch") if name in rows}))
    return pd.concat(parts, ignore_index=True)


def read_published(path: str | Path) -> pd.DataFrame:
    """Return the published figures, one a row, as resources/published.csv has them."""
    return pd.read_csv(path, dtype={"table": str, "ipc": str})


def summarise(evaluations: pd.DataFrame) -> pd.DataFrame:
    """Return mean, standard deviation (of the population, as the authors take it) and n by cell.

    For sets of others, the accuracies in their file are there as `authors`, and where images are
    held out, the mean accuracy on them as `validation`. A single network has no standard deviation.
    The order of the rows is kept; seeds and models are pooled.
    """
    groups = evaluations.groupby(KEY, sort=False)["test_accuracy"]
    n = groups.size()
    columns = {"mean": groups.mean(), "std": groups.std(ddof=0).where(n > 1), "n": n}
    for name in ("validation", "authors"):
        if f"{name}_accuracy" in evaluations:
            columns[name] = evaluations.groupby(KEY, sort=False)[f"{name}_accuracy"].mean()
    return pd.DataFrame(columns).reset_index()


def compare(
    evaluations: pd.DataFrame,
    published: pd.DataFrame,
    data_files: Iterable[str | Path],
    expected: Mapping[str, int],
) -> pd.DataFrame:
    """Return a row for each data set, ipc and method, beside what was published (Tables 1 and 2).

    Args:
        evaluations: from `collect`.
        published: rows of `read_published`.
        data_files: the prepared files of the data sets, from which the ratio is computed.
        expected: how many networks the whole grid has, by the parts of `KEY`, joined by '/'.

    Returns:
        The columns dataset, ipc, ratio_percent, method, network, eval_network, protocol, mean, std,
        n, n_of_grid, over_random, of_whole, and for every source its mean, std and the difference
        of `mean` to it.
    """
    sizes = {}
    for path in data_files:
        metadata = files.read_metadata(path)
        try:
            sizes[metadata["dataset"]] = (metadata["train_images"], len(metadata["class_names"]))
        except (KeyError, TypeError) as error:
            raise InputError(f"{path}: not a prepared data set ({one_line(error)})") from error
    table = _with_expected(summarise(evaluations), expected)
    table["ratio_percent"] = [_ratio(row, sizes) for _, row in table.iterrows()]
    random, whole = _beside(table)
    table["over_random"] = table["mean"] - random
    table["of_whole"] = 100 * table["mean"] / whole
    table = _add_published(table, published)
    order = ["dataset", "ipc", "ratio_percent", "method", "network", "eval_network", "protocol"]
    table = table[order + [column for column in table.columns if column not in order]]
    ranks = {
        column: {name: rank for rank, name in enumerate(dict.fromkeys(table[column]))}
        for column in ("dataset", "method", "protocol")
    }
    return table.sort_values(
        ["dataset", "ipc", "protocol", "method"],
        key=lambda column: (
            column.map(ranks[str(column.name)])
            if column.name in ranks
            else pd.to_numeric(column.replace("all", "1000000000"))
        ),
        kind="stable",
        ignore_index=True,
    )


def score(
    evaluations: pd.DataFrame,
    expected: Mapping[str, int],
    augmented: Mapping[str, bool],
    labels: Mapping[str, str],
) -> pd.DataFrame:
    """Return DD-Ranking's scores, a row for each cell of `summarise` but random and whole.

    Args:
        evaluations: from `collect`.
        expected: as for `compare`.
        augmented: whether the images are augmented, by the same keys.
        labels: what labels them, by the same keys: a `teacher`, for whom there is no HLR;
            `probabilities` of their own, which have no scores beside classes; or anything else.

    Returns:
        The columns of `KEY`, mean, std, n, n_of_grid, hlr, ior, lrs, ars; empty where what they are
        made of is missing.
    """
    table = _with_expected(summarise(evaluations), expected)
    random, whole = _beside(table)
    means = (table["mean"] / 100).tolist()
    keys = [tuple(row) for row in table[KEY].values]
    labelled = pd.Series([labels["/".join(key)] for key in keys], table.index)
    whole = (whole / 100).mask(labelled.isin(["teacher", "probabilities"]))
    random = (random / 100).mask(labelled == "probabilities")
    table["hlr"] = list(map(scores.hard_label_recovery, whole.tolist(), means))
    table["ior"] = list(map(scores.improvement_over_random, means, random.tolist()))
    table["lrs"] = list(map(scores.label_robust, table["ior"], table["hlr"]))
    # The first IOR without augmentation, of labels alike.
    alike = [(*key[:-1], told) for key, told in zip(keys, labelled, strict=True)]
    augments = [augmented["/".join(key)] for key in keys]
    plain: dict[tuple[str, ...], float] = {}
    for own, augmenting, ior in zip(alike, augments, table["ior"].tolist(), strict=True):
        if not augmenting and not math.isnan(ior):
            plain.setdefault(own, ior)
    table["ars"] = [
        scores.augmentation_robust(ior, plain.get(own, math.nan)) if augmenting else math.nan
        for own, augmenting, ior in zip(alike, augments, table["ior"].tolist(), strict=True)
    ]
    return table[~table["method"].isin(["random", "whole"])].reset_index(drop=True)


def _beside(summary: pd.DataFrame) -> tuple["pd.Series[float]", "pd.Series[float]"]:
    """The means of random images, and of all images, for each row, under the same protocol."""
    of_random = ["dataset", "network", "ipc", "eval_network", "protocol"]
    of_whole = ["dataset", "eval_network", "protocol"]
    found = []
    for method, key in (("random", of_random), ("whole", of_whole)):
        means = summary[summary["method"] == method].set_index(key)["mean"]
        rows = pd.MultiIndex.from_frame(summary[key])
        found.append(pd.Series(means.reindex(rows).to_numpy(dtype=float), index=summary.index))
    return found[0], found[1]


def by_ablation(
    evaluations: pd.DataFrame,
    expected: Mapping[str, Mapping[str, int]],
    cells: Mapping[str, Collection[str]],
) -> pd.DataFrame:
    """Return the rows of every ablation, in the order of the configuration.

    Args:
        evaluations: from `collect`; a cell may belong to several ablations.
        expected: for every ablation, how many networks each of its cells has, as for `compare`.
        cells: for every ablation, the folders of its cells: each may have seeds of its own.
    """
    columns = evaluations[[*Cell._fields]].itertuples(index=False)
    folders = pd.Series([Cell(*cell).folder for cell in columns], evaluations.index)
    parts = []
    for name, own in expected.items():
        summary = summarise(evaluations[folders.isin(list(cells[name]))])
        summary = summary.set_index(KEY, drop=False)
        rows = summary.loc[[tuple(key.split("/")) for key in own]].reset_index(drop=True)
        rows = _with_expected(rows, own)
        rows.insert(0, "ablation", name)
        parts.append(rows)
    return pd.concat(parts, ignore_index=True)


def cross_architecture(evaluations: pd.DataFrame, expected: Mapping[str, int]) -> pd.DataFrame:
    """Return a row for every network that was condensed with and every one that was tested."""
    return _with_expected(summarise(evaluations), expected)


def _with_expected(summary: pd.DataFrame, expected: Mapping[str, int]) -> pd.DataFrame:
    of_grid = [expected["/".join(row[KEY])] for _, row in summary.iterrows()]
    return summary.assign(n_of_grid=of_grid)


def _ratio(row: "pd.Series[str]", sizes: Mapping[str, tuple[int, int]]) -> float:
    train_images, num_classes = sizes[row["dataset"]]
    chosen = train_images if row["ipc"] == "all" else num_classes * int(row["ipc"])
    return 100 * chosen / train_images


def _add_published(table: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Add for every source what it published for the same cell, and how far `mean` is from it."""
    table = table.copy()
    key = ["dataset", "ipc", "method", "network", "protocol"]
    # The published sets were tested on the network that they were condensed with.
    own_network = (table["network"].map(_twin) == table["eval_network"]).to_numpy()
    for source in dict.fromkeys(published["source"]):
        figures = published[published["source"] == source].set_index(key)
        for column, own in (("accuracy_mean", source), ("accuracy_std", f"{source}_std")):
            found = figures[column].reindex(pd.MultiIndex.from_frame(table[key]))
            table[own] = found.where(own_network).to_numpy()
        table[f"{source}_difference"] = table["mean"] - table[source]
    return table


def _twin(network: str) -> str:
    return names.parse(network).twin
