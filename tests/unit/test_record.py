"""What is published of a grid's files, and put back; tests/workflow has a grid that is computed."""

import importlib.util
import shutil
import subprocess
from hashlib import sha256

import numpy as np
import pytest
import torch
from conftest import ROOT

from dclib import files
from dclib.data.synthetic import SyntheticSet
from dclib.errors import InputError
from dclib.pipeline import settings
from dclib.pipeline.grid import Grid
from dclib.pipeline.paths import Cell
from dclib.provenance import digest
from dclib.tensors import write_sealed


def script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / f"benchmarks/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


record, pictures = script("record"), script("pictures")

BASE = settings.load([ROOT / "config.yaml"])
CELL = "digits/dc/ConvNet/ipc-1/seed-0"
NO_TABLES = "table2: null\ncross_architecture: null\nablations: null\n"
MADE = {"commit": "c", "device": "cpu", "seconds": 1, "versions": dict.fromkeys(
    ("dclib", "python", "torch"), "1")}  # fmt: skip


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("datasets: [digits]\n")
    return path


def finish(results, cell=CELL):
    files.write_json(results / cell / "run.json", MADE)
    (results / cell / "set.safetensors").write_bytes(b"a set")


def train(results, accuracy, stem="ConvNet", cell=CELL):
    files.write_text(results / cell / f"eval/{stem}.csv", f"model,test_accuracy\n0,{accuracy}\n")
    files.write_json(results / cell / f"eval/{stem}.json", MADE)


def asked(place):
    """What a record's evaluate.yaml asks for, as the pipeline does."""
    config = settings.load([ROOT / "config.yaml", place / "evaluate.yaml"])
    made = Grid(config, None, BASE)
    return made, [(cell.folder, how.stem) for cell, how in made.all_evaluations()]


def begin(results, iteration, code="x"):
    (results / CELL).mkdir(parents=True, exist_ok=True)
    told = {"progress": {"iteration": iteration}, "digest": code}
    write_sealed(results / CELL / record.UNFINISHED, {}, told)


def test_what_was_begun_and_is_finished_is_no_more_begun(tmp_path, config):
    place, elsewhere, here = tmp_path / "record", tmp_path / "elsewhere", tmp_path / "here"
    begin(here, 3)
    record.publish(here, config, place)
    (told,) = files.read_json(place / "record.json")["unfinished"]
    assert told["iteration"] == 3
    finish(elsewhere)
    record.publish(elsewhere, config, place)
    record.publish(here, config, place)  # from where it is not known that it is finished
    assert files.read_json(place / "record.json")["unfinished"] == []
    assert sorted(path.name for path in (place / CELL).iterdir()) == ["run.json", "set.safetensors"]


def test_what_is_unfinished_goes_on_with_the_code_around_it(tmp_path, config):
    place, there = tmp_path / "record", tmp_path / "checkout"
    begin(there / "results", 3)
    for command in ("init -q", "-c user.name=a -c user.email=a@b commit -q --allow-empty -m a"):
        subprocess.run(["git", *command.split()], cwd=there, check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=there, capture_output=True, text=True)
    record.publish(there / "results", config, place)
    (told,) = files.read_json(place / "record.json")["unfinished"]
    assert told["commit"] == head.stdout.strip()
    assert record.commits(place) == [told["commit"]]


def test_networks_that_were_trained_on_another_set_are_left_out(tmp_path, config, capsys):
    place, results = tmp_path / "record", tmp_path / "results"
    finish(results)
    train(results, 50)
    train(results, 60, "MLP")
    for stem, content in (("ConvNet", b"a set"), ("MLP", b"another set")):
        told = {**MADE, "made_from": {"inputs": {"set": digest([sha256(content).hexdigest()])}}}
        files.write_json(results / CELL / f"eval/{stem}.json", told)
    record.publish(results, config, place)
    assert [path.name for path in (place / CELL / "eval").glob("*.csv")] == ["ConvNet.csv"]
    assert "eval/MLP.json: left out, it is of another set than is there" in capsys.readouterr().err


