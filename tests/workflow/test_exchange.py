"""Sets of others beside one's own, and back, by the real Snakemake."""

import json
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT
from pipeline import CONFIG, clone, folder

from dclib.data import sources
from dclib.data.synthetic import SyntheticSet
from dclib.methods.random import method as random
from dclib.seeding import Streams

ROWS = "eval/ConvNet-width4.csv"
TABLES = ["results/tables/table1.csv"]


def chosen(data, ipc=1, seed=0):
    return random.select(data, ipc, Streams("theirs", seed))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A `.pt` of the authors' with two experiments, the same sets as ours, pictures, pixels."""
    project = clone(tmp_path_factory.mktemp("exchange") / "pipeline")
    data = sources.read({"name": "digits", "source": "digits"})
    place = project.root / "sets"
    place.mkdir()
    made = [chosen(data, seed=seed) for seed in range(2)]
    accuracies = {"ConvNet-width4": [np.float64(x) for x in (0.25, 0.35, 0.5, 0.6)]}
    torch.save(
        {"data": [[one.images, one.labels] for one in made], "accs_all_exps": accuracies},
        place / "res_DC_digits_ConvNet_1ipc.pt",
    )
    for seed, one in enumerate(made):
        one.save(place / f"ours-{seed}.safetensors")
        one.export(place / f"pictures-{seed}")
    pixels = made[0].images * data.std[0] + data.mean[0]
    torch.save([pixels, made[0].labels], place / "data.pt")
    project.configure(
        datasets=["digits"],
        methods=["random", "theirs", "ours", "pictures", "by_idc", "whole"],
        seeds=[0, 1],
        imported={
            "theirs": {"file": "sets/res_DC_{dataset}_ConvNet_{ipc}ipc.pt", "experiments": 2},
            "ours": {"file": "sets/ours-{seed}.safetensors"},
            "pictures": {"file": "sets/pictures-{seed}"},
            "by_idc": {"file": f"{place}/data.pt", "protocol": "idc"},
        },
    )
    project.snakemake("--cores", "2", *TABLES)
    return project


def rows(project, method, seed=0):
    path = project.root / "results" / folder("digits", method, seed) / ROWS
    return pd.read_csv(path)


def test_the_same_set_from_two_kinds_of_files_has_the_same_accuracies(project):
    """To the last digit, for every experiment of the file."""
    columns = ["test_accuracy", "train_accuracy", "train_loss"]
    digests = set()
    for seed in (0, 1):
        sets = [
            SyntheticSet.load(
                project.root / "results" / folder("digits", name, seed) / "set.safetensors"
            )
            for name in ("theirs", "ours")
        ]
        assert torch.equal(sets[0].images, sets[1].images)
        digests.add(sets[0].fingerprint)
        # Networks begin alike where a cell is called alike; so the other one's cell is renamed.
        streams = {"seed": rows(project, "theirs", seed)["seed"].tolist()}
        assert len(streams["seed"]) == 2
    assert len(digests) == 2
    project_of_two = project.copy(project.root.parent / "renamed")
    project_of_two.configure(
        datasets=["digits"], methods=["theirs"], seeds=[0, 1],
        imported={"theirs": {"file": "sets/ours-{seed}.safetensors"}},
    )  # fmt: skip
    before = [rows(project_of_two, "theirs", seed)[columns] for seed in (0, 1)]
    project_of_two.snakemake("--cores", "2", *TABLES)
    for seed in (0, 1):
        assert rows(project_of_two, "theirs", seed)[columns].equals(before[seed])


def test_imported_sets_are_rows_of_the_tables(project):
    table = pd.read_csv(project.root / TABLES[0]).set_index("method")
    assert table["n"].to_dict() == {
        "random": 4, "theirs": 4, "ours": 4, "pictures": 4, "by_idc": 2, "whole": 1,
    }  # fmt: skip
    # The mean of what the authors have measured on the two sets.
    assert table["authors"].to_dict()["theirs"] == pytest.approx(100 * 1.7 / 4)
    assert table["authors"].isna().sum() == 5
    assert "authors" in (project.root / "results/tables/table1.md").read_text()
    record = project.root / "results" / folder("digits", "theirs", 1) / "run.json"
    settings = json.loads(record.read_text())["settings"]
    assert (settings["experiment"], settings["space"]) == (1, None)
    assert "file" not in settings


