"""The figures of the paper, legible in grey as well."""

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # scripts have no display

import pandas as pd
import torch
from matplotlib import font_manager
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch.nn import functional

from dclib import files
from dclib.data.synthetic import SyntheticSet
from dclib.errors import printable
from dclib.networks import names as networks
from dclib.pipeline import tabulation, typesetting
from dclib.pipeline.paths import Cell
from dclib.pipeline.tabulation import Work

_LINES = ("-", "--", "-.", ":")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_LONGEST = 32  # characters of a name
_READABLE = 25  # classes, and images of each, in a panel
# For what the first of them has no glyphs of, as far as they are installed.
_FONTS = (
    "DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans", "WenQuanYi Zen Hei",
    "Droid Sans Fallback", "PingFang SC", "Hiragino Sans", "Microsoft YaHei", "Arial Unicode MS",
    "Noto Emoji", "Symbola",
)  # fmt: skip
# Names are text: nothing in them is a formula.
matplotlib.rcParams["text.parse_math"] = False
matplotlib.rcParams["font.family"] = [
    font for font in _FONTS if font in font_manager.get_font_names()
]


def condensed_sets(work: Work) -> None:
    """Draw the images of sets."""
    write(show_sets([SyntheticSet.load(path) for path in work.inputs["set"]]), work.outputs)


def accuracy_curves(work: Work) -> None:
    """Draw test accuracy against training epoch."""
    write(show_curves(work.rows("curve")), work.outputs)


def accuracy_by_iteration(work: Work) -> None:
    """Draw test accuracy against the iterations of condensation."""
    write(show_progress(work.rows(), work.settings["iterations"]), work.outputs)


def snapshots(work: Work) -> None:
    """Draw the images of sets as they emerge."""
    sets = {
        Cell.of(p.relative_to(work.results))[0]: SyntheticSet.load(p) for p in work.inputs["set"]
    }
    write(show_emergence(sets, work.settings["iterations"]), work.outputs)


def cross_architecture(work: Work) -> None:
    """Write the table of sets condensed with one network and tested on others, and draw it."""
    table = tabulation.cross_architecture(work.rows(), work.settings["expected"])
    shown, changed = typesetting.crossed(table), work.settings["changed"]
    counts = table["n"].unique()
    told = f"n is {counts[0]}." if len(counts) == 1 else "n is in brackets."
    typesetting.write(table, work.outputs, f"{tabulation.MEANING} Here {told}", shown, changed)
    write(show_crossed(table), work.outputs)


def write(figure: Figure, outputs: Mapping[str, Path]) -> None:
    """Write a figure as png and pdf.

    Args:
        outputs: a path for each of the two.
    """
    with warnings.catch_warnings():
        # A box stands for what no font has.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        for name, metadata in (("png", {"Software": None}), ("pdf", {"CreationDate": None})):
            with files.atomic(outputs[name]) as part:
                figure.savefig(part, dpi=200, bbox_inches="tight", metadata=metadata)
    plt.close(figure)


def label(name: str) -> str:
    """Return a name as a figure shows it: on one line, and shortened in the middle."""
    text = printable(name)
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[: half - 1]}…{text[-half:]}"


def show_sets(sets: Sequence[SyntheticSet]) -> Figure:
    """Return a panel for each set: a row for each class, its images from left to right.

    Of many classes, and of many images of each, the first are shown, which the axes say.
    """
    figure, panels = _panels(len(sets), width=4.6, height=4.6)
    for panel, stored in zip(panels, sets, strict=True):
        shown = stored.decoded()
        every = shown.metadata["class_names"]
        ipc, names = len(shown.images) // len(every), every[:_READABLE]
        height, width = shown.images.shape[-2:]
        picture = shown.grid(classes=_READABLE, ipc=_READABLE)
        panel.imshow(picture.numpy(), interpolation="nearest")
        most = min(ipc, _READABLE)
        rows, columns = range(len(names)), range(0, most, math.ceil(most / 15))
        panel.set_yticks([1 + height / 2 + row * (height + 1) for row in rows])
        panel.set_yticklabels([label(name) for name in names])
        panel.set_xticks([1 + width / 2 + column * (width + 1) for column in columns])
        panel.set_xticklabels([str(column + 1) for column in columns])
        panel.tick_params(length=0, labelsize=8)
        panel.set_title(
            f"{label(shown.metadata['dataset'])}, {shown.metadata['method']}, "
            f"{len(stored.images) // len(every)} per class",
            fontsize=10,
        )
        panel.set_xlabel("image" + _part(ipc), fontsize=8)
        panel.set_ylabel("class" + _part(len(every)), fontsize=8)
        for spine in panel.spines.values():
            spine.set_visible(False)
    return figure


