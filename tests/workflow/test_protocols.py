"""Several protocols side by side, by the real Snakemake, from the configuration to the tables."""

import json

import pandas as pd
import pytest
import torch
from pipeline import CONFIG, clone, folder

from dclib.data import sources
from dclib.data.synthetic import SyntheticSet
from dclib.data.whitening import Whitening
from dclib.methods.random import method as random
from dclib.seeding import Streams

NETWORK = "ConvNet-width4"
# The protocol `curves` is called almost as the files of learning curves end.
TABLES = [f"results/tables/{name}.csv" for name in ("table1", "evaluations", "scores")]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = clone(tmp_path_factory.mktemp("protocols") / "pipeline")
    project.configure(
        datasets=["digits"],
        methods=["random", "dd", "dc", "whole"],
        condensation={
            "dd": {"iterations": 2, "real_batch": 8}, **CONFIG["condensation"],
        },
        evaluation={**CONFIG["evaluation"], "protocols": ["dc", "own", "curves"]},
        protocols={"curves": {"like": "dsa", "epochs": 3}},
        overrides={"method=whole protocol=dc": {"evaluation": {"models": 1}}},
    )  # fmt: skip
    project.snakemake("--cores", "2", *TABLES, "results/figures/figure2_accuracy.png")
    return project


def read(project, method, stem, **more):
    return pd.read_csv(project.root / "results" / folder("digits", method, **more) / f"eval/{stem}")


def test_results_of_protocols_stand_side_by_side(project):
    stems = {"random": ["", ".curves"], "dd": ["", ".dd", ".curves"], "dc": ["", ".curves"]}
    for method, protocols in stems.items():
        place = project.root / "results" / folder("digits", method) / "eval"
        assert {path.name for path in place.glob("*.csv")} == {
            f"{NETWORK}{protocol}{kind}"
            for protocol in protocols
            for kind in (".csv", ".curve.csv")
        }
        assert read(project, method, f"{NETWORK}.curves.csv")["epochs"].tolist() == [3, 3]
        assert read(project, method, f"{NETWORK}.csv")["epochs"].tolist() == [2, 2]
    # dd by what it was learnt for: three epochs, in whose loss nothing of the others is left.
    own = read(project, "dd", f"{NETWORK}.dd.csv")
    assert not own["train_loss"].equals(read(project, "dd", f"{NETWORK}.csv")["train_loss"])
    record = project.root / "results" / folder("digits", "dd") / f"eval/{NETWORK}.dd.json"
    settings = json.loads(record.read_text())["settings"]
    told = {"models": 2, "precision": "tf32", "recipe": "own", "space": "normalised"}
    assert settings == told


def test_tables_have_a_page_for_each_and_compare_with_their_like(project):
    table = pd.read_csv(project.root / TABLES[0]).set_index(["protocol", "method"])
    pages = {name: list(rows.droplevel(0).index) for name, rows in table.groupby(level=0)}
    assert pages == {
        "dc": ["random", "dd", "dc", "whole"], "curves": ["random", "dd", "dc", "whole"],
        "dd": ["dd"],
    }  # fmt: skip
    for protocol in ("dc", "curves"):
        rows = table.loc[protocol]
        assert rows["over_random"]["dc"] == pytest.approx(
            rows["mean"]["dc"] - rows["mean"]["random"], abs=1e-3
        )
        assert rows["of_whole"]["dc"] == pytest.approx(
            100 * rows["mean"]["dc"] / rows["mean"]["whole"], abs=1e-2
        )
    assert pd.isna(table.loc["dd", "dd"]["over_random"])  # random cannot be trained that way
    assert table.loc["dc", "whole"]["n"] == 1
    assert table.loc["curves", "whole"]["n"] == 5  # as config.yaml has it
    text = (project.root / "results/tables/table1.md").read_text()
    for words in ("Protocol 'dc': of DC", "Protocol 'curves': of the configuration", "'dd': of DD"):
        assert words in text
    scores = pd.read_csv(project.root / TABLES[2]).set_index(["protocol", "method"])
    assert scores["ars"].notna().to_dict() == {
        ("dc", "dd"): False, ("dc", "dc"): False, ("curves", "dd"): True, ("curves", "dc"): True,
        ("dd", "dd"): False,
    }  # fmt: skip
    rows = pd.read_csv(project.root / TABLES[1])
    assert rows.groupby("protocol").size().to_dict() == {"dc": 7, "dd": 2, "curves": 11}


