"""What is published of a grid's files, and put back; tests/workflow has a grid that is computed."""

import importlib.util

import pytest
from conftest import ROOT

from dclib import files
from dclib.errors import InputError
from dclib.tensors import write_sealed

spec = importlib.util.spec_from_file_location("record", ROOT / "benchmarks/record.py")
record = importlib.util.module_from_spec(spec)
spec.loader.exec_module(record)

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
