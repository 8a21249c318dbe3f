"""Sets, tables, figures and digests."""

import re
import subprocess
import sys

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT
from PIL import Image

from dclib import codebase, files, methods
from dclib.applications.evaluation.protocols import PROTOCOLS
from dclib.data.synthetic import SyntheticSet, class_labels
from dclib.errors import InputError
from dclib.methods.random.method import select
from dclib.pipeline import drawing, settings, tabulation, typesetting
from dclib.pipeline.grid import Grid
from dclib.pipeline.paths import Cell
from dclib.pipeline.tables import TABLES
from dclib.seeding import Streams
from dclib.tensors import write_tensors


def chosen(data, ipc):
    return select(data, ipc, Streams("cell"), {}, torch.device("cpu"))


def test_sets_survive_the_round_trip(digits, tmp_path):
    made = chosen(digits, 2).with_metadata(dataset="digits", ipc=2)
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
    write_tensors(path, {"images": made.images}, made.metadata)
    with pytest.raises(InputError, match="not a set of images, it has no labels"):
        SyntheticSet.load(path)


def test_pictures_show_the_pixels(digits, tmp_path):
    made = chosen(digits, 3)
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


def outputs(folder, name, *suffixes):
    return {suffix: folder / f"{name}.{suffix}" for suffix in suffixes}


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
    rows = tabulation.collect(paths, tmp_path)
    assert list(rows) == [
        "dataset", "method", "network", "ipc", "seed", "eval_network", "protocol", "model",
        "test_accuracy",
    ]  # fmt: skip
    assert len(rows) == 8
    published = tabulation.read_published(ROOT / "resources/published.csv")
    expected = {f"MNIST/dc/ConvNet/{ipc}/ConvNet/dc": 4 for ipc in (1, 10)}
    expected |= {"MNIST/whole/ConvNet/all/ConvNet/dc": 1, "MNIST/random/ConvNet/1/ConvNet/dc": 1}
    table = tabulation.compare(rows, published[published["table"] == "1"], data, expected)
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
    assert table["over_random"].tolist()[:2] == [32.0, 0.0]
    assert table["over_random"].isna().tolist() == [False, False, True, True]
    assert table["of_whole"].tolist() == pytest.approx([100 * m / 99 for m in (92, 60, 97.5, 99)])
    typesetting.write(table, outputs(tmp_path, "t", "csv", "md", "tex"), "A title.")
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
    table.loc[0, "report_difference"] = -0.03
    typesetting.write(table, outputs(tmp_path, "zero", "csv", "md", "tex"), "A title.")
    assert "+0.0" in (text := (tmp_path / "zero.md").read_text())
    assert "-0.0" not in text


@pytest.mark.parametrize(
    ("entry", "altered"),
    [
        ("MNIST", False), ({"name": "MNIST", "mean": [0.5], "std": [0.5]}, False),
        ({"name": "MNIST", "image_size": 28}, False),
        ({"name": "MNIST", "classes": [0, 1]}, True), ({"name": "MNIST", "max_per_class": 9}, True),
        ({"name": "MNIST", "validation": 0.1}, True), ({"name": "MNIST", "image_size": 16}, True),
        ({"name": "MNIST", "source": "npz", "path": "x"}, True),
        ({"name": "MNIST", "source": "FashionMNIST"}, True),
    ],
)  # fmt: skip
def test_a_part_of_a_data_set_is_not_what_was_published_of(entry, altered):
    config = settings.load([ROOT / "config.yaml"])
    config |= {
        "datasets": [entry], "methods": ["dc"], "images_per_class": [1], "overrides": {},
        **dict.fromkeys(("table2", "cross_architecture", "ablations")),
    }  # fmt: skip
    assert TABLES["table1"].settings(Grid(config))["altered"] == ["MNIST"] * altered


def test_nothing_is_published_beside_a_part_of_a_data_set(grid, tmp_path):
    paths, data = grid
    expected = {
        "/".join(key): 1
        for key in tabulation.collect(paths, tmp_path)[tabulation.KEY].astype(str).to_numpy()
    }
    for altered, beside in (([], 4), (["MNIST"], 0)):
        work = tabulation.Work(
            {"number": "1", "expected": expected, "changed": {}, "altered": altered},
            {"rows": paths, "data": data},
            outputs(tmp_path, "t", "csv", "md", "tex"),
            tmp_path,
            ROOT / "resources/published.csv",
        )
        tabulation.compared(work)
        table = pd.read_csv(tmp_path / "t.csv")
        assert len(table) == 4
        assert table["report"].notna().sum() == beside