def _part(every: int) -> str:
    return f" (the first {_READABLE} of {every})" if every > _READABLE else ""


def show_curves(curves: pd.DataFrame) -> Figure:
    """Return a panel for each data set and protocol: test accuracy against epoch, a line an ipc.

    Args:
        curves: a row for each tested epoch, from `tabulation.collect`; the line is the mean over
            models and seeds, the shade spans the lowest to the highest.
    """
    groups = list(curves.groupby(["dataset", "protocol"], sort=False))
    several = curves["protocol"].nunique() > 1
    figure, panels = _panels(len(groups), width=4.4, height=3.4)
    ipcs = list(dict.fromkeys(curves["ipc"]))
    colours = matplotlib.colormaps["viridis"]
    for panel, ((dataset, protocol), rows) in zip(panels, groups, strict=True):
        for rank, ipc in enumerate(ipcs):
            chosen = rows[rows["ipc"] == ipc]
            if chosen.empty:
                continue
            by_epoch = chosen.groupby("epoch")["test_accuracy"].agg(["mean", "min", "max"])
            colour = colours(0.85 * rank / max(1, len(ipcs) - 1))
            panel.fill_between(
                by_epoch.index, by_epoch["min"], by_epoch["max"], color=colour, alpha=0.2, lw=0
            )
            networks = len(chosen) // chosen["epoch"].nunique()
            panel.plot(
                by_epoch.index,
                by_epoch["mean"],
                color=colour,
                linestyle=_LINES[rank % len(_LINES)],
                marker=_MARKERS[rank % len(_MARKERS)],
                markersize=3.5,
                linewidth=1.4,
                label=f"{ipc} per class (n = {networks})",
            )
        panel.set_title(label(str(dataset)) + f", {protocol}" * several, fontsize=10)
        panel.set_xlabel("training epoch", fontsize=9)
        panel.set_ylabel("test accuracy (%)", fontsize=9)
        panel.tick_params(labelsize=8)
        panel.set_xlim(left=0)
        panel.grid(color="0.9", linewidth=0.6)
        panel.set_axisbelow(True)
        panel.legend(fontsize=8, frameon=False, loc="lower right")
    return figure


def show_progress(rows: pd.DataFrame, iterations: Mapping[str, int]) -> Figure:
    """Return a panel for each data set and protocol: test accuracy against iterations.

    Args:
        rows: from `tabulation.collect`; a point is the mean over models and seeds, with one
            standard deviation up and down.
        iterations: by the folder of a cell.
    """
    cells = [Cell(*cell) for cell in rows[[*Cell._fields]].itertuples(index=False)]
    rows = rows.assign(
        iteration=[iterations[cell.folder] for cell in cells],
        of=[
            f"{cell.finished.method}, {cell.ipc} per class"
            + f", {cell.network}" * (rows["network"].nunique() > 1)
            + f" on {tested}" * (tested != networks.parse(cell.network).twin)
            for cell, tested in zip(cells, rows["eval_network"], strict=True)
        ],
    )
    groups = list(rows.groupby(["dataset", "protocol"], sort=False))
    several = rows["protocol"].nunique() > 1
    figure, panels = _panels(len(groups), width=4.4, height=3.4)
    for panel, ((dataset, protocol), group) in zip(panels, groups, strict=True):
        for rank, (name, points) in enumerate(group.groupby("of", sort=False)):
            found = points.groupby("iteration")["test_accuracy"]
            panel.errorbar(
                sorted(found.groups),
                found.mean(),
                found.std(ddof=0),
                color=matplotlib.colormaps["viridis"](0.85 * rank / max(1, group["of"].nunique())),
                linestyle=_LINES[rank % len(_LINES)],
                marker=_MARKERS[rank % len(_MARKERS)],
                markersize=3.5,
                linewidth=1.4,
                capsize=2,
                label=f"{name} (n = {found.size().min()})",
            )
        panel.set_xscale("log")
        ticks = sorted(group["iteration"].unique())
        panel.set_xticks(ticks, [str(tick) for tick in ticks])
        panel.minorticks_off()
        panel.set_title(label(str(dataset)) + f", {protocol}" * several, fontsize=10)
        panel.set_xlabel("iterations of condensation", fontsize=9)
        panel.set_ylabel("test accuracy (%)", fontsize=9)
        panel.tick_params(labelsize=8)
        panel.grid(color="0.9", linewidth=0.6)
        panel.set_axisbelow(True)
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.18)}  # where names are long
        few = group["of"].str.len().max() < 25
        panel.legend(fontsize=8, frameon=False, **({"loc": "lower right"} if few else below))
    return figure


