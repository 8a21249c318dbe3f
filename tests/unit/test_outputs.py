"""Sets, tables, figures and digests."""

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT
from PIL import Image

from dclib import files, provenance
from dclib.data.synthetic import SyntheticSet, class_labels
from dclib.errors import InputError
from dclib.methods import coresets
from dclib.pipeline import figures, tables
from dclib.seeding import Streams
from dclib.tensors import write_tensors


def test_sets_survive_the_round_trip(digits, tmp_path):
    made = coresets.random(digits, 2, Streams("cell")).with_metadata(dataset="digits", ipc=2)
    path = tmp_path / "set.safetensors"
    made.save(path)
    loaded = SyntheticSet.load(path)
    assert torch.equal(loaded.images, made.images)
    assert torch.equal(loaded.labels, class_labels(10, 2))
    assert loaded.metadata["indices"] == made.metadata["indices"]
    content = path.read_bytes()
    made.save(path)
    assert path.read_bytes() == content
    path.write_bytes(content[:100])
    with pytest.raises(InputError, match="not a whole safetensors file"):
        SyntheticSet.load(path)
    write_tensors(path, {"images": made.images}, {})
    with pytest.raises(InputError, match="not a set of images, it has no labels"):
        SyntheticSet.load(path)


def test_pictures_show_the_pixels(digits, tmp_path):
    made = coresets.random(digits, 3, Streams("cell"))
    pixels = digits.train_images[made.metadata["indices"]].float() / 255
    torch.testing.assert_close(made.pixels(), pixels, atol=1e-6, rtol=0)
    made.save_png(tmp_path / "set.png")
    picture = np.asarray(Image.open(tmp_path / "set.png"))[:, :, 0]
    assert picture.shape == (8 * (10 * 9 + 1), 8 * (3 * 9 + 1))  # a grey line between, enlarged
    row, column = 4, 2
    tile = picture[4::8, 4::8][1 + row * 9 :, 1 + column * 9 :][:8, :8]
    assert np.all(picture[:8] == 128)
    np.testing.assert_allclose(tile / 255, pixels[row * 3 + column, 0], atol=0.003)


def evaluation(folder, cell, accuracies):
    path = folder / cell / "eval" / "ConvNet.csv"
    path.parent.mkdir(parents=True)
    pd.DataFrame({"model": range(len(accuracies)), "test_accuracy": accuracies}).to_csv(
        path, index=False
    )
    return path


@pytest.fixture
def grid(tmp_path):
    """Two seeds at ipc 1, one at ipc 10, and the whole set, of a data set that is called MNIST."""
    labels = torch.arange(400) % 10
    images = torch.zeros(400, 1, 4, 4, dtype=torch.uint8)
    from dclib.data.datasets import ImageDataset

    data = ImageDataset(
        "MNIST",
        images,
        labels,
        images[:10].clone(),
        labels[:10].clone(),
        (0.1,),
        (0.3,),
        tuple("0123456789"),
    )
    data.save(tmp_path / "MNIST/data.safetensors")
    paths = [
        evaluation(tmp_path, "MNIST/dc/ConvNet/ipc-10/seed-0", [97.0, 98.0]),
        evaluation(tmp_path, "MNIST/dc/ConvNet/ipc-1/seed-0", [90.0, 92.0]),
        evaluation(tmp_path, "MNIST/dc/ConvNet/ipc-1/seed-1", [91.0, 95.0]),
        evaluation(tmp_path, "MNIST/whole/ConvNet/ipc-all/seed-0", [99.0]),
        evaluation(tmp_path, "MNIST/random/ConvNet/ipc-1/seed-0", [60.0]),
    ]
    return paths, [tmp_path / "MNIST/data.safetensors"]