def test_what_was_published_under_another_training_is_beside_none():
    published = tabulation.read_published(ROOT / "resources/published.csv")
    told = published[published["method"] == "idc-i"].set_index(["dataset", "ipc"])["protocol"]
    # The protocol `idc` trains as its authors do for factor 2.
    unlike = {("MNIST", "1"), ("MNIST", "10"), ("MNIST", "50"), ("SVHN", "1")}
    assert {key for key, protocol in told.items() if protocol != "idc"} == unlike
    assert not {*told} & {*PROTOCOLS} - {"idc"}


def test_protocols_have_pages_and_are_compared_with_their_like(grid, tmp_path):
    paths, data = grid
    for path in paths[1:]:
        text = path.read_text().replace("9", "8")
        (path.parent / "ConvNet.dsa.csv").write_text(text)
        paths = [*paths, path.parent / "ConvNet.dsa.csv"]
    rows = tabulation.collect(paths, tmp_path)
    assert rows["protocol"].tolist() == ["dc"] * 8 + ["dsa"] * 6
    published = tabulation.read_published(ROOT / "resources/published.csv")
    expected = {"/".join(map(str, key)): 1 for key in rows[tabulation.KEY].values}
    table = tabulation.compare(rows, published[published["table"] == "1"], data, expected)
    dsa = table[table["protocol"] == "dsa"].reset_index()
    assert dsa["mean"].tolist() == [pytest.approx(82.0), 60.0, 88.0]  # 80, 82, 81 and 85
    assert dsa["over_random"][0] == pytest.approx(22.0)
    assert dsa["of_whole"][0] == pytest.approx(100 * 82 / 88)
    assert dsa["paper"].isna().all()  # what was published for dc is compared with dc
    changed = {"dsa": ["epochs", "lr"]}
    typesetting.write(
        table, outputs(tmp_path, "t", "csv", "md", "tex"), "A title.", changed=changed
    )
    text = (tmp_path / "t.md").read_text()
    assert text.count("The configuration changes epochs, lr of it.") == 1
    assert text.index("Protocol 'dc': of DC") < text.index("Protocol 'dsa': of DSA")
    assert text.count("| MNIST") == 4 + 3
    assert (tmp_path / "t.tex").read_text().count(r"\begin{table}") == 2


def test_scores_of_dd_ranking_worked_by_hand(grid, tmp_path):
    """0.92 of 0.99, with random at 0.60: HLR 0.07, IOR 0.32; with augmentation random has 0.70."""
    paths, _ = grid
    for path, accuracy in ((paths[1], 92.0), (paths[3], 99.0), (paths[4], 70.0)):
        augmented = path.parent / "ConvNet.dsa.csv"
        augmented.write_text(f"model,test_accuracy\n0,{accuracy}\n")
        paths = [*paths, augmented]
    rows = tabulation.collect(paths, tmp_path)
    keys = {"/".join(map(str, key)): 1 for key in rows[tabulation.KEY].values}
    augmented = {key: key.endswith("dsa") for key in keys}
    labels = dict.fromkeys(keys, "own")
    table = tabulation.score(rows, keys, augmented, labels)
    assert set(table["method"]) == {"dc"}
    table = table[table["ipc"] == "1"].reset_index()
    assert table["hlr"].tolist() == pytest.approx([0.07, 0.07])
    assert table["ior"].tolist() == pytest.approx([0.32, 0.22])
    # alpha = 0.5 * 0.32 - 0.5 * 0.07 = 0.125, e^0.125 = 1.133148, e^-1 = 0.367879, e = 2.718282
    assert table["lrs"][0] == pytest.approx((1.133148 - 0.367879) / (2.718282 - 0.367879), abs=1e-5)
    # beta = 0.5 * 0.22 + 0.5 * 0.32 = 0.27, e^0.27 = 1.309964
    assert table["ars"].isna().tolist() == [True, False]
    assert table["ars"][1] == pytest.approx((1.309964 - 0.367879) / 2.350402, abs=1e-5)
    typesetting.write(table, outputs(tmp_path, "s", "csv", "md", "tex"), tabulation.SCORED)
    assert "| 0.070 | 0.320 | 0.326 |" in (tmp_path / "s.md").read_text()
    # HLR is of hard labels, and there is none where a teacher labels.
    taught = {key: "teacher" if augmented[key] else "own" for key in keys}
    again = tabulation.score(rows, keys, augmented, taught)
    of_teacher = again["protocol"] == "dsa"
    assert again["hlr"].isna().equals(of_teacher)
    assert again.loc[of_teacher, "lrs"].isna().all()
    assert again.loc[again["ipc"] == "1", "ior"].tolist() == pytest.approx([0.32, 0.22])
    # Probabilities that a set brings are compared with no classes.
    soft = {key: "probabilities" if "/dc/" in key else "own" for key in keys}
    assert (
        tabulation.score(rows, keys, augmented, soft)[["hlr", "ior", "lrs", "ars"]]
        .isna()
        .all(axis=None)
    )