def test_only_what_is_in_a_file_counts(project):
    assert project.planned(*TABLES) == set()
    moved = project.root / "elsewhere"
    (project.root / "sets").rename(moved)
    imported = {
        "theirs": {"file": "elsewhere/res_DC_{dataset}_ConvNet_{ipc}ipc.pt", "experiments": 2},
    }  # fmt: skip
    small = {"datasets": ["digits"], "methods": ["theirs"], "seeds": [0, 1]}
    project.configure(**small, imported=imported)
    assert {rule for rule, _ in project.planned(*TABLES)} == {"table1"}
    imported["theirs"] |= {"mean": [0.5], "std": [0.25]}
    project.configure(**small, imported=imported)
    assert {rule for rule, _ in project.planned(*TABLES)} == {"import_set", "evaluate", "table1"}
    del imported["theirs"]["mean"], imported["theirs"]["std"]
    file = moved / "res_DC_digits_ConvNet_1ipc.pt"
    content, kept = torch.load(file, weights_only=False), file.read_bytes()
    content["data"][1][0][0, 0, 0, 0] += 0.5
    torch.save(content, file)
    project.configure(**small, imported=imported)
    assert {rule for rule, _ in project.planned(*TABLES)} == {"import_set", "evaluate", "table1"}
    file.write_bytes(kept)
    moved.rename(project.root / "sets")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"file": "sets/no.pt"}, "'imported.theirs.file': sets/no.pt: no such file or folder"),
        ({"file": "x", "spce": "pixels"}, "(did you mean 'space'?)"),
        ({"file": "x", "space": "pixel"}, "(did you mean 'pixels'?)"),
        ({}, "'imported.theirs.file' is missing"),
        ({"file": "x", "protocol": "dsaa"}, "'imported.theirs.protocol': 'dsaa' is not one of"),
    ],
)
def test_imports_that_cannot_be_are_refused_before_any_work(project, change, fault):
    project.configure(datasets=["digits"], methods=["theirs"], imported={"theirs": change})
    done = project.snakemake("-n", "--cores", "1", *TABLES, check=False)
    (line,) = [line for line in done.stderr.splitlines() if "error: " in line]
    assert fault in line
    assert done.returncode != 0


def test_a_name_that_is_taken_or_of_nothing(project):
    imported = {"random": {"file": "sets/data.pt"}}
    project.configure(datasets=["digits"], methods=["random"], imported=imported)
    done = project.snakemake("-n", "--cores", "1", *TABLES, check=False)
    assert "'imported.random': there is a method of this name" in done.stderr
    imported = {"theirs": {"file": "sets/data.pt"}}
    project.configure(datasets=["digits"], methods=["thiers"], imported=imported)
    done = project.snakemake("-n", "--cores", "1", *TABLES, check=False)
    assert "'methods[0]': \"thiers\" is not allowed (did you mean 'theirs'?)" in done.stderr


def test_a_set_that_is_no_set_ends_its_job_in_one_line(project):
    torch.save({"data": [[torch.randn(10, 3, 8, 8), torch.arange(10)]]}, project.root / "rgb.pt")
    project.configure(
        datasets=["digits"], methods=["theirs"], imported={"theirs": {"file": "rgb.pt"}}
    )
    done = project.snakemake("--cores", "1", *TABLES, check=False)
    assert done.returncode != 0
    assert "rgb.pt: its images are (3, 8, 8), those of data set 'digits' (1, 8, 8)" in done.stderr
    assert "Traceback" not in done.stderr


def test_exports_are_targets_and_come_back(project):
    project.configure(datasets=["digits"], methods=["random"], seeds=[0])
    place = project.root / "results" / folder("digits", "random")
    project.snakemake("--cores", "1", f"results/{folder('digits', 'random')}/set.pt")
    made = SyntheticSet.load(place / "set.safetensors")
    content = torch.load(place / "set.pt", weights_only=True)
    assert torch.equal(content["data"][0][0], made.images)
    assert torch.equal(torch.load(place / "labels_best.pt", weights_only=True), made.labels)
    assert np.load(place / "set.npz")["images"].shape == (10, 8, 8, 1)
    assert len(zipfile.ZipFile(place / "pictures.zip").namelist()) == 10
    assert project.planned(f"results/{folder('digits', 'random')}/pictures.zip") == set()
    whole = project.snakemake(
        "-n", "--cores", "1", "results/digits/whole/ConvNet-width4/ipc-all/seed-0/set.pt",
        check=False,
    )  # fmt: skip
    assert whole.returncode != 0
    assert "error: target" in whole.stderr


def test_a_set_put_into_the_grid_by_hand_is_never_overwritten(tmp_path):
    """Neither where nothing was, nor over one that was made here, whatever else has changed."""
    project = clone(tmp_path / "pipeline")

    def configure(**settings):
        condensation = {**CONFIG["condensation"], "dc-theirs": settings}
        project.configure(datasets=["digits"], methods=["dc-theirs"], condensation=condensation)

    data = sources.read({"name": "digits", "source": "digits"})
    path = project.root / "results" / folder("digits", "dc-theirs") / "set.safetensors"
    theirs = chosen(data)
    names = ("theirs", "by the library", "unreadable")
    files = [tmp_path / f"{name}.safetensors" for name in names]
    theirs.save(files[0])
    theirs.with_metadata(versions={"dclib": "0.3.0"}).save(files[1])
    files[2].write_bytes(b"a file of another kind")
    configure()
    path.parent.mkdir(parents=True)
    for put in (*files, None, files[0], "changed"):
        if put is None:  # what follows is put over a set that was made here
            path.unlink()
            project.snakemake("--cores", "1", *TABLES)
            continue
        if put == "changed":
            configure(iterations=3)
        else:
            path.write_bytes(put.read_bytes())
        kept = path.read_bytes()
        done = project.snakemake("--cores", "1", *TABLES, check=False)
        assert done.returncode != 0
        assert "no set that was made here, and it is not overwritten; name its file" in done.stderr
        assert path.read_bytes() == kept
    # One of 0.1, which had no records, is made again.
    theirs.with_metadata(versions={"dclib": "0.1.0"}).save(path)
    (path.parent / "run.json").unlink()
    assert ("condense", f"{folder('digits', 'dc-theirs')}/set.safetensors") in project.planned()
    assert project.root != ROOT