def test_table1(grid, tmp_path):
    paths, data = grid
    rows = tables.collect(paths)
    assert list(rows) == [
        "dataset", "method", "network", "ipc", "seed", "eval_network", "model", "test_accuracy",
    ]  # fmt: skip
    assert len(rows) == 8
    published = tables.read_published(ROOT / "resources/published.csv")
    expected = {f"MNIST/dc/ConvNet/{ipc}/ConvNet": 4 for ipc in (1, 10)}
    expected |= {"MNIST/whole/ConvNet/all/ConvNet": 1, "MNIST/random/ConvNet/1/ConvNet": 1}
    table = tables.compare(rows, published[published["table"] == "1"], data, expected)
    assert table[["ipc", "method"]].to_numpy().tolist() == [
        ["1", "dc"], ["1", "random"], ["10", "dc"], ["all", "whole"],
    ]  # fmt: skip
    assert table["ratio_percent"].tolist() == [2.5, 2.5, 25.0, 100.0]
    first = table.iloc[0]
    assert first["mean"] == pytest.approx(92.0)
    assert first["std"] == pytest.approx(np.std([90, 92, 91, 95]))
    assert (first["n"], first["paper"], first["paper_std"]) == (4, 91.7, 0.5)
    assert first["report_difference"] == pytest.approx(92.0 - 91.94)
    assert table["report"].tolist() == [91.94, 62.3, 97.25, 99.5]
    tables.write(table, tmp_path / "t.csv", "A title.")
    back = pd.read_csv(tmp_path / "t.csv", dtype={"ipc": str})
    assert back["mean"].tolist() == [92.0, 60.0, 97.5, 99.0]
    text = (tmp_path / "t.md").read_text()
    assert "| 92.0 ± 1.9 |" in text
    assert "91.7 ± 0.5" in text
    assert "+0.3" in text
    assert "2 of 4" in text
    assert "part of the grid" in text
    assert "ncfm" not in text
    latex = (tmp_path / "t.tex").read_text()
    assert r"92.0 $\pm$ 1.9" in latex
    assert r"ratio \%" in latex


@pytest.fixture
def crossing(tmp_path):
    """Two networks condensed with, three tested on; one pair is missing."""
    paths = []
    for i, network in enumerate(("MLP", "ConvNet")):
        for j, tested in enumerate(("MLP", "LeNet", "ConvNet")):
            path = tmp_path / f"MNIST/dc/{network}/ipc-1/seed-0/eval/{tested}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            accuracies = [50.0 + 10 * i + j, 52.0 + 10 * i + j]
            pd.DataFrame({"model": [0, 1], "test_accuracy": accuracies}).to_csv(path, index=False)
            paths.append(path)
    return paths[:-1]


def test_cross_architecture(crossing, tmp_path):
    expected = {
        f"MNIST/dc/{n}/1/{t}": 2 for n in ("MLP", "ConvNet") for t in ("MLP", "LeNet", "ConvNet")
    }
    table = tables.cross_architecture(tables.collect(crossing), expected)
    tables.write(table, tmp_path / "x.csv", "A title.", tables.crossed(table))
    lines = (tmp_path / "x.md").read_text().splitlines()
    assert lines[0].replace(" ", "") == "|dataset|ipc|method|condensedwith|MLP|LeNet|ConvNet|"
    assert lines[2].replace(" ", "") == "|MNIST|1|dc|MLP|51.0±1.0|52.0±1.0|53.0±1.0|"
    assert lines[3].replace(" ", "") == "|MNIST|1|dc|ConvNet|61.0±1.0|62.0±1.0||"
    assert pd.read_csv(tmp_path / "x.csv")["mean"].tolist() == [51.0, 52.0, 53.0, 61.0, 62.0]
    figure = figures.cross_architecture(table)
    panel = figure.axes[0]
    assert [text.get_text() for text in panel.texts] == ["51.0", "52.0", "53.0", "61.0", "62.0"]
    assert [label.get_text() for label in panel.get_yticklabels()] == ["MLP", "ConvNet"]


def test_ablations(crossing, tmp_path):
    expected = {
        "tested": {"MNIST/dc/MLP/1/MLP": 2, "MNIST/dc/MLP/1/LeNet": 2},
        "condensed": {"MNIST/dc/ConvNet/1/MLP": 4, "MNIST/dc/MLP/1/MLP": 2},
    }
    table = tables.ablations(tables.collect(crossing), expected)
    assert table["ablation"].tolist() == ["tested", "tested", "condensed", "condensed"]
    assert table["mean"].tolist() == [51.0, 52.0, 61.0, 51.0]
    tables.write(table, tmp_path / "a.csv", "A title.")
    text = (tmp_path / "a.md").read_text()
    assert "MLP, tested on LeNet" in text
    assert "2 of 4" in text
    assert "part of the grid" in text