def test_augmentation_is_scored_beside_the_first_protocol_that_has_random_images(grid, tmp_path):
    paths, _ = grid
    for path, accuracy in ((paths[1], 92.0), (paths[4], 70.0)):
        (path.parent / "ConvNet.dsa.csv").write_text(f"model,test_accuracy\n0,{accuracy}\n")
        paths = [*paths, path.parent / "ConvNet.dsa.csv"]
    alone = paths[1].parent / "ConvNet.dd.csv"  # no random images under it
    alone.write_text("model,test_accuracy\n0,50.0\n")
    rows = tabulation.collect([alone, *paths], tmp_path)
    keys = {"/".join(map(str, key)): 1 for key in rows[tabulation.KEY].values}
    augmented = {key: key.endswith("dsa") for key in keys}
    table = tabulation.score(rows, keys, augmented, dict.fromkeys(keys, "own"))
    of_dsa = table[(table["ipc"] == "1") & (table["protocol"] == "dsa")]
    assert of_dsa["ars"].item() == pytest.approx((1.309964 - 0.367879) / 2.350402, abs=1e-5)


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
        f"MNIST/dc/{n}/1/{t}/dc": 2 for n in ("MLP", "ConvNet") for t in ("MLP", "LeNet", "ConvNet")
    }
    table = tabulation.cross_architecture(tabulation.collect(crossing, tmp_path), expected)
    files_ = outputs(tmp_path, "x", "csv", "md", "tex")
    typesetting.write(table, files_, "A title.", typesetting.crossed(table))
    lines = (tmp_path / "x.md").read_text().splitlines()
    assert lines[0].replace(" ", "") == "|dataset|ipc|method|condensedwith|MLP|LeNet|ConvNet|"
    assert lines[2].replace(" ", "") == "|MNIST|1|dc|MLP|51.0±1.0|52.0±1.0|53.0±1.0|"
    assert lines[3].replace(" ", "") == "|MNIST|1|dc|ConvNet|61.0±1.0|62.0±1.0||"
    assert pd.read_csv(tmp_path / "x.csv")["mean"].tolist() == [51.0, 52.0, 53.0, 61.0, 62.0]
    uneven = typesetting.crossed(table.assign(n=[2, 2, 2, 2, 4]))
    assert uneven["LeNet"].tolist() == ["52.0 ± 1.0 (2)", "62.0 ± 1.0 (4)"]
    figure = drawing.show_crossed(table)
    panel = figure.axes[0]
    assert [text.get_text() for text in panel.texts] == ["51.0", "52.0", "53.0", "61.0", "62.0"]
    assert [label.get_text() for label in panel.get_yticklabels()] == ["MLP", "ConvNet"]