def test_sets_of_other_settings_are_not_pooled(tmp_path, config, capsys):
    """Those of a grid as it was before a change, of which one seed is made anew."""
    place, results = tmp_path / "record", tmp_path / "results"
    other = CELL.replace("seed-0", "seed-1")
    for cell, iterations, epochs, accuracy in ((CELL, 1000, 300, 90), (other, 10, 300, 50)):
        finish(results, cell)
        train(results, accuracy, cell=cell)
        for name, told in (
            ("run", {"iterations": iterations}),
            ("eval/ConvNet", {"epochs": epochs}),
        ):
            made = {**MADE, "made_from": {"settings": told, "inputs": {}}}
            files.write_json(results / cell / f"{name}.json", made)
    record.publish(results, config, place)
    assert record.cells(place, "*") == [Cell("digits", "dc", "ConvNet", "1", 0)]
    assert "| 90.0 | 1 |" in (place / "README.md").read_text()
    assert (
        f"{other}/run.json: left out, it is not of this config: settings: iterations 10 -> 1000"
        in capsys.readouterr().err
    )
    more = "datasets: [digits]\nevaluation: {epochs: 5, models: 3}\n"
    config.write_text(more)
    with pytest.raises(InputError, match=r"is there already, and is not of .*epochs 300 -> 5"):
        record.publish(results, config, place)
    assert (place / "config.yaml").read_text() != more
    config.write_text("datasets: [digits]\nevaluation: {models: 3, curve_points: 1}\n")
    record.publish(results, config, place)  # more networks, and more often tested, are the same
    files.write_json(results / CELL / "eval/MLP.json", made)  # which the config does not name
    files.write_text(results / CELL / "eval/MLP.csv", "model,test_accuracy\n0,90\n")
    shutil.copytree(results / CELL, results / CELL.replace("seed-0", "seed-2"))
    told = {"settings": {"epochs": 3}, "inputs": {}}
    files.write_json(results / CELL / "eval/MLP.json", {**MADE, "made_from": told})
    with pytest.raises(InputError, match=r"seed-2/eval/MLP.json: differs from .*epochs 3 -> 300"):
        record.publish(results, config, place)


def test_what_made_a_set_that_is_too_large_is_published(tmp_path, config, monkeypatch):
    """And rows of it are gone with it, as of others."""
    place, results = tmp_path / "record", tmp_path / "results"
    monkeypatch.setattr(record, "LARGEST", 4)
    for iterations, accuracy in ((1000, 90), (10, 50)):
        finish(results)
        told = {"settings": {"lr_img": iterations}, "inputs": {}}
        files.write_json(
            results / CELL / "run.json",
            {**MADE, "made_from": told, "files": {"set": str(accuracy)}},
        )
        monkeypatch.setattr(record, "_whole", lambda *paths: True)
        train(results, accuracy)
        config.write_text(f"datasets: [digits]\ncondensation: {{dc: {{lr_img: {iterations}}}}}\n")
        record.publish(results, config, place)
        assert [path.name for path in (place / CELL).glob("*.*")] == ["run.json"]
        assert not (place / "evaluate.yaml").exists()
        assert f"| {accuracy}.0 | 1 |" in (place / "README.md").read_text()
        (results / CELL / "eval/ConvNet.csv").unlink()
    record.publish(results, config, place)
    assert record.restore(place, tmp_path / "again") == 1
    assert not (tmp_path / "again" / CELL / "run.json").exists()


def test_nothing_is_published_of_a_part_of_a_data_set(tmp_path, config):
    cell = CELL.replace("digits", "MNIST")
    finish(tmp_path / "results", cell)
    train(tmp_path / "results", 99, cell=cell)
    for entry, beside in (("MNIST", True), ("{name: MNIST, classes: [0, 1]}", False)):
        config.write_text(f"datasets: [{entry}]\n{NO_TABLES}")
        record.publish(tmp_path / "results", config, tmp_path / "record")
        assert ("91.7 ± 0.5" in (tmp_path / "record/README.md").read_text()) == beside


def test_networks_of_a_protocol_that_the_config_has_no_more(tmp_path, config):
    place, results = tmp_path / "record", tmp_path / "results"
    finish(results)
    train(results, 50, "ConvNet.mine")
    with pytest.raises(InputError, match="trained under protocol 'mine', which"):
        record.publish(results, config, place)
    assert not place.exists()
    config.write_text("datasets: [digits]\nprotocols: {mine: {epochs: 3}}\n")
    record.publish(results, config, place)
    assert "| mine | 50.0 | 1 |" in (place / "README.md").read_text()


def test_an_unfinished_set_goes_on_from_where_it_is_furthest(tmp_path, config, capsys):
    place, here, far = tmp_path / "record", tmp_path / "here", tmp_path / "far"
    begin(here, 77)
    begin(far, 500)
    record.publish(far, config, place)
    record.publish(here, config, place)
    record.restore(place, here)
    assert record._iteration(here, Cell("digits", "dc", "ConvNet", "1", 0)) == 500
    for iteration, code in ((600, "x"), (12, "y")):  # further, or of another computation
        begin(here, iteration, code)
        assert record.restore(place, here) == 0
        assert record._iteration(here, Cell("digits", "dc", "ConvNet", "1", 0)) == iteration
    assert "checkpoint.safetensors: stays, it is of other settings" in capsys.readouterr().err
    (here / CELL / record.UNFINISHED).write_bytes(b"cut short")
    assert record.restore(place, here) == 1
    assert record._iteration(here, Cell("digits", "dc", "ConvNet", "1", 0)) == 500