def test_damaged_evaluations_are_named(tmp_path):
    path = evaluation(tmp_path, "MNIST/dc/ConvNet/ipc-1/seed-0", [1.0, 2.0])
    for content in ("", "model,test_accuracy\n", "model,test_accuracy\n0,\n", "model\n0\n"):
        path.write_text(content)
        with pytest.raises(InputError, match="not a whole evaluation table") as raised:
            tables.collect([path])
        assert str(path) in str(raised.value)
        assert "\n" not in str(raised.value)


def test_figures_are_drawn(digits, tmp_path):
    sets = [
        coresets.random(digits, 3, Streams("cell")).with_metadata(
            dataset=f"d{i}", method="random", ipc=3
        )
        for i in range(3)
    ]
    figure = figures.condensed_sets(sets)
    assert [panel.get_title() for panel in figure.axes] == [
        f"d{i}, random, 3 per class" for i in range(3)
    ]
    figures.write(figure, tmp_path / "f.png")
    assert (tmp_path / "f.pdf").read_bytes().startswith(b"%PDF")
    assert matplotlib.image.imread(tmp_path / "f.png").std() > 0.1


def test_curves_show_mean_and_span(tmp_path):
    rows = [
        {"dataset": "d", "ipc": ipc, "seed": seed, "model": 0, "epoch": epoch,
         "test_accuracy": 10.0 * epoch + seed}
        for ipc in ("1", "10") for seed in (0, 4) for epoch in (1, 2)
    ]  # fmt: skip
    figure = figures.accuracy_curves(pd.DataFrame(rows))
    (panel,) = figure.axes
    assert [line.get_label() for line in panel.lines] == [
        "1 per class (n = 2)",
        "10 per class (n = 2)",
    ]
    assert panel.lines[0].get_ydata().tolist() == [12.0, 22.0]
    span = panel.collections[0].get_datalim(panel.transData)
    assert (span.y0, span.y1) == (10.0, 24.0)
    styles = {line.get_linestyle() for line in panel.lines}
    assert len(styles) == 2
    assert "epoch" in panel.get_xlabel()
    assert "%" in panel.get_ylabel()


@pytest.fixture
def package(tmp_path):
    """A small package called dclib, and a script that imports a part of it."""
    sources = {
        "dclib/__init__.py": '"""Doc."""\n__version__ = "1"\n',
        "dclib/a.py": "from dclib import b\nx = 1\n",
        "dclib/b.py": "y = 2\n",
        "dclib/unused.py": "z = 3\n",
        "script.py": "import dclib.a\n",
    }
    for name, text in sources.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_code_digests_follow_imports_and_ignore_words(package):
    def digest():
        provenance.code_digest.cache_clear()
        provenance._parsed.cache_clear()
        return provenance.code_digest(package / "script.py", root=package)

    before = digest()
    (package / "dclib/b.py").write_text('"""Doc."""\n\n# a comment\ny   =   2\n')
    (package / "dclib/__init__.py").write_text('__version__ = "2"\n')
    (package / "dclib/unused.py").write_text("z = 4\n")
    assert digest() == before
    (package / "dclib/b.py").write_text("y = 3\n")
    changed = digest()
    assert changed != before
    (package / "script.py").write_text("import dclib.a\n\n\ndef f():\n    return 1\n")
    assert digest() != changed


def test_code_digests_are_the_same_under_every_python(package):
    """Taken down under Python 3.11, 3.12 and 3.13: an upgrade must not make results stale."""
    (package / "script.py").write_text(
        "def f(a, *b: int, c=1.5):\n    return [x for x in b if x] or {a: f'{c!r:>4}'}\n\n\n"
        "class A(dict):\n    x: int = 3\n"
    )
    provenance.code_digest.cache_clear()
    provenance._parsed.cache_clear()
    assert provenance.code_digest(package / "script.py", root=package) == "b8181355b9f87e53"


def test_condensing_does_not_depend_on_evaluation_or_coresets():
    script = ROOT / "workflow_scripts/condense.py"
    module = ROOT / "dclib/methods/dc/method.py"
    imported = set()
    waiting = [script, module]
    while waiting:
        path = waiting.pop()
        if path not in imported:
            imported.add(path)
            tree = provenance.ast.parse(path.read_text())
            for name in provenance._imports(tree):
                waiting += provenance._files(name, ROOT)
    names = {path.stem for path in imported}
    assert {"matching", "networks", "runner", "seeding"} <= names
    assert not {"evaluation", "coresets", "tables", "figures", "grid", "augmentation"} & names


def test_atomic_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")

    def fail():
        with files.atomic(path) as part:
            part.write_text("half of the ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