def test_ablations(crossing, tmp_path):
    expected = {
        "tested": {"MNIST/dc/MLP/1/MLP/dc": 2, "MNIST/dc/MLP/1/LeNet/dc": 2},
        "condensed": {"MNIST/dc/ConvNet/1/MLP/dc": 4, "MNIST/dc/MLP/1/MLP/dc": 2},
    }
    cells = {name: [f"MNIST/dc/{network}/ipc-1/seed-0" for network in ("MLP", "ConvNet")]
             for name in expected}  # fmt: skip
    table = tabulation.by_ablation(tabulation.collect(crossing, tmp_path), expected, cells)
    assert table["ablation"].tolist() == ["tested", "tested", "condensed", "condensed"]
    assert table["mean"].tolist() == [51.0, 52.0, 61.0, 51.0]
    typesetting.write(table, outputs(tmp_path, "a", "csv", "md", "tex"), "A title.")
    # A row has the seeds of its own ablation, whatever another one adds to the same cell.
    more = tmp_path / "MNIST/dc/MLP/ipc-1/seed-1/eval/MLP.csv"
    more.parent.mkdir(parents=True)
    more.write_text("model,test_accuracy\n0,90.0\n1,90.0\n")
    cells["condensed"] += ["MNIST/dc/MLP/ipc-1/seed-1"]
    rows = tabulation.collect([*crossing, more], tmp_path)
    again = tabulation.by_ablation(rows, expected, cells)
    assert again["mean"].tolist() == [51.0, 52.0, 61.0, 70.5]
    assert again["n"].tolist() == [2, 2, 2, 4]
    text = (tmp_path / "a.md").read_text()
    assert "MLP, tested on LeNet" in text
    assert "2 of 4" in text
    assert "part of the grid" in text


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", "its last line is cut short"),
        ("model,test_accuracy\n", "rows are missing"),
        ("model,test_accuracy\n0,\n", "a test_accuracy is nan; allowed is 0 to 100"),
        ("model,test_accuracy\n0,900\n", "a test_accuracy is 900.0; allowed is 0 to 100"),
        ("model,test_accuracy\n0,-1\n", "a test_accuracy is -1.0; allowed is 0 to 100"),
        ("model,test_accuracy\n0,inf\n", "a test_accuracy is inf; allowed is 0 to 100"),
        ("model,test_accuracy\n0,x\n", "test_accuracy 'x' is not a number"),
        ("model,test_accuracy\n1,5\n", "model 0 is missing; there is a model 1"),
        ("model,test_accuracy\n0,5\n0,6\n", "rows of model 0 are missing or there twice"),
        ("model\n0\n", "it has not one column test_accuracy"),
    ],
)
def test_damaged_evaluations_are_named(tmp_path, content, fault):
    path = evaluation(tmp_path, "MNIST/dc/ConvNet/ipc-1/seed-0", [1.0, 2.0])
    path.write_text(content)
    with pytest.raises(InputError) as raised:
        tabulation.collect([path], tmp_path)
    assert str(raised.value).startswith(f"{path}: {fault}")
    assert "\n" not in str(raised.value)


# Names as people give them, and what would make something else of them.
NAMES = ["$5", "$x^$", r"$\frac{$", "a_b__c", "100%", "R&D", "a<b>", "#1", "~^\\{}", "猫", "😀",
         "a|b", "*a*", "`a`", "[a](b)", "a\nb", "a\rb", "\x1b[31mred",
         "x" * 250, "--", '"a"', " "]  # fmt: skip


def test_names_are_text_in_tables(tmp_path):
    table = pd.DataFrame(
        {"ablation": NAMES, "dataset": "d", "ipc": "1", "method": "dc", "network": "n",
         "eval_network": "n", "protocol": "dc", "mean": 1.0, "std": 0.5, "n": 2, "n_of_grid": 2}
    )  # fmt: skip
    typesetting.write(table, outputs(tmp_path, "t", "csv", "md", "tex"), "A title.")
    back = pd.read_csv(tmp_path / "t.csv", dtype=str, keep_default_na=False)
    assert list(back["ablation"]) == NAMES
    markdown = (tmp_path / "t.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in markdown if "1.0 ± 0.5" in line]
    assert len(rows) == len(NAMES)  # a row stays a row
    assert all(len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) == 8 for row in rows)
    latex = (tmp_path / "t.tex").read_text(encoding="utf-8")
    lines = [line for line in latex.splitlines() if r"1.0 $\pm$ 0.5" in line]
    assert len(lines) == len(NAMES)
    for line in lines:
        bare = re.sub(r"\\(text[a-z]+\{\}|[&%$#_{}])", "", line).removesuffix(r" \\")
        assert bare.count("&") == 6, line
        assert not set(bare.replace(r"$\pm$", "")) & set("\\$%#_^~"), line


