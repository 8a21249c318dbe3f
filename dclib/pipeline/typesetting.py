"""How a table looks to people: in Markdown, in LaTeX, rounded."""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import pandas as pd

from dclib import files
from dclib.applications.evaluation.protocols import PROTOCOLS
from dclib.errors import printable

VALIDATED = (
    "`validation` is the mean accuracy in percent on images that are held out of the training."
)
PARTIAL = "Drawn up from part of the grid: some cells have fewer networks than it asks for."

# What LaTeX takes for something else than it is, under every engine.
_TEX = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    **{c: f"{{{c}}}" for c in '[]*"'},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    "±": r"$\pm$",
}


def meaning(protocol: str, changed: Mapping[str, Sequence[str]]) -> str:
    """Return what a protocol is, and which of its settings the configuration changes."""
    known = PROTOCOLS.get(protocol)
    text = f"Protocol '{protocol}': {known.meaning if known else 'of the configuration'}."
    but = ", ".join(changed.get(protocol, ()))
    return f"{text} The configuration changes {but} of it." if but else text


def write(
    table: pd.DataFrame,
    outputs: Mapping[str, Path],
    title: str,
    shown: pd.DataFrame | None = None,
    changed: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Write a table as csv, md and tex, the latter two with a page for each protocol.

    Args:
        outputs: a path for each of the three.
        title: what the numbers are; stands under the md and is the caption of the tex.
        shown: what md and tex show, with a column `protocol`; every row of the table if None.
        changed: the settings of known protocols that the configuration changes, by protocol.
    """
    path = outputs["csv"]
    # The csv module does not see that a carriage return ends a line.
    odd = table.select_dtypes(exclude="number").map(lambda text: "\r" in text).any(axis=None)
    quoting: Literal[0, 2] = csv.QUOTE_NONNUMERIC if odd else csv.QUOTE_MINIMAL
    files.write_text(path, table.round(4).to_csv(index=False, quoting=quoting))
    shown = for_people(table) if shown is None else shown
    note = f"{title} {PARTIAL}" if (table["n"] < table["n_of_grid"]).any() else title
    note = f"{note} {VALIDATED}" if "validation" in shown else note
    pages, in_tex = [], []
    for number, (name, rows) in enumerate(shown.groupby("protocol", sort=False), start=1):
        protocol, rows = meaning(str(name), changed or {}), rows.drop(columns="protocol")
        text = rows.map(markdown).rename(columns=markdown)
        pages += [text.to_markdown(index=False, disable_numparse=True), protocol]
        text = rows.map(latex).rename(columns=latex)
        label = f"tab:{path.stem}{f':{number}' if number > 1 else ''}"
        caption = latex(f"{protocol} {note}")
        in_tex.append(
            text.to_latex(index=False, caption=caption, label=label, escape=False, position="htb")
        )
    files.write_text(outputs["md"], "\n\n".join([*pages, note]) + "\n")
    files.write_text(outputs["tex"], "\n".join(in_tex))


def markdown(text: str) -> str:
    """Return a text for a cell of a table in Markdown, where it looks as it is."""
    escaped = re.sub(r"[\\`*<>&\[\]$~|]", r"\\\g<0>", printable(text))
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", escaped)  # inside a word it is itself


def latex(text: str) -> str:
    """Return a text for LaTeX, where it looks as it is; beyond Latin letters xelatex is needed."""
    escaped = "".join(_TEX.get(c, c) for c in printable(text))
    return re.sub("-(?=-)", "-{}", escaped)  # two would become a dash


def for_people(table: pd.DataFrame) -> pd.DataFrame:
    """Round, join means with their deviations, and leave out what is empty or says nothing."""
    shown = table[[c for c in ("protocol", "ablation", "dataset", "ipc") if c in table]].copy()
    if "ratio_percent" in table:
        shown["ratio %"] = [f"{ratio:.4g}" for ratio in table["ratio_percent"]]
    shown["method"] = table["method"]
    shown["network"] = [
        row["network"]
        if row["network"] == row["eval_network"]
        else f"{row['network']}, tested on {row['eval_network']}"
        for _, row in table.iterrows()
    ]
    shown["this run"] = plus_minus(table["mean"], table["std"])
    shown["n"] = [
        str(n) if n == of_grid else f"{n} of {of_grid}"
        for n, of_grid in zip(table["n"], table["n_of_grid"], strict=True)
    ]
    for column, name in (("over_random", "over random"), ("of_whole", "of whole")):
        if column in table and table[column].notna().any():
            sign = "+" if column == "over_random" else ""
            shown[name] = ["" if pd.isna(v) else f"{v:{sign}.1f}" for v in table[column]]
    for name in ("validation", "authors"):
        if name in table and table[name].notna().any():
            shown[name] = ["" if pd.isna(v) else f"{v:.1f}" for v in table[name]]
    for name in ("hlr", "ior", "lrs", "ars"):
        if name in table:
            shown[name.upper()] = ["" if pd.isna(v) else f"{v:.3f}" for v in table[name]]
    columns = map(str, table.columns)
    sources = [c.removesuffix("_difference") for c in columns if c.endswith("_difference")]
    for source in sources:
        if table[source].notna().any():
            shown[source] = plus_minus(table[source], table[f"{source}_std"])
            shown[f"vs {source}"] = [
                "" if pd.isna(d) else f"{d:+z.1f}" for d in table[f"{source}_difference"]
            ]
    return shown


def crossed(table: pd.DataFrame) -> pd.DataFrame:
    """Return a cross-architecture table with a row for each condensing and a column for each
    tested network; n in brackets, where it is not the same everywhere."""
    shown = plus_minus(table["mean"], table["std"])
    if table["n"].nunique() > 1:
        shown = [f"{text} ({n})" for text, n in zip(shown, table["n"], strict=True)]
    cells = table.assign(shown=shown)
    index = ["protocol", "dataset", "ipc", "method", "network"]
    wide = cells.pivot(index=index, columns="eval_network", values="shown")
    wide = wide.reindex(
        index=pd.MultiIndex.from_frame(table[index].drop_duplicates()),
        columns=list(dict.fromkeys(table["eval_network"])),
    )
    wide = wide.reset_index().rename(columns={"network": "condensed with"})
    return wide.rename_axis(columns=None).fillna("")


def plus_minus(means: Iterable[float], stds: Iterable[float]) -> list[str]:
    """Return means with their deviations, where there are any, as a table shows them."""
    return [
        "" if pd.isna(mean) else f"{mean:.1f}" if pd.isna(std) else f"{mean:.1f} ± {std:.1f}"
        for mean, std in zip(means, stds, strict=True)
    ]
