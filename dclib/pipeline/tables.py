"""From evaluation rows to the tables of the paper."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from dclib import files
from dclib.errors import InputError, one_line
from dclib.pipeline.grid import twin
from dclib.tensors import read_metadata

KEY = ["dataset", "method", "network", "ipc", "eval_network"]
SOURCES = ("paper", "report", "dc-authors", "ncfm")

MEANING = (
    "Test accuracy in percent: mean and standard deviation over n networks trained from scratch "
    "(seeds x models; the paper has 5 x 20 = 100)."
)
COMPARED = (
    f"{MEANING} The ratio is that of the images to the training set, in percent. Published figures "
    "(of the paper, the report that re-implements it, the readme of the authors' code, and the "
    "NCFM paper) are followed by the difference of this run's mean to them."
)
PARTIAL = "Drawn up from part of the grid: some cells have fewer networks than it asks for."


def collect(paths: Iterable[str | Path]) -> pd.DataFrame:
    """Return the rows of evaluation tables under one another, with the cell that each is from.

    Args:
        paths: {dataset}/{method}/{network}/ipc-{ipc}/seed-{seed}/eval/{eval_network}[.curve].csv

    Raises:
        InputError: a file is not such a table.
    """
    parts = []
    for path in map(Path, paths):
        dataset, method, network, ipc, seed = path.parts[-7:-2]
        try:
            rows = pd.read_csv(path)
            names = [c for c in ("model", "epoch", "test_accuracy") if c in rows or c != "epoch"]
            values = _numbers(rows[names])
        except Exception as error:  # pandas raises many kinds
            raise InputError(
                f"{path}: not a whole evaluation table ({one_line(error)}); delete it"
            ) from error
        cell = {
            "dataset": dataset,
            "method": method,
            "network": network,
            "ipc": ipc.removeprefix("ipc-"),
            "seed": int(seed.removeprefix("seed-")),
            "eval_network": path.name.split(".")[0],
        }
        parts.append(pd.DataFrame(cell, index=values.index).join(values))
    return pd.concat(parts, ignore_index=True)


def read_evaluations(path: str | Path) -> pd.DataFrame:
    """Return what `collect` returned, from a file.

    Raises:
        InputError: it is not such a file.
    """
    try:
        rows = pd.read_csv(path, dtype=dict.fromkeys(KEY, str), keep_default_na=False)
        return rows[KEY].join(_numbers(rows[["seed", "model", "test_accuracy"]]))
    except Exception as error:  # pandas raises many kinds
        raise InputError(
            f"{path}: not a whole table of evaluations ({one_line(error)}); delete it"
        ) from error


def _numbers(rows: pd.DataFrame) -> pd.DataFrame:
    """Return columns of finite numbers as they are; refuse others, and none at all."""
    if rows.empty:
        raise ValueError("rows are missing")
    if not all(pd.api.types.is_numeric_dtype(kind) for kind in rows.dtypes):
        raise ValueError("a value is not a number")
    if not np.isfinite(rows.to_numpy(float)).all():
        raise ValueError("a value is missing or not finite")
    return rows


def read_published(path: str | Path) -> pd.DataFrame:
    """Return the published figures, one a row, as resources/published.csv has them."""
    return pd.read_csv(path, dtype={"table": str, "ipc": str})


def summarise(evaluations: pd.DataFrame) -> pd.DataFrame:
    """Return mean, standard deviation (of the population, as the authors take it) and n by cell.

    A single network has no standard deviation. The order of the rows is kept; seeds and models are
    pooled.
    """
    groups = evaluations.groupby(KEY, sort=False)["test_accuracy"]
    n = groups.size()
    columns = {"mean": groups.mean(), "std": groups.std(ddof=0).where(n > 1), "n": n}
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
        expected: how many networks the whole grid has, by dataset/method/network/ipc/eval_network.

    Returns:
        The columns dataset, ipc, ratio_percent, method, network, eval_network, mean, std, n,
        n_of_grid, and for every source its mean, std and the difference of `mean` to it.
    """
    sizes = {}
    for path in data_files:
        metadata = read_metadata(path)
        try:
            sizes[metadata["dataset"]] = (metadata["train_images"], len(metadata["class_names"]))
        except (KeyError, TypeError) as error:
            raise InputError(f"{path}: not a prepared data set ({one_line(error)})") from error
    table = _with_expected(summarise(evaluations), expected)
    table["ratio_percent"] = [_ratio(row, sizes) for _, row in table.iterrows()]
    table = _add_published(table, published)
    order = ["dataset", "ipc", "ratio_percent", "method", "network", "eval_network"]
    table = table[order + [column for column in table.columns if column not in order]]
    ranks = {
        column: {name: rank for rank, name in enumerate(dict.fromkeys(table[column]))}
        for column in ("dataset", "method")
    }
    return table.sort_values(
        ["dataset", "ipc", "method"],
        key=lambda column: (
            column.map(ranks[str(column.name)])
            if column.name in ranks
            else pd.to_numeric(column.replace("all", "1000000000"))
        ),
        kind="stable",
        ignore_index=True,
    )