def test_another_protocol_computes_itself_alone(project):
    """The sets stay, and so do the evaluations of the others."""
    config = {
        "datasets": ["digits"], "methods": ["random", "dd", "dc", "whole"],
        "condensation": {"dd": {"iterations": 2, "real_batch": 8}, **CONFIG["condensation"]},
        "protocols": {"curves": {"like": "dsa", "epochs": 3}},
        "overrides": {"method=whole protocol=dc": {"evaluation": {"models": 1}}},
    }  # fmt: skip
    names = ["dc", "own", "curves"]
    project.configure(**config, evaluation={**CONFIG["evaluation"], "protocols": [*names, "mtt"]})
    planned = {output for rule, output in project.planned() if rule == "evaluate"}
    assert planned == {
        f"{folder('digits', method, **more)}/eval/{NETWORK}.mtt.csv"
        for method, more in (
            ("random", {}), ("dd", {}), ("dc", {}), ("whole", {"ipc": "all"}),
        )
    }  # fmt: skip
    assert not {rule for rule, _ in project.planned()} & {"condense", "select", "prepare"}
    path = f"results/{folder('digits', 'random')}/eval/{NETWORK}.idc.csv"
    assert {rule for rule, _ in project.planned(path)} == {
        "evaluate"
    }  # not asked for by the config
    refused = project.snakemake("-n", "--cores", "1", path.replace("idc", "idcc"), check=False)
    assert refused.returncode != 0
    assert "protocol 'idcc' is neither known nor in 'protocols'" in refused.stdout + refused.stderr


def test_a_teacher_that_labels_and_whitened_images(project, tmp_path):
    """What they need is made first, once, and only where a protocol asks for it."""
    project = project.copy(tmp_path / "project")
    white = project.root / "sets" / "images_best.pt"
    white.parent.mkdir()
    data = sources.read({"name": "digits", "source": "digits"})
    chosen = random.select(data, 1, Streams("theirs"))
    torch.save(Whitening.fit(data).apply(data.pixels(chosen.images)), white)
    torch.save(chosen.labels, white.with_name("labels_best.pt"))
    project.configure(
        datasets=["digits"],
        methods=["random", "theirs"],
        imported={"theirs": {"file": f"{white}", "space": "whitened"}},
        evaluation={**CONFIG["evaluation"], "protocols": ["white", "taught"]},
        protocols={
            "white": {"space": "whitened"},
            "taught": {"labels": "teacher", "temperature": 2.0},
        },
        reference_network={"epochs": 1},
    )
    table = TABLES[0]
    planned = [rule for rule, _ in project.planned(table)]
    project.snakemake("--cores", "2", table)
    assert {"whiten", "reference_network", "import_set", "evaluate"} <= set(planned)
    place = project.root / "results/digits"
    assert (place / "whitening.safetensors").exists()
    assert (place / f"reference/{NETWORK}/network.safetensors").exists()
    for stem, settings, inputs in (
        ("white", {"space": "whitened"}, {"set", "whitening"}),
        ("taught", {"labels": "teacher", "temperature": 2.0}, {"set", "reference"}),
    ):
        record = (
            project.root / "results" / folder("digits", "random") / f"eval/{NETWORK}.{stem}.json"
        )
        told = json.loads(record.read_text())
        assert settings.items() <= told["settings"].items()
        assert told["made_from"]["inputs"].keys() == inputs
    # Whitened by somebody, and brought back.
    made = place / "theirs" / NETWORK / "ipc-1/seed-0/set.safetensors"
    torch.testing.assert_close(SyntheticSet.load(made).images, chosen.images, rtol=0, atol=1e-4)
    taught, plain = (read(project, "random", f"{NETWORK}{p}.csv") for p in (".taught", ""))
    assert not taught["train_loss"].equals(plain["train_loss"])
    assert "Protocol 'taught'" in (project.root / "results/tables/table1.md").read_text()
    assert project.planned(table) == set()