@pytest.mark.parametrize("shape", [(16, 32), (32, 16), (16, 24), (8, 8)])
def test_every_class_is_a_tile_of_the_picture(tmp_path, shape):
    colours = torch.arange(18).view(6, 3) / 18
    images = colours[:, :, None, None].expand(6, 3, *shape)
    told = {"mean": [0.0] * 3, "std": [1.0] * 3, "class_names": ["a", "b"]}
    made = SyntheticSet(images, torch.tensor([0, 0, 0, 1, 1, 1]), told)
    made.save(tmp_path / "set.safetensors")
    tiles = pictures.tiles(tmp_path / "set.safetensors")
    assert len(tiles) == 2
    for tile, colour in zip(tiles, colours[::3], strict=True):
        assert tile.size == (pictures.SIDE, pictures.SIDE)
        pixels = torch.tensor(np.array(tile)) / 255
        around = torch.tensor(pictures.AROUND) / 255
        of_it = (pixels - colour).abs().amax(2) < 0.01
        beside = (pixels - around).abs().amax(2) < 0.01
        assert (of_it | beside).all()
        height, width = (side * pictures.SIDE // max(shape) for side in shape)
        assert abs(int(of_it.sum()) - height * width) <= pictures.SIDE


def test_a_record_takes_its_own_config(tmp_path, config):
    place, results = tmp_path / "record", tmp_path / "results"
    finish(results)
    record.publish(results, config, place)
    record.publish(results, place / "config.yaml", place)
    assert (place / "config.yaml").read_text() == config.read_text()


def test_without_its_config_nothing_is_written(tmp_path):
    finish(tmp_path / "results")
    with pytest.raises(InputError, match=r"none\.yaml"):
        record.publish(tmp_path / "results", tmp_path / "none.yaml", tmp_path / "record")
    assert not (tmp_path / "record").exists()


def test_what_is_no_record_is_not_put_back(tmp_path, config):
    with pytest.raises(InputError, match="is no record"):
        record.restore(tmp_path / "record", tmp_path / "again")
    finish(tmp_path / "results")
    record.publish(tmp_path / "results", config, tmp_path / "record")
    assert record.restore(tmp_path / "record", tmp_path / "again") == 1
    assert (tmp_path / "again" / CELL / "set.safetensors").read_bytes() == b"a set"


def test_sets_that_fill_no_grid_are_several():
    def cell(*, dataset="digits", method="dc", ipc="1", seed=0):
        return Cell(dataset, method, "ConvNet", ipc, seed)

    found = [
        *(cell(method=method, seed=seed) for method in ("random", "dc") for seed in range(3)),
        cell(method="herding"), cell(method="dm-x"), cell(method="dm-x", ipc="10", seed=1),
        cell(method="dm-x", dataset="MNIST", ipc="10", seed=1),
    ]  # fmt: skip
    config = {"datasets": [{"name": "digits", "source": "digits"}, "MNIST"]}
    made = record.overlay(ROOT / "benchmarks/records/x", found, config, ["dsa"])
    assert made["evaluation"]["protocols"] == ["dsa"]
    grids = [made, *filter(None, made["ablations"].values())]
    assert not any(made["ablations"].get(name) for name in BASE["ablations"])
    assert (grids[0]["methods"], grids[0]["seeds"]) == (
        ["random_recorded", "dc_recorded"],
        [0, 1, 2],
    )
    cells = [
        (entry if isinstance(entry, str) else entry["name"], method, network, str(ipc), seed)
        for grid in grids
        for entry in grid["datasets"]
        for method in grid["methods"]
        for network in grid["networks"]
        for ipc in grid["images_per_class"]
        for seed in grid["seeds"]
    ]
    wanted = [(one.dataset, one.method.replace("-", "_") + "_recorded", *one[2:]) for one in found]
    assert sorted(cells) == sorted(wanted)
    assert made["imported"]["dm_x_recorded"]["file"].startswith(
        "benchmarks/records/x/{dataset}/dm-x/"
    )


def test_the_furthest_state_and_what_was_trained_on_this_set_alone(tmp_path, config):
    place, far, near = (tmp_path / name for name in ("record", "far", "near"))
    begin(far, 9)
    begin(near, 3)
    for results in (near, far, near):
        record.publish(results, config, place)
    assert record._iteration(place, record.cells(place, record.UNFINISHED)[0]) == 9
    finish(far)
    old = place / CELL / "eval/ConvNet.txt"
    record.publish(far, config, place)
    old.parent.mkdir()
    old.write_text("of the set")
    record.publish(far, config, place)
    assert old.exists()
    (far / CELL / "set.safetensors").write_bytes(b"another set")
    record.publish(far, config, place)
    assert not old.exists()


def test_what_is_missing_is_put_back_and_no_more(tmp_path, config):
    place, results = tmp_path / "record", tmp_path / "results"
    finish(results)
    record.publish(results, config, place)
    (results / CELL / "set.safetensors").write_bytes(b"my own")
    (results / CELL / "run.json").unlink()
    assert record.restore(place, results) == 1
    assert files.read_json(results / CELL / "run.json") == MADE
    assert (results / CELL / "set.safetensors").read_bytes() == b"my own"
    assert record.restore(place, results) == 0


@pytest.mark.parametrize(
    ("cells", "stems", "overlay", "expected"),
    [
        # Overrides: those of what is recorded, and of the evaluation alone.
        ([CELL], ["ConvNet"], "datasets: [digits, MNIST]\noverrides:\n  dataset=MNIST: "
         "{evaluation: {epochs: 5}}\n  method=dc: {dc: {lr_img: 1}, evaluation: {epochs: 7}}",
         {("dc_recorded", "ConvNet"): 7}),
        ([CELL.replace("dc", "dc-x"), CELL.replace("dc", "dc@9")], ["ConvNet", "ConvNet.idc"],
         "condensation: {dc-x: {lr_img: 1}}\noverrides: {method=dc-x: {evaluation: {epochs: 7}}}",
         {("dc_x_recorded", "ConvNet"): 7, ("dc_after_9_recorded", "ConvNet"): 300,
          ("dc_x_recorded", "ConvNet.idc"): 7, ("dc_after_9_recorded", "ConvNet.idc"): 1000}),
        # What a set was learnt for is not told by an imported one.
        ([CELL.replace("dc", "dd")], ["ConvNet.dd"], "evaluation: {epochs: 7}",
         {("dd_recorded", "ConvNet"): 7}),
        # Names that would be the same.
        ([CELL.replace("dc", "dc-x"), CELL.replace("dc", "dc_x")], ["ConvNet"],
         "evaluation: {epochs: 7}",
         {("dc_x_recorded", "ConvNet"): 7, ("dc_x_recorded_", "ConvNet"): 7}),
        # Other networks, also where the sets fill no grid.
        ([CELL, CELL.replace("dc", "dm").replace("d-0", "d-1")], ["ConvNet"],
         "evaluation: {networks: [same, MLP], epochs: 7}",
         {(method, tested): 7 for method in ("dc_recorded", "dm_recorded")
          for tested in ("ConvNet", "MLP")}),
    ],
)  # fmt: skip
def test_what_is_recorded_is_trained_on_as_it_was(tmp_path, cells, stems, overlay, expected):
    config, place, results = (tmp_path / name for name in ("mine.yaml", "record", "results"))
    config.write_text(overlay if "datasets" in overlay else f"datasets: [digits]\n{overlay}")
    for cell in cells:
        finish(results, cell)
        for stem in stems:
            train(results, 50, stem, cell)
    record.publish(results, config, place)
    made, _ = asked(place)
    epochs = {
        (cell.method, how.stem): made.evaluation(cell, how)["epochs"]
        for cell, how in made.all_evaluations()
    }
    assert epochs == expected


def test_a_config_that_is_not_the_grids(tmp_path, config):
    """One line before anything is written; data sets of the other tables are the grid's too."""
    place, results, other = tmp_path / "record", tmp_path / "results", CELL.replace("digits", "own")
    finish(results, other)
    with pytest.raises(InputError, match=r"has sets of 'own', which .*mine\.yaml does not name"):
        record.publish(results, config, place)
    config.write_text("evaluation:\n")
    with pytest.raises(InputError, match="config key 'evaluation'"):
        record.publish(results, config, place)
    assert not place.exists()
    section = "{datasets: [digits], methods: [dc], networks: [ConvNet], images_per_class: [1]}"
    config.write_text(f"datasets: [MNIST]\ncross_architecture: {section}\n")
    finish(tmp_path / "here")
    record.publish(tmp_path / "here", config, place)
    assert asked(place)[1] == [(CELL.replace("dc", "dc_recorded"), "ConvNet")]


def test_two_configs_in_one_record(tmp_path, config):
    place, other = tmp_path / "record", CELL.replace("digits", "own")
    config.write_text("datasets: [{name: own, source: digits}]\nprotocols: {mine: {epochs: 7}}\n")
    finish(tmp_path / "first", other)
    train(tmp_path / "first", 50, "ConvNet.mine", other)
    record.publish(tmp_path / "first", config, place)
    config.write_text("datasets: [digits]\n")
    finish(tmp_path / "second")
    for _ in range(2):
        record.publish(tmp_path / "second", config, place)
        assert sorted(asked(place)[1]) == [
            (f"{data}/dc_recorded/ConvNet/ipc-1/seed-0", "ConvNet.mine")
            for data in ("digits", "own")
        ]
    with pytest.raises(InputError, match="no set is begun"):
        record.publish(tmp_path / "secnod", config, place)


def test_what_is_damaged_or_half_written_is_left_out(tmp_path, config, capsys):
    place, results = tmp_path / "record", tmp_path / "results"
    finish(results)
    train(results, 50)
    made, rows = results / CELL / "set.safetensors", results / CELL / "eval/ConvNet.csv"
    for path, of in ((results / CELL / "run.json", made), (rows.with_suffix(".json"), rows)):
        files.write_json(path, {**MADE, "files": {"x": files.sha256(of)}})
    record.publish(results, config, place)
    for path in (made, rows):
        path.write_bytes(path.read_bytes().replace(b"a", b"e"))
    for end in ("csv", "json"):  # the writer was killed
        (results / CELL / f"eval/.MLP.part.{end}").write_text("{")
    for method in ("dm", "random"):
        finish(results, CELL.replace("dc", method))
    (results / CELL.replace("dc", "dm") / "set.safetensors").unlink()
    record.publish(results, config, place)
    assert capsys.readouterr().err.count("is missing or damaged") == 3
    assert (place / CELL / "set.safetensors").read_bytes() == b"a set"
    assert "test_accuracy" in (place / CELL / "eval/ConvNet.csv").read_text()
    assert {path.parts[-4] for path in place.glob("digits/*/*/*/*")} == {"dc", "random"}
    assert not [*place.rglob(".*")]


def test_copying_that_breaks_off_leaves_nothing_half(tmp_path, config, monkeypatch):
    place, results = tmp_path / "record", tmp_path / "results"
    finish(results)
    record.publish(results, config, place)

    def break_off(source, target):
        target.write_bytes(b"a s")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(record.shutil, "copyfile", break_off)
        with pytest.raises(KeyboardInterrupt):
            record.restore(place, tmp_path / "again")
    assert record.restore(place, tmp_path / "again") == 1
    assert (tmp_path / "again" / CELL / "set.safetensors").read_bytes() == b"a set"


def test_rows_of_a_set_that_is_replaced_are_gone(tmp_path, config):
    place, results = tmp_path / "record", tmp_path / "results"
    finish(results)
    train(results, 50)
    record.publish(results, config, place)
    assert "50" in (place / "evaluations.csv").read_text()
    finish(tmp_path / "other")
    (tmp_path / "other" / CELL / "set.safetensors").write_bytes(b"another")
    record.publish(tmp_path / "other", config, place)
    assert not (place / "evaluations.csv").exists()


def test_beside_a_set_stands_what_was_published_of_such(tmp_path, config):
    """Of the network that it was condensed with, tested on the same."""
    config.write_text("datasets: [MNIST]\n")
    place, results = tmp_path / "record", tmp_path / "results"
    for network in ("ConvNet", "MLP"):
        cell = f"MNIST/dc/{network}/ipc-1/seed-0"
        finish(results, cell)
        train(results, 90, "ConvNet", cell)
    record.publish(results, config, place)
    lines = (place / "README.md").read_text().splitlines()
    (own,) = (line for line in lines if line.startswith("| MNIST | dc | 1 | ConvNet | ConvNet |"))
    (other,) = (line for line in lines if line.startswith("| MNIST | dc | 1 | MLP | ConvNet |"))
    assert "91.7 ± 0.5 (paper, -1.7)" in own
    assert other.endswith("| 1 |  |")


@pytest.mark.parametrize("words", [["results"], ["--restore", "a", "b", "c"], ["--restore", "a"]])
def test_what_is_to_be_said_is_told(monkeypatch, capsys, words):
    monkeypatch.setattr("sys.argv", ["record.py", *words])
    with pytest.raises(SystemExit):
        record.main()
    assert "RESULTS CONFIG NAME, or --restore RECORD RESULTS" in capsys.readouterr().err
