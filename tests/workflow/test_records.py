"""What a grid has computed, published, trained on again, and put back."""

import shutil
import subprocess
import sys

import pandas as pd
import pytest
from conftest import ROOT, need_real
from pipeline import folder, iteration

import dclib
from dclib.data.synthetic import SyntheticSet

EVERY = ("random", "dc")


def record(project, *arguments, check=True):
    return subprocess.run(
        [sys.executable, "benchmarks/record.py", *arguments],
        cwd=project.root, env={"PYTHONPATH": ".", "PATH": "/usr/bin:/bin"}, check=check,
        text=True, capture_output=True,
    )  # fmt: skip


def test_a_record_is_published_trained_on_and_put_back(project):
    results = project.root / "results"
    begun = results / folder("digits", "dc", seed=1)
    begun.mkdir()
    state = results / folder("digits", "dc") / "state.safetensors"
    shutil.copyfile(state, begun / "checkpoint.safetensors")
    record(project, "results", "small.yaml", "small")
    (place,) = (project.root / "benchmarks/records").glob("*-small")
    names = {str(path.relative_to(place)) for path in place.rglob("*.safetensors")}
    file, unfinished = "set.safetensors", folder("digits", "dc", seed=1)
    assert names == {f"{unfinished}/checkpoint.safetensors"} | {
        f"{folder(data, how)}/{file}" for how in EVERY for data in ("digits", "again")
    }
    images, labels = dclib.load(place / folder("digits", "dc") / file).tensors
    assert (images.shape, labels.tolist()) == ((10, 1, 8, 8), list(range(10)))
    rows = pd.read_csv(place / "evaluations.csv")
    dc = rows[(rows["method"] == "dc") & (rows["dataset"] == "digits")]["test_accuracy"]
    line = f"| digits | dc | 1 | ConvNet-width4 | ConvNet-width4 | dc | {dc.mean():.1f} ± "
    page = (place / "README.md").read_text()
    assert line in page
    assert f"| {unfinished} | {iteration(state)} | " in page

    # Its sets, trained on as the grid did, are the grid's.
    overlay = str(place.relative_to(project.root) / "evaluate.yaml")
    shutil.move(project.root / overlay, project.root / "small.yaml")
    project.snakemake("--cores", "2", "table1")
    table = pd.read_csv(results / "tables/table1.csv")
    assert set(table["method"]) == {"random_recorded", "dc_recorded"}
    assert table["n"].tolist() == [2, 2, 2, 2]
    for method in EVERY:
        made, again = (
            SyntheticSet.load(results / folder("digits", name) / "set.safetensors")
            for name in (method, f"{method}_recorded")
        )
        assert made.fingerprint == again.fingerprint

    # A grid goes on from them.
    kept_state = state.read_bytes()
    shutil.rmtree(results)
    assert "7 cells are there again" in record(project, "--restore", str(place), "results").stdout
    project.configure(methods=["random", "dc"])
    assert {rule for rule, _ in project.planned("table1")} == {"prepare", "table1"}
    assert (results / unfinished / "checkpoint.safetensors").read_bytes() == kept_state
    kept = (results / folder("digits", "dc") / "set.safetensors").read_bytes()
    assert "0 cells are there again" in record(project, "--restore", str(place), "results").stdout
    assert (results / folder("digits", "dc") / "set.safetensors").read_bytes() == kept


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no clone of git")
def test_the_commit_is_told():
    from dclib import provenance

    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, text=True, capture_output=True)
    assert provenance.commit().removesuffix("-dirty") == done.stdout.strip()
    assert provenance.commit(ROOT / "dclib") == ""


@pytest.mark.parametrize(
    ("kept", "dataset", "method", "network", "models", "n"),
    [
        ("digits", "digits", "dc", "ConvNet-width32", 2, 5),
        ("digits", "digits", "dm", "ConvNet-width32", 2, 5),
        ("ipc1", "CIFAR10", "dc", "ConvNet", 1, 20),
    ],
)
def test_a_released_set_has_the_recorded_accuracy(kept, dataset, method, network, models, n):
    if dataset == "CIFAR10":
        need_real(dataset, "cifar-10-batches-py")
    (place,) = (ROOT / "benchmarks/records").glob(f"*-{kept}")
    rows = pd.read_csv(place / "evaluations.csv")
    rows = rows[(rows["dataset"] == dataset) & (rows["protocol"] == "dc") & (rows["seed"] == 0)]
    recorded = rows[rows["method"] == method]["test_accuracy"]
    data = dclib.read(dataset)
    made = dclib.load_set(
        place / f"{dataset}/{method}/{network}/ipc-1/seed-0/set.safetensors", data
    )
    found = dclib.evaluate(made, data, network, models=models, curve_points=1).rows
    assert len(recorded) == n
    assert 3 * recorded.std() < 5  # points, so that the next line says something
    assert abs(found["test_accuracy"].mean() - recorded.mean()) < 3 * recorded.std()
    assert recorded.mean() > 10 + rows[rows["method"] == "random"]["test_accuracy"].mean()
