"""The page of a finished grid: what stands on it, told by a parser of HTML."""

import base64
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from types import SimpleNamespace
from urllib.parse import unquote

import jinja2
import pandas as pd
import pytest
from conftest import ROOT
from PIL import Image
from pipeline import folder

from dclib.pipeline import presentation

NETWORK = "ConvNet-width4"


class Page(HTMLParser):
    """The tables by the id of their section, each a list of rows of cells, and all attributes.

    A cell is its text, the sources of its pictures and how many lines of SVG it has.
    """

    def __init__(self, text):
        super().__init__()
        self.tables, self.attributes, self._section, self._open = {}, [], "", False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, *each) for each in attrs]
        told = dict(attrs)
        if tag == "section":
            self._section = told["id"]
        elif tag == "tr":
            self.tables.setdefault(self._section, []).append([])
        elif tag in ("td", "th"):
            self.tables[self._section][-1].append({"text": "", "pictures": [], "lines": 0})
            self._open = True
        elif self._open and tag == "img":
            self.tables[self._section][-1][-1]["pictures"].append(told)
        elif self._open and tag == "polyline":
            self.tables[self._section][-1][-1]["lines"] += 1

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._open = False

    def handle_data(self, data):
        if self._open:
            self.tables[self._section][-1][-1]["text"] += data