def ablations(evaluations: pd.DataFrame, expected: Mapping[str, Mapping[str, int]]) -> pd.DataFrame:
    """Return the rows of every ablation, in the order of the configuration.

    Args:
        evaluations: from `collect`; a cell may belong to several ablations.
        expected: for every ablation, how many networks each of its cells has, as for `compare`.
    """
    summary = summarise(evaluations).set_index(KEY, drop=False)
    parts = []
    for name, cells in expected.items():
        rows = summary.loc[[tuple(key.split("/")) for key in cells]].reset_index(drop=True)
        rows = _with_expected(rows, cells)
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
    key = ["dataset", "ipc", "method", "network"]
    # The published sets were tested on the network that they were condensed with.
    own_network = (table["network"].map(twin) == table["eval_network"]).to_numpy()
    for source in SOURCES:
        figures = published[published["source"] == source].set_index(key)
        for column, own in (("accuracy_mean", source), ("accuracy_std", f"{source}_std")):
            found = figures[column].reindex(pd.MultiIndex.from_frame(table[key]))
            table[own] = found.where(own_network).to_numpy()
        table[f"{source}_difference"] = table["mean"] - table[source]
    return table


def write(
    table: pd.DataFrame, path: str | Path, title: str, shown: pd.DataFrame | None = None
) -> None:
    """Write a table as .csv, .md and .tex beside each other.

    Args:
        path: that of the .csv.
        title: what the numbers are; stands under the .md and is the caption of the .tex.
        shown: what .md and .tex show; every row of the table if None.
    """
    path = Path(path)
    files.write_text(path, table.round(4).to_csv(index=False))
    shown = for_people(table) if shown is None else shown
    note = f"{title} {PARTIAL}" if (table["n"] < table["n_of_grid"]).any() else title
    text = shown.to_markdown(index=False, disable_numparse=True)
    files.write_text(path.with_suffix(".md"), f"{text}\n\n{note}\n")
    latex = shown.to_latex(
        index=False, caption=note, label=f"tab:{path.stem}", escape=True, position="htb"
    )
    files.write_text(path.with_suffix(".tex"), latex.replace("±", r"$\pm$"))


def for_people(table: pd.DataFrame) -> pd.DataFrame:
    """Round, join means with their deviations, and leave out what is empty or says nothing."""
    shown = table[[c for c in ("ablation", "dataset", "ipc") if c in table]].copy()
    if "ratio_percent" in table:
        shown["ratio %"] = [f"{ratio:.4g}" for ratio in table["ratio_percent"]]
    shown["method"] = table["method"]
    shown["network"] = [
        row["network"]
        if row["network"] == row["eval_network"]
        else f"{row['network']}, tested on {row['eval_network']}"
        for _, row in table.iterrows()
    ]
    shown["this run"] = _plus_minus(table["mean"], table["std"])
    shown["n"] = [
        str(n) if n == of_grid else f"{n} of {of_grid}"
        for n, of_grid in zip(table["n"], table["n_of_grid"], strict=True)
    ]
    for source in SOURCES:
        if source in table and table[source].notna().any():
            shown[source] = _plus_minus(table[source], table[f"{source}_std"])
            shown[f"vs {source}"] = [
                "" if pd.isna(d) else f"{d:+.1f}" for d in table[f"{source}_difference"]
            ]
    return shown


def crossed(table: pd.DataFrame) -> pd.DataFrame:
    """Return a cross-architecture table with a row for each condensing and a column for each
    tested network."""
    cells = table.assign(shown=_plus_minus(table["mean"], table["std"]))
    index = ["dataset", "ipc", "method", "network"]
    wide = cells.pivot(index=index, columns="eval_network", values="shown")
    wide = wide.reindex(
        index=pd.MultiIndex.from_frame(table[index].drop_duplicates()),
        columns=list(dict.fromkeys(table["eval_network"])),
    )
    wide = wide.reset_index().rename(columns={"network": "condensed with"})
    return wide.rename_axis(columns=None).fillna("")


def _plus_minus(means: "pd.Series[float]", stds: "pd.Series[float]") -> list[str]:
    return [
        "" if pd.isna(mean) else f"{mean:.1f}" if pd.isna(std) else f"{mean:.1f} ± {std:.1f}"
        for mean, std in zip(means, stds, strict=True)
    ]
