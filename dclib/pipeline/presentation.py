"""The page of everything: the tables, and beside them the sets and the curves of every cell.

It is one file that loads nothing, so that it can be sent to somebody. Its pictures are small; the
files themselves are linked, and are found where the page lies in the folder of the results.
"""

import base64
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup
from PIL import Image

from dclib import files
from dclib.pipeline import paths, tabulation, typesetting
from dclib.pipeline.paths import Cell, Trained
from dclib.pipeline.tabulation import KEY, Work

_ALL = "evaluations"  # the table of a row a network, which is more than a page can show
_CELL, _TESTED = [*Cell._fields], ["eval_network", "protocol"]
_PICTURE, _FIGURE = (400, 260), (1500, 3000)  # largest width and height in pixels
_QUALITY = 75  # of WebP
_POINTS = 60  # of a line
_LINE = 8000  # characters: Snakemake's report takes no lines of more than 10000
_WIDTH, _HEIGHT = 120, 40  # of a line, in pixels


def page(work: Work) -> None:
    """Write the page."""
    found = {
        path.relative_to(work.results).as_posix(): path
        for inputs in work.inputs.values()
        for path in inputs
    }
    tables = {path.stem: _read(path) for path in work.inputs["csv"]}
    rows = tables.pop(_ALL)
    curves = tabulation.collect(work.inputs["curve"], work.results)
    described = [files.read_metadata(path) for path in work.inputs["data"]]
    classes = {each["dataset"]: len(each["class_names"]) for each in described}
    cells = [*_cells(rows, curves, found, classes)]
    template = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    ).from_string((paths.WORKFLOW / "report/page.html.jinja").read_text(encoding="utf-8"))
    text = template.render(
        captions=work.settings["captions"],
        protocols=[
            typesetting.meaning(name, work.settings["changed"])
            for name in rows["protocol"].unique()
        ],
        tables={name: _table(table, curves, cells) for name, table in tables.items()},
        figures={
            path.stem: picture(path, _FIGURE)
            for name, path in found.items()
            if name.startswith("figures/") and path.suffix == ".png"
        },
        cells=cells,
        made=_made(cells),
        networks=len(rows),
        meaning=tabulation.MEANING,
        partial=typesetting.PARTIAL,
    )
    files.write_text(work.outputs["html"], text)


def _read(path: Path) -> pd.DataFrame:
    """A table as `typesetting.write` left it."""
    texts = dict.fromkeys([*KEY, "ablation"], str)
    return pd.read_csv(path, dtype=texts, keep_default_na=False, na_values=[""])