@pytest.fixture(scope="module")
def text(finished):
    return (finished.root / "results/report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def by_column(table):
    """A dict a row, by the heads of the columns."""
    heads = [cell["text"] for cell in table[0]]
    return [dict(zip(heads, row, strict=True)) for row in table[1:]]


def test_every_table_has_the_numbers_of_its_csv(finished, page):
    tables = {path.stem for path in (finished.root / "results/tables").glob("*.csv")}
    assert page.tables.keys() == tables - {"evaluations"} | {"cells"}
    for name in tables - {"evaluations"}:
        wanted = pd.read_csv(finished.root / f"results/tables/{name}.csv", dtype=str)
        shown = by_column(page.tables[name])
        assert len(shown) == len(wanted)
        for row, (_, told) in zip(shown, wanted.iterrows(), strict=True):
            std = "" if pd.isna(told["std"]) else f" ± {float(told['std']):.1f}"
            assert row["this run"]["text"] == f"{float(told['mean']):.1f}{std}"
            for key in ("dataset", "method", "ipc", "network", "protocol", "n"):
                assert row[key]["text"] == told[key]
            for key, column in (("HLR", "hlr"), ("of whole", "of_whole")):
                if key in row:
                    assert float(row[key]["text"] or "nan") == pytest.approx(
                        float(told[column]), abs=0.06 if key == "of whole" else 6e-4, nan_ok=True
                    )
            place = folder(told["dataset"], told["method"])
            assert row["curve"]["lines"] == 1
            pictures = [picture["data-of"] for picture in row["set"]["pictures"]]
            assert pictures == ([] if told["method"] == "whole" else [place])


def test_every_cell_has_its_picture_its_loss_and_its_curve(finished, page):
    rows = by_column(page.tables["cells"])
    assert [(row["dataset"]["text"], row["method"]["text"]) for row in rows] == [
        (dataset, method) for dataset in ("digits", "again") for method in ("random", "dc", "whole")
    ]
    evaluations = pd.read_csv(finished.root / "results/tables/evaluations.csv")
    for row in rows:
        method = row["method"]["text"]
        of = (evaluations["dataset"] == row["dataset"]["text"]) & (evaluations["method"] == method)
        mean = evaluations[of]["test_accuracy"].mean()
        assert row["accuracy"]["text"].startswith(f"{mean:.1f}")
        assert f"(n = {of.sum()})" in row["networks trained on it"]["text"]
        assert row["networks trained on it"]["lines"] == 1
        assert row["loss"]["lines"] == (method == "dc")
        assert "epochs: 2" in row["made with"]["text"]
        pictures = row["set"]["pictures"]
        assert len(pictures) == (method != "whole")
        for picture in pictures:
            assert picture["id"] == folder(row["dataset"]["text"], method)
            content = base64.b64decode(picture["src"].partition(",")[2])
            with Image.open(io.BytesIO(content)) as opened:
                assert max(opened.size) <= 400
                assert opened.convert("L").getextrema()[1] > 100  # there is something on it


def test_it_loads_nothing(finished, page):
    loaded = [value for tag, name, value in page.attributes if name in ("src", "srcset", "data")]
    assert loaded
    assert all(value.startswith("data:image/") for value in loaded)
    assert not {tag for tag, *_ in page.attributes} & {"link", "iframe", "object", "embed"}
    for _, name, value in page.attributes:
        if name == "href" and not value.startswith("#"):
            assert (finished.root / "results" / value).is_file()
        assert "url(" not in (value or "")


def test_a_curve_is_drawn_to_scale(finished, text):
    """Both epochs of the only curve of a network: from the left to the right, in percent."""
    curve = pd.read_csv(
        finished.root
        / "results"
        / folder("digits", "whole", ipc="all")
        / f"eval/{NETWORK}.curve.csv"
    )
    low, high = sorted(curve["test_accuracy"])
    first, last = curve["test_accuracy"]
    told = f"{first:.4g}% at epoch 1, {last:.4g}% at epoch 2"
    (drawn, *_) = re.findall(
        rf"<title>{re.escape(told)}</title>.*?<polyline points=\"(.*?)\"", text
    )
    (x0, y0), (x1, y1) = (map(float, point.split(",")) for point in drawn.split())
    assert (x0, x1) == (0, 120)
    heights = [40 * (high - value) / ((high - low) or 1) for value in (first, last)]
    assert (y0, y1) == pytest.approx(heights, abs=0.06)


def test_a_single_point_is_a_dot():
    one = pd.Series([24.0])
    drawn = presentation.line(pd.Series([3]), one, one - 2, one + 2, "%", "epoch")
    assert re.findall(r'<polyline points="(.*?)"', drawn) == ["0.0,20.0 0.0,20.0"]


@pytest.mark.skipif(not shutil.which("node"), reason="there is no node")
def test_sorting(text, tmp_path):
    """The script's order of what cells begin with, either way; what is empty is last."""
    script = text.partition("<script>")[2].partition("for (const head")[0]
    texts = ["9.5 ± 0.1", "", "10", "+0.5", "-3.1", "all", "1e-3", "2moons", "10moons", "20 of 100"]
    ends = """
    const texts = %s, cells = texts.map(innerText => ({innerText}));
    for (const way of [1, -1])
      console.log(JSON.stringify(cells.map(key).sort((a, b) => compare(a, b, way))));
    """ % json.dumps(texts)  # noqa: UP031
    done = subprocess.run(
        ["node", "-e", script + ends], text=True, capture_output=True, check=True, cwd=tmp_path
    )
    up, down = map(json.loads, done.stdout.splitlines())
    numbers, names = [-3.1, 1e-3, 0.5, 9.5, 10, 20], ["2moons", "10moons", "all"]
    assert up == [*numbers, *names, ""]
    assert down == [*numbers[::-1], *names[::-1], ""]


def test_within_a_report_it_is_whole_wherever_it_lies(tmp_path):
    place = tmp_path / """a 'b' & "c" #1 <d>/report.html"""
    place.parent.mkdir()
    place.write_text('<!doctype html>\n<p title="\'>&amp;">text')
    template = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(
        (ROOT / "report/workflow.rst").read_text()
    )
    outer = Page(template.render(files=[SimpleNamespace(target="report.html", path=place)]))
    ((_, _, source),) = (each for each in outer.attributes if each[1] == "srcdoc")
    inner = Page(source)
    assert [name for _, name, _ in inner.attributes] == ["href", "title"]
    (base, title) = (value for *_, value in inner.attributes)
    assert (unquote(base), title) == (f"{place.parent}/", "'>&")