def test_names_are_text_in_figures(digits, tmp_path):
    """No formula is made of them, and nothing that cannot be printed reaches a file."""
    made = chosen(digits, 1).with_metadata(
        dataset="d", method="random", class_names=NAMES[: digits.num_classes]
    )
    figure = drawing.show_sets([made])
    shown = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert shown == NAMES[:10]
    drawing.write(figure, outputs(tmp_path, "f", "png", "pdf"))
    assert all(drawing.label(name).isprintable() for name in NAMES)
    assert max(len(drawing.label(name)) for name in NAMES) <= 32
    assert drawing.label("\x1b[31mred") == r"\x1b[31mred"


def test_figures_are_drawn(digits, tmp_path):
    sets = [
        chosen(digits, 3).with_metadata(dataset=f"d{i}", method="random", ipc=3) for i in range(3)
    ]
    figure = drawing.show_sets(sets)
    assert [panel.get_title() for panel in figure.axes] == [
        f"d{i}, random, 3 per class" for i in range(3)
    ]
    drawing.write(figure, outputs(tmp_path, "f", "png", "pdf"))
    assert (tmp_path / "f.pdf").read_bytes().startswith(b"%PDF")
    assert matplotlib.image.imread(tmp_path / "f.png").std() > 0.1


def test_of_many_images_a_part_is_drawn_and_the_figure_says_so(tmp_path):
    """200 classes x 50: the picture has all of them, and both take seconds."""
    labels = torch.arange(200).repeat_interleave(50)
    level = (labels / 200).view(-1, 1, 1, 1).expand(-1, 1, 32, 32).clone()
    told = {"mean": [0.0], "std": [1.0], "class_names": [f"class {c}" for c in range(200)]}
    made = SyntheticSet(level, labels, {**told, "dataset": "many", "method": "random"})
    made.save_png(tmp_path / "set.png")
    with Image.open(tmp_path / "set.png") as picture:
        assert picture.size == (50 * 33 + 1, 200 * 33 + 1)
        assert picture.getpixel((5, 150 * 33 + 9))[0] == round(150 / 200 * 255)
    figure = drawing.show_sets([made])
    (panel,) = figure.axes
    assert panel.get_xlabel() == "image (the first 25 of 50)"
    assert panel.get_ylabel() == "class (the first 25 of 200)"
    assert panel.get_title() == "many, random, 50 per class"
    (shown,) = panel.images
    assert shown.get_array().shape == (25 * 33 + 1, 25 * 33 + 1, 3)
    names = [each.get_text() for each in panel.get_yticklabels()]
    assert names == told["class_names"][:25]
    drawing.write(figure, outputs(tmp_path, "f", "png", "pdf"))


def test_curves_show_mean_and_span(tmp_path):
    rows = [
        {"dataset": "d", "ipc": ipc, "protocol": "dc", "seed": seed, "model": 0, "epoch": epoch,
         "test_accuracy": 10.0 * epoch + seed}
        for ipc in ("1", "10") for seed in (0, 4) for epoch in (1, 2)
    ]  # fmt: skip
    figure = drawing.show_curves(pd.DataFrame(rows))
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
        codebase.digest.cache_clear()
        codebase._parsed.cache_clear()
        return codebase.digest(package / "script.py", root=package)

    before = digest()
    (package / "dclib/b.py").write_text('"""Doc."""\n\n# a comment\ny   =   2\n')
    (package / "dclib/__init__.py").write_text('__version__ = "2"\n')
    (package / "dclib/unused.py").write_text("z = 4\n")
    assert digest() == before
    (package / "dclib/b.py").write_text("y = 3\n")
    changed = digest()
    assert changed != before
    function = "import dclib.a\n\n\ndef f():\n%s    return 1\n"
    (package / "script.py").write_text(function % "")
    other = digest()
    assert other not in (before, changed)
    (package / "script.py").write_text(function % '    """Doc."""\n')
    assert digest() == other


