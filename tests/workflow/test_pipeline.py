"""The real Snakemake on a small grid: what it makes, and what it makes again after a change."""

import json
import re
import subprocess
import sys
import time

import pandas as pd
import pytest
from pipeline import CONFIG, clone, folder

from dclib.data.synthetic import SyntheticSet

# Tests of the finished grid run in one process; the others run anywhere.

AGGREGATES = {
    "evaluations", "table1", "scores", "figure1_condensed_sets", "figure2_accuracy", "page",
}  # fmt: skip


def test_everything_of_the_contract_is_made(finished):
    results = finished.root / "results"
    for dataset in ("digits", "again"):
        for method in ("random", "dc"):
            place = results / folder(dataset, method)
            names = {path.name for path in place.iterdir()}
            expected = {"set.safetensors", "set.png", "run.json", "set.log", "set.benchmark.tsv"}
            of_dc = {"trace.csv", "state.safetensors"}
            assert names == expected | {"eval"} | (of_dc if method == "dc" else set())
            assert (place / "eval/ConvNet-width4.json").exists()
            made = SyntheticSet.load(place / "set.safetensors")
            assert made.images.shape == (10, 1, 8, 8)
            described = made.metadata
            assert (described["dataset"], described["method"]) == (dataset, method)
            assert (described["network"], described["ipc"], described["seed"]) == (
                "ConvNet-width4",
                1,
                0,
            )
            rows = pd.read_csv(place / "eval/ConvNet-width4.csv")
            assert list(rows) == [
                "model", "seed", "test_accuracy", "train_accuracy", "train_loss", "epochs",
                "seconds",
            ]  # fmt: skip
            assert len(rows) == 2
            curve = pd.read_csv(place / "eval/ConvNet-width4.curve.csv")
            assert curve["epoch"].tolist() == [1, 2, 1, 2]
            assert (place / "eval/ConvNet-width4.log").exists()
            assert (place / "eval/ConvNet-width4.benchmark.tsv").exists()
        record = json.loads((results / folder(dataset, "dc") / "run.json").read_text())
        assert record["settings"]["iterations"] == 3
        record_of_choice = json.loads(
            (results / folder(dataset, "random") / "run.json").read_text()
        )
        assert record_of_choice["reference_test_accuracy"] is None
        assert record["resumed_from"] == []
    table = pd.read_csv(results / "tables/table1.csv")
    assert len(table) == 6
    assert set(table["n"]) == {1, 2}
    assert (table["n"] == table["n_of_grid"]).all()
    for name in ("table1.md", "table1.tex", "evaluations.csv"):
        assert (results / "tables" / name).stat().st_size > 100
    for name in ("figure1_condensed_sets", "figure2_accuracy"):
        assert (results / f"figures/{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (results / f"figures/{name}.pdf").read_bytes().startswith(b"%PDF")
    # Two names of one data set are two cells: what is drawn depends on the name.
    one, two = (
        SyntheticSet.load(results / folder(name, "dc") / "set.safetensors").images
        for name in ("digits", "again")
    )
    assert not one.equal(two)


def test_a_finished_grid_has_nothing_to_do(finished):
    assert finished.planned() == set()


def test_one_data_sets_learning_rate(project):
    digits = {"dataset=digits": {"dc": {"lr_img": 0.5}}}
    project.configure(overrides={**CONFIG["overrides"], **digits})
    planned = project.planned()
    place = folder("digits", "dc")
    cells = {(rule, output) for rule, output in planned if rule not in AGGREGATES}
    assert cells == {
        ("condense", f"{place}/set.safetensors"),
        ("evaluate", f"{place}/eval/ConvNet-width4.csv"),
    }
    assert {rule for rule, _ in planned} - {"condense", "evaluate"} == AGGREGATES


def test_a_new_seed(project):
    project.configure(seeds=[0, 7])
    cells = {output for rule, output in project.planned() if rule not in AGGREGATES}
    assert cells == {
        f"{folder(dataset, method, seed=7)}/{file}"
        for dataset in ("digits", "again")
        for method in ("random", "dc")
        for file in ("set.safetensors", "eval/ConvNet-width4.csv")
    }


def test_a_comment_in_the_code(project):
    project.edit("dclib/methods/matching.py", "def match(", "# A comment.\n\n\ndef match(")
    project.edit(
        "dclib/methods/matching.py", '"""Return the matching loss', '"""Give the matching loss'
    )
    assert project.planned() == set()


def test_the_matching_itself(project):
    project.edit("dclib/methods/matching.py", "+ 1e-6)", "+ 1e-5)")
    cells = {(rule, output) for rule, output in project.planned() if rule not in AGGREGATES}
    assert cells == {
        pair
        for name in ("digits", "again")
        for pair in (
            ("condense", f"{folder(name, 'dc')}/set.safetensors"),
            ("evaluate", f"{folder(name, 'dc')}/eval/ConvNet-width4.csv"),
        )
    }


def test_the_coresets_do_not_touch_the_condensed(project):
    project.edit("dclib/methods/random/method.py", '"selection"', '"choice"')
    planned = project.planned()
    assert {output for rule, output in planned if rule == "select"} == {
        f"{folder(name, 'random')}/set.safetensors" for name in ("digits", "again")
    }
    assert not any(rule == "condense" for rule, _ in planned)


def test_what_never_changes_a_result(project):
    project.configure(
        execution={"checkpoint_seconds": 9, "threads": 2, "device": "cpu"},
        resources={"condense": {"mem_mb": 100, "runtime": 1}},
        data_dir="/nowhere",
    )
    assert project.planned() == set()


def test_a_deleted_evaluation(project):
    place = folder("digits", "random")
    (project.root / "results" / place / "eval/ConvNet-width4.csv").unlink()
    planned = project.planned()
    assert {pair for pair in planned if pair[0] == "evaluate"} == {
        ("evaluate", f"{place}/eval/ConvNet-width4.csv")
    }
    assert {rule for rule, _ in planned} == {"evaluate", "evaluations", "table1", "scores", "page"}
    project.snakemake("--cores", "1")
    assert project.planned() == set()


def test_grids_without_a_learnt_set(tmp_path):
    project = clone(tmp_path)
    project.configure(methods=["whole", "random"])
    assert {"figure1_condensed_sets", "figure2_accuracy"} <= {r for r, _ in project.planned()}
    project.configure(methods=["whole"])
    rules = {rule for rule, _ in project.planned()}
    assert "figure2_accuracy" in rules
    assert "figure1_condensed_sets" not in rules
    project.snakemake("--cores", "2", "all")
    assert project.planned() == set()
    rows = {
        name: len(pd.read_csv(project.root / f"results/tables/{name}.csv"))
        for name in ("table1", "scores")
    }
    assert rows == {"table1": 2, "scores": 0}  # there are scores of sets


def test_the_other_tables_are_planned(tmp_path):
    project = clone(tmp_path)
    section = {
        "datasets": ["digits"], "images_per_class": [1], "methods": ["dc"], "networks": ["MLP"],
    }  # fmt: skip
    project.configure(
        methods=["herding", "kcenter", "forgetting"],
        table2=[{**section, "methods": ["dd"]}],
        cross_architecture={**section, "evaluation_networks": ["MLP", "ConvNet-width4"]},
        ablations={"distance": {**section, "methods": ["dc", "dc-mse"]}},
    )
    rules = {rule for rule, _ in project.planned()}
    assert {"reference_network", "table2", "cross_architecture", "ablations"} <= rules
    assert {rule for rule, _ in project.planned("ablations")} == {
        "prepare", "condense", "evaluate", "ablations",
    }  # fmt: skip


def test_a_changed_published_figure(project):
    project.edit("resources/published.csv", "91.94", "91.95")
    assert {rule for rule, _ in project.planned()} == {"table1", "page"}


CELLS = {"prepare", "select", "condense", "evaluate"}


@pytest.mark.parametrize(
    ("target", "rules"),
    [
        ("table1", {"table1"} | CELLS),
        ("figures", {"figure1_condensed_sets", "figure2_accuracy"} | CELLS - {"select"}),
        (f"results/{folder('digits', 'random', seed=9, ipc=3)}/set.png", {"prepare", "select"}),
        (f"results/{folder('digits', 'dc')}/eval/MLP.csv", CELLS - {"select"}),
        ("results/tables/table1.tex", {"table1"} | CELLS),
    ],
)
def test_targets(tmp_path, target, rules):
    assert {rule for rule, _ in clone(tmp_path).planned(target)} == rules


def test_the_papers_grid_is_planned_within_seconds(tmp_path):
    clone(tmp_path)
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", "all"],
        cwd=tmp_path, text=True, capture_output=True, check=True,
    )  # fmt: skip
    assert time.monotonic() - started < 60  # a guard against blow-ups; 10 s in fact
    counts = dict(re.findall(r"^(\w+) +(\d+)$", done.stdout + done.stderr, re.MULTILINE))
    # Four methods of Table 1, Table 2, five more networks to cross with (LeNet's sets of dc are
    # those of Table 2), and the ablations; the plain ConvNet on MNIST is shared.
    condensed = 4 * 4 * 4 * 5 + 2 * 2 * 2 * 5 + (4 + 3 * 5) * 5 + (3 + 3 + 3 + 4 + 2 + 2) * 5
    selected = 4 * 4 * 5 + 4 * 4 * 3
    crossed = 4 * (36 - 6) * 5  # beside the evaluation of every set on its own network
    # dsa, dm and idc under their own protocols as well, and random under the two that those are.
    own = (3 + 2) * 4 * 4 * 5
    assert int(counts["condense"]) == condensed
    assert int(counts["select"]) == selected
    assert int(counts["evaluate"]) == condensed + selected + 4 + crossed + own


@pytest.mark.parametrize("fixed", [None, 4321])
def test_jobs_ask_for_the_memory_that_they_will_take(project, fixed):
    limits = {"mem_mb": fixed, "runtime": 9}
    project.configure(resources={"condense": limits}, execution={"device": "cpu"})
    done = project.snakemake("--dry-run", "--cores", "1", "--forcerun", "condense")
    shown = done.stdout + done.stderr
    found = re.findall(r"rule (\w+):(?:\n    .*)*?\n    resources: .*mem_mb=(\d+)", shown)
    assert {rule for rule, _ in found} == {"condense", "evaluate"}
    for rule, megabytes in found:
        if rule == "condense" and fixed:
            assert int(megabytes) == fixed
        else:  # a tiny network: what PyTorch itself takes, and not much more
            assert 700 < int(megabytes) < 1100