def _table(
    table: pd.DataFrame, curves: pd.DataFrame, cells: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """What a table shows, with a set and the curve of all networks beside each row."""
    shown, lines = typesetting.for_people(table), _lines(curves, KEY)
    sets: dict[tuple[str, ...], str] = {}
    for cell in cells:  # the first seed of each
        if cell["picture"]:
            sets.setdefault(cell["cell"][:-1], cell["cell"].folder)
    keys = [*table[KEY].itertuples(index=False, name=None)]
    return {
        "columns": [*shown],
        "after": [*shown].index("n") + 1,
        "rows": [
            (row, sets.get(key[:4], ""), lines.get(key, ""))
            for row, key in zip(shown.itertuples(index=False, name=None), keys, strict=True)
        ],
        "partial": bool((table["n"] < table["n_of_grid"]).any()),
    }


def _cells(
    rows: pd.DataFrame,
    curves: pd.DataFrame,
    found: Mapping[str, Path],
    classes: Mapping[str, int],
) -> Iterator[dict[str, Any]]:
    """What is shown of each cell, in the order of the configuration."""
    lines = _lines(curves, _CELL + _TESTED)
    for place, of_cell in _groups(rows, _CELL):
        cell = Cell._make(place)
        records, trained = [], []
        for name, group in _groups(of_cell, _TESTED):
            tested, accuracies = Trained._make(name), group["test_accuracy"]
            n, mean, std = len(group), accuracies.mean(), accuracies.std(ddof=0)
            (text,) = typesetting.plus_minus([mean], [std if n > 1 else math.nan])
            file = f"{cell.folder}/eval/{tested.stem}"
            trained.append(
                {
                    "how": f"{tested.network}, {tested.protocol}",
                    "mean": mean, "text": text, "n": n,
                    "line": lines.get((*place, *name), ""),
                    "file": f"{file}.csv",
                }
            )  # fmt: skip
            records.append(
                (f"trained: {trained[-1]['how']}", files.read_json(found[f"{file}.json"]))
            )
        made = found.get(f"{cell.folder}/run.json")
        records = ([("the set", files.read_json(made))] if made else []) + records
        png, trace = (found.get(f"{cell.folder}/{name}") for name in ("set.png", "trace.csv"))
        yield {
            "cell": cell,
            "picture": picture(png, _PICTURE, classes[cell.dataset]) if png else "",
            "loss": _trace(trace) if trace else "",
            "trained": trained,
            "records": records,
            "seconds": records[0][1].get("seconds") if made else None,
            "settings": "\n\n".join(_told(title, record) for title, record in records),
        }


def _groups(rows: pd.DataFrame, key: list[str]) -> Iterator[tuple[tuple[Any, ...], pd.DataFrame]]:
    """The rows that are alike in a key, in the order of their first ones."""
    grouped: Any = rows.groupby(key, sort=False)
    return iter(grouped)


def _told(title: str, record: Mapping[str, Any]) -> str:
    """How something was made, a line a setting."""
    versions = record.get("versions", {})
    parts = [f"{record['seconds']} s"] if "seconds" in record else []
    parts += [str(record[key]) for key in ("device",) if key in record]
    parts += [f"{name} {version}" for name, version in versions.items()]
    parts += [f"commit {record['commit']}"] if record.get("commit") else []
    settings = [f"  {key}: {json.dumps(told)}" for key, told in record["settings"].items()]
    return "\n".join([f"{title} ({', '.join(parts)})", *settings])


def _made(cells: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """By what all of it was made: each version and device once."""
    records = [record for cell in cells for _, record in cell["records"]]
    found: dict[str, dict[str, None]] = {}
    for record in records:
        told = {**record.get("versions", {}), **{k: record.get(k) for k in ("commit", "device")}}
        for name, value in told.items():
            if value:
                found.setdefault(name, {})[str(value)] = None
    return {name: [*values] for name, values in found.items()}


def _lines(curves: pd.DataFrame, key: list[str]) -> dict[tuple[Any, ...], Markup]:
    """Test accuracy against epoch, by a key: the mean, and a band from lowest to highest."""
    spread = curves.groupby([*key, "epoch"], sort=False)["test_accuracy"].agg(
        ["min", "mean", "max"]
    )
    return {
        place: line(group["epoch"], group["mean"], group["min"], group["max"], "%", "epoch")
        for place, group in spread.reset_index("epoch").groupby(level=key, sort=False)
    }


def _trace(path: Path) -> Markup:
    """The loss of a trace against iterations."""
    trace = pd.read_csv(path)
    trace = trace[trace["loss"].abs() < math.inf]
    if trace.empty:
        return Markup()
    loss = trace["loss"]
    return line(trace["iteration"], loss, loss, loss, "", "iteration")


def line(
    x: "pd.Series[Any]", mean: "pd.Series[float]", low: "pd.Series[float]",
    high: "pd.Series[float]", unit: str, of: str,
) -> Markup:  # fmt: skip
    """Return a line as SVG, with a band around it, and the ends of both axes in numbers.

    A single point is a line that begins and ends in it, which round ends make a dot.

    Args:
        x, mean, low, high: finite numbers, one a point.
        unit: of the values.
        of: what `x` counts.
    """
    left, right, bottom, top = x.min(), x.max(), low.min(), high.max()
    shown = [*range(0, len(x) - 1, math.ceil(len(x) / _POINTS)), len(x) - 1]
    thick = 1.5
    if len(shown) == 1:
        shown, thick = shown * 2, 5
    across = ((x.to_numpy() - left) / ((right - left) or 1) * _WIDTH)[shown]

    def place(values: "pd.Series[float]") -> list[str]:
        down = ((top - values.to_numpy()) / ((top - bottom) or 1) * _HEIGHT)[shown]
        return [f"{a:.1f},{b:.1f}" for a, b in zip(across.tolist(), down.tolist(), strict=True)]

    told = f"{mean.iloc[0]:.4g}{unit} at {of} {left}, {mean.iloc[-1]:.4g}{unit} at {of} {right}"
    return Markup(
        '<svg class="line" width="{w}" height="{h}" viewBox="-34 -6 {w} {h}" role="img">'
        '<title>{told}</title><polygon points="{band}"/>'
        '<polyline points="{mean}" style="stroke-width:{thick}"/>'
        '<text x="-4" y="4">{top:.3g}</text><text x="-4" y="{height}">{bottom:.3g}</text>'
        '<text x="0" y="{below}" class="first">{left}</text>'
        '<text x="{width}" y="{below}">{right}</text></svg>'
    ).format(
        w=_WIDTH + 40, h=_HEIGHT + 22, told=told, band=" ".join(place(high) + place(low)[::-1]),
        mean=" ".join(place(mean)), top=top, bottom=bottom, height=_HEIGHT, below=_HEIGHT + 12,
        width=_WIDTH, left=left, right=right, thick=thick,
    )  # fmt: skip


def picture(path: Path, largest: tuple[int, int], classes: int = 1) -> str:
    """Return a picture of at most this width and height as a data URI; empty if it is too large.

    Args:
        classes: rows of the picture. If it is tall, as of few images of many classes, it is cut
            between them, and the parts are put side by side.
    """
    try:
        opened = Image.open(path)
    except Image.DecompressionBombError:
        return ""
    with opened as image:
        shown = _side_by_side(image, classes)
    shown.thumbnail(largest)
    shown.convert("RGB").save(stream := io.BytesIO(), "WEBP", quality=_QUALITY, method=1)
    text = base64.b64encode(stream.getvalue()).decode()
    parts = [text[i : i + _LINE] for i in range(0, len(text), _LINE)]
    return "data:image/webp;base64,\n" + "\n".join(parts)


def _side_by_side(image: Image.Image, classes: int) -> Image.Image:
    width, height = image.size
    parts = min(classes, math.ceil(math.sqrt(height / width)))
    rows = math.ceil(classes / parts)
    tall = round(height * rows / classes)
    whole = Image.new("RGB", (width * math.ceil(classes / rows), tall), "white")
    for number in range(math.ceil(classes / rows)):
        top = round(height * number * rows / classes)
        whole.paste(image.crop((0, top, width, min(top + tall, height))), (number * width, 0))
    return whole
