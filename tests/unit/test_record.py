"""What is published of a grid's files, and put back; tests/workflow has a grid that is computed."""

import importlib.util

import pytest
from conftest import ROOT

from dclib import files
from dclib.errors import InputError
from dclib.pipeline import settings
from dclib.pipeline.paths import Cell
from dclib.tensors import write_sealed

spec = importlib.util.spec_from_file_location("record", ROOT / "benchmarks/record.py")
record = importlib.util.module_from_spec(spec)
spec.loader.exec_module(record)

BASE = settings.load([ROOT / "config.yaml"])
CELL = "digits/dc/ConvNet/ipc-1/seed-0"
MADE = {"commit": "c", "device": "cpu", "seconds": 1, "versions": dict.fromkeys(
    ("dclib", "python", "torch"), "1")}  # fmt: skip


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("datasets: [digits]\n")
    return path


def finish(results):
    files.write_json(results / CELL / "run.json", MADE)
    (results / CELL / "set.safetensors").write_bytes(b"a set")


def begin(results, iteration):
    (results / CELL).mkdir(parents=True)
    write_sealed(results / CELL / record.UNFINISHED, {}, {"progress": {"iteration": iteration}})


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
