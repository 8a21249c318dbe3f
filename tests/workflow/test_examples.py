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
    "evaluation": {"models": 1, "epochs": 1, "curve_points": 1},
}


def table(project):
    project.snakemake("--cores", "2", "table1")
    assert project.planned("table1") == set()
    return pd.read_csv(project.root / "results/tables/table1.csv")


def test_a_method_is_one_folder_and_its_block_in_the_config(tmp_path):
    project = clone(tmp_path)
    shutil.copytree(EXAMPLES / "method", tmp_path / "dclib/methods/drift")
    change = {**CONFIG, "methods": ["random", "drift", "drift-far"]}
    blocks = {"drift": {"iterations": 2}, "drift-far": {"iterations": 3}}
    project.configure(**change, condensation=blocks)
    assert list(table(project)["method"]) == ["random", "drift", "drift-far"]
    trace = tmp_path / "results/digits/drift-far/ConvNet-width4/ipc-1/seed-0/trace.csv"
    assert len(pd.read_csv(trace)) == 3
    project.configure(**change, condensation={**blocks, "drift": {"iteration": 1}})
    done = project.snakemake("--cores", "1", "-n", check=False)
    assert "'condensation.drift.iteration' is unknown (did you mean 'iterations'?)" in done.stderr
    project.configure(**{**change, "methods": ["drifd"]})
    done = project.snakemake("--cores", "1", "-n", check=False)
    assert "did you mean 'drift'?" in done.stderr


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