def show_emergence(
    sets: Mapping[Cell, SyntheticSet], iterations: Mapping[str, int], classes: int = 10
) -> Figure:
    """Return a strip for each set: its snapshots from left to right, the first image of each class.

    Args:
        sets: a set with its snapshots, in order.
        iterations: by the folder of a cell.
        classes: of more, the first ones are shown.
    """
    strips: dict[Cell, list[Cell]] = {}
    for cell in sets:
        strips.setdefault(cell.finished, []).append(cell)
    longest = max(map(len, strips.values()))
    figure, panels = _panels(len(strips), width=max(3.0, 0.55 * longest + 1), height=5.2)
    for panel, (finished, cells) in zip(panels, strips.items(), strict=True):
        names = sets[cells[0]].metadata["class_names"][:classes]
        columns = []
        for cell in cells:
            seen = sets[cell].decoded()
            pixels, ipc = seen.pixels(), len(seen.images) // len(seen.metadata["class_names"])
            first = pixels[: len(names) * ipc : ipc].permute(0, 2, 3, 1)
            columns.append(functional.pad(first, (0, 0, 0, 1, 0, 1), value=0.5).flatten(0, 1))
        height, width = pixels.shape[-2:]
        picture = torch.cat(columns, dim=1)
        panel.imshow(picture.expand(-1, -1, 3).numpy(), interpolation="nearest")
        panel.set_yticks([height / 2 + row * (height + 1) for row in range(len(names))])
        panel.set_yticklabels([label(name) for name in names])
        panel.set_xticks([width / 2 + column * (width + 1) for column in range(len(cells))])
        panel.set_xticklabels([str(iterations[cell.folder]) for cell in cells], rotation=35)
        panel.tick_params(length=0, labelsize=8)
        panel.set_title(
            f"{label(finished.dataset)}, {finished.method}, {finished.ipc} per class"
            + f", {finished.network}" * (len({cell.network for cell in strips}) > 1),
            fontsize=10,
        )
        panel.set_xlabel("after iteration", fontsize=8)
        panel.set_ylabel("class", fontsize=8)
        for spine in panel.spines.values():
            spine.set_visible(False)
    return figure


def show_crossed(table: pd.DataFrame) -> Figure:
    """Return a heat map for each data set, ipc, method and protocol of a cross-architecture table.

    Args:
        table: from `tabulation.cross_architecture`.
    """
    groups = list(table.groupby(["dataset", "ipc", "method", "protocol"], sort=False))
    several = table["protocol"].nunique() > 1
    tested = list(dict.fromkeys(table["eval_network"]))
    condensed = list(dict.fromkeys(table["network"]))
    figure, panels = _panels(
        len(groups), width=2.2 + 0.75 * len(tested), height=1.6 + 0.55 * len(condensed)
    )
    for panel, ((dataset, ipc, method, protocol), rows) in zip(panels, groups, strict=True):
        means = rows.pivot(index="network", columns="eval_network", values="mean")
        means = means.reindex(index=condensed, columns=tested)
        image = panel.imshow(means, cmap="viridis", aspect="auto")
        middle = (means.min().min() + means.max().max()) / 2
        for row, name in enumerate(condensed):
            for column, other in enumerate(tested):
                mean = means.loc[name, other]
                if not pd.isna(mean):
                    colour = "white" if mean < middle else "black"
                    panel.text(
                        column, row, f"{mean:.1f}", ha="center", va="center", color=colour, size=8
                    )
        panel.set_xticks(range(len(tested)))
        panel.set_xticklabels(tested, rotation=35, ha="right", fontsize=8)
        panel.set_yticks(range(len(condensed)))
        panel.set_yticklabels(condensed, fontsize=8)
        panel.set_xlabel("trained and tested", fontsize=9)
        panel.set_ylabel("condensed with", fontsize=9)
        title = f"{label(str(dataset))}, {method}, {ipc} per class"
        panel.set_title(title + f", {protocol}" * several, fontsize=10)
        figure.colorbar(image, ax=panel).set_label("test accuracy (%)", fontsize=8)
    return figure


def _panels(count: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure with `count` panels, at most two in a row, each of a size in inches."""
    columns = min(2, count)
    rows = math.ceil(count / columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(width * columns, height * rows),
        layout="constrained",
        squeeze=False,
    )
    panels = list(axes.flat)
    for spare in panels[count:]:
        spare.remove()
    return figure, panels[:count]
