"""CONTRIBUTING's examples, put where a reader is told to put them, run from a config to a table."""

import shutil

import pandas as pd
from conftest import ROOT
from examples.insertion import with_network
from pipeline import clone

EXAMPLES = ROOT / "tests/examples"
# What is there before: nothing else may have to be touched.
CONFIG = {
    "datasets": ["digits"],
    "methods": ["random", "dc"],
    "overrides": {},
    "evaluation": {"models": 1, "epochs": 1, "curve_points": 1, "protocols": ["dc"]},
}


def table(project):
    project.snakemake("--cores", "2", "table1")
    assert project.planned("table1") == set()
    return pd.read_csv(project.root / "results/tables/table1.csv")


def test_a_method_is_one_folder_and_its_block_in_the_config(tmp_path):
    project = clone(tmp_path)
    # That of `dm`, under another name.
    place = tmp_path / "dclib/methods/means"
    shutil.copytree(tmp_path / "dclib/methods/dm", place)
    for path in place.glob("*.py"):
        path.write_text(path.read_text().replace("dclib.methods.dm.", "dclib.methods.means."))
    change = {**CONFIG, "methods": ["random", "means", "means-far"]}
    blocks = {"means": {"iterations": 2, "real_batch": 8}, "means-far": {"iterations": 3}}
    project.configure(**change, condensation=blocks)
    assert list(table(project)["method"]) == ["random", "means", "means-far"]
    trace = tmp_path / "results/digits/means-far/ConvNet-width4/ipc-1/seed-0/trace.csv"
    assert len(pd.read_csv(trace)) == 3
    project.configure(**change, condensation={**blocks, "means": {"iteration": 1}})
    done = project.snakemake("--cores", "1", "-n", check=False)
    assert "'condensation.means.iteration' is unknown (did you mean 'iterations'?)" in done.stderr
    project.configure(**{**change, "methods": ["meanz"]})
    done = project.snakemake("--cores", "1", "-n", check=False)
    assert "did you mean 'means'?" in done.stderr


def test_a_data_source_is_one_module(tmp_path):
    project = clone(tmp_path)
    shutil.copyfile(EXAMPLES / "source.py", tmp_path / "dclib/data/sources/shapes.py")
    project.configure(**{**CONFIG, "datasets": ["shapes"]})
    assert set(table(project)["dataset"]) == {"shapes"}


def test_a_network_is_one_entry(tmp_path):
    project = clone(tmp_path)
    names = tmp_path / "dclib/networks/names.py"
    names.write_text(with_network(names.read_text()))
    project.configure(**CONFIG, networks=["TinyNet"])
    assert set(table(project)["network"]) == {"TinyNet"}