def test_code_digests_are_the_same_under_every_python(package):
    """Taken down under Python 3.11, 3.12 and 3.13: an upgrade must not make results stale."""
    (package / "script.py").write_text(
        "def f(a, *b: int, c=1.5):\n    return [x for x in b if x] or {a: f'{c!r:>4}'}\n\n\n"
        "class A(dict):\n    x: int = 3\n"
    )
    codebase.digest.cache_clear()
    codebase._parsed.cache_clear()
    assert codebase.digest(package / "script.py", root=package) == "b8181355b9f87e53"


def test_condensing_does_not_depend_on_what_it_does_not_call(monkeypatch):
    """Neither on evaluation, other methods and recipes, nor on what plans and watches it."""
    parsed = []
    real = codebase._parsed
    monkeypatch.setattr(codebase, "_parsed", lambda path: parsed.append(path) or real(path))
    script = ROOT / "workflow_scripts/condense.py"
    codebase.digest.__wrapped__(script, "dclib.methods.dc.method", "dclib.runner")
    names = {str(path.relative_to(ROOT)) for path in parsed}
    needed = ("methods/matching", "methods/dc/settings", "networks/names", "runner", "seeding")
    assert {f"dclib/{name}.py" for name in needed} <= names
    rooms = (
        "codebase",
        "applications/",
        "pipeline/",
        "training/recipes",
        "methods/dd",
        "methods/dm",
        "teachers/",
    )
    for room in rooms:
        assert not any(name.startswith(f"dclib/{room}") for name in names - PACKAGES), room


# Empty but for their docstrings.
PACKAGES = {"dclib/pipeline/__init__.py", "dclib/training/__init__.py"}


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


def test_atomic_writing_follows_no_link(tmp_path):
    """Whoever may write to a folder of results leads no writer elsewhere."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("kept")
    for name in (".a.part.txt", "a.txt"):
        (tmp_path / name).symlink_to(elsewhere)
    files.write_text(tmp_path / "a.txt", "new")
    assert elsewhere.read_text() == "kept"
    assert not (tmp_path / "a.txt").is_symlink()
    assert (tmp_path / "a.txt").read_text() == "new"


def test_accuracy_by_iteration_has_a_line_for_every_network():
    rows = pd.DataFrame(
        [
            ("MNIST", f"dc{after}", network, "1", 0, tested, "dc", model, 50.0 + model)
            for after in ("@5", "")
            for network in ("LeNet", "MLP")
            for tested in ("LeNet", "MLP")
            for model in range(2)
        ],
        columns=["dataset", "method", "network", "ipc", "seed", "eval_network", "protocol", "model",
                 "test_accuracy"],
    )  # fmt: skip
    folders = {Cell(*cell).folder for cell in rows[[*Cell._fields]].itertuples(index=False)}
    figure = drawing.show_progress(rows, {each: 5 if "@" in each else 9 for each in folders})
    (panel,) = figure.axes
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["5", "9"]
    assert sorted(text.get_text() for text in panel.get_legend().get_texts()) == [
        "dc, 1 per class, LeNet (n = 2)", "dc, 1 per class, LeNet on MLP (n = 2)",
        "dc, 1 per class, MLP (n = 2)", "dc, 1 per class, MLP on LeNet (n = 2)",
    ]  # fmt: skip


MAKE = """
import sys
from dclib import codebase, devices, methods
from dclib.data import sources
from dclib.seeding import Streams

name = sys.argv[1]
body, settings = methods.body(name), methods.face(name).settings(iterations=1)
data = sources.read({"source": "digits", "name": "digits"})
before = set(sys.modules)
made = body.create("MLP", settings, data, 1, devices.choose("cpu", 1))
made.step(made.start(Streams(0)))
known = codebase.files_of(body.__name__)
for name in sys.modules.keys() - before:
    if name.startswith("dclib.") and sys.modules[name].__file__ not in known:
        print(name)
"""


@pytest.mark.parametrize("name", [n for n in methods.names() if methods.face(n).kind == "learnt"])
def test_what_making_a_set_imports_late_is_in_the_digest_of_its_code(name):
    """An import by name is not seen in the syntax tree."""
    command = [sys.executable, "-c", MAKE, name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == ""
