"""What is made again, and what is not, whatever time stamps and Snakemake's notes say."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import time

import numpy as np
from PIL import Image
from pipeline import CONFIG, Project, clone, folder, jobs

DC = folder("digits", "dc")
SET, ROWS = f"{DC}/set.safetensors", f"{DC}/eval/ConvNet-width4.csv"
MADE_FROM_DC = {("condense", SET), ("evaluate", ROWS)}
AGGREGATES = {
    "evaluations", "table1", "scores", "figure1_condensed_sets", "figure2_accuracy", "page",
}  # fmt: skip


def cells(planned):
    return {(rule, output) for rule, output in planned if rule not in AGGREGATES}


def results(project):
    return [path for path in (project.root / "results").rglob("*") if path.is_file()]


def later(dc):
    """The configuration with another setting of `dc`."""
    return {"condensation": {"dc": {**CONFIG["condensation"]["dc"], **dc}}}


def test_another_place_or_time_is_no_other_result(project, tmp_path):
    """Copies, checkouts, restored backups: finished work is not done again."""
    for path in results(project):
        os.utime(path, (31536000, 31536000))
    for path in random.Random(0).sample(results(project), len(results(project))):
        os.utime(path, (time.time() + 10**9 * random.Random(str(path)).random(),) * 2)
    assert project.planned() == set()
    for path in project.root.rglob("*"):
        if path.suffix in (".py", ".smk", ".yaml"):
            path.touch()
    shutil.rmtree(project.root / ".snakemake")
    assert project.planned() == set()
    other = clone(tmp_path / "other place é'$x")
    shutil.copytree(project.root / "results", other.root / "results", copy_function=shutil.copyfile)
    (other.root / "results").rename(tmp_path / "elsewhere")
    (other.root / "renamed").symlink_to(tmp_path / "elsewhere")
    other.configure(results_dir="renamed")
    assert other.planned() == set()


def test_results_of_other_settings_are_stale_whatever_snakemake_knows(project, tmp_path):
    """A backup that is put back, `make clean`, results of a colleague."""
    kept = tmp_path / "kept"
    shutil.copytree(project.root / "results", kept)
    project.configure(**later({"iterations": 5}))
    project.snakemake("--cores", "1", f"results/{SET}")
    shutil.rmtree(project.root / "results")
    shutil.copytree(kept, project.root / "results")
    subprocess.run(["make", "clean"], cwd=project.root, check=True, capture_output=True)
    planned, said = project.look()
    assert planned >= MADE_FROM_DC
    assert said[DC] == "stale: settings: iterations 3 -> 5"
    project.snakemake("--cores", "1", f"results/{ROWS}")
    record = json.loads((project.root / "results" / DC / "run.json").read_text())
    assert record["settings"]["iterations"] == 5
    assert project.planned(f"results/{ROWS}") == set()
    project.configure()
    assert project.planned() >= MADE_FROM_DC


def test_more_of_the_same_is_not_done_twice(project, tmp_path):
    whole = project.copy(tmp_path / "whole")
    shutil.rmtree(whole.root / "results" / DC)

    def make(where, path, **change):
        log = where.root / "results" / path.replace(".csv", ".log").replace("safetensors", "log")
        log.unlink(missing_ok=True)
        where.configure(**change)
        where.snakemake("--cores", "1", f"results/{path}")
        told = log.read_text() if log.exists() else ""
        return (where.root / "results" / path).read_bytes(), told

    def rows(content):
        return [line.rpartition(",")[0] for line in content.decode().splitlines()]

    more = {"evaluation": {**CONFIG["evaluation"], "models": 4}}
    few, _ = make(project, ROWS)
    many, log = make(project, ROWS, **more)
    assert rows(many)[:3] == rows(few)
    assert re.findall("model (.) of 4", log) == ["3", "4"]
    assert rows(many) == rows(make(whole, ROWS, **more)[0])
    again, log = make(project, ROWS)
    assert again == few
    assert "model" not in log

    later_set, log = make(project, SET, **later({"iterations": 5}))
    assert "going on from the checkpoint after iteration 3" in log
    assert later_set == make(whole, SET, **later({"iterations": 5}))[0]
    trace = f"results/{DC}/trace.csv"
    assert (project.root / trace).read_text() == (whole.root / trace).read_text()
    first, log = make(project, SET)  # what three gave cannot be told from what five give
    assert "starting afresh, the checkpoint is after iteration 5" in log
    place = project.root / "results" / DC
    shutil.copyfile(place / "state.safetensors", place / "checkpoint.safetensors")
    project.snakemake("--cores", "1", f"results/{SET}", "--forcerun", f"./results/{SET}")
    assert (project.root / "results" / SET).read_bytes() == first
    log = (project.root / "results" / DC / "set.log").read_text()
    assert "going on" not in log.partition("afresh")[2]
    record = json.loads((project.root / "results" / DC / "run.json").read_text())
    assert (record["iterations"], record["resumed_from"]) == (3, [])


def test_what_lacks_a_picture_is_whole_again_and_stays_so(project):
    picture = project.root / "results" / DC / "set.png"
    before = picture.read_bytes()
    picture.unlink()
    planned, said = project.look("table1")
    assert cells(planned) == MADE_FROM_DC
    assert said[DC] == "stale: set.png of it is missing"
    project.snakemake("--cores", "1", "table1")
    assert picture.read_bytes() == before
    assert project.planned("table1") == set()


def test_results_of_an_older_version_are_not_trusted(project):
    record = project.root / "results" / DC / "run.json"
    content = json.loads(record.read_text())
    del content["made_from"]
    record.write_text(json.dumps(content))
    (project.root / "results" / folder("again", "dc") / "run.json").unlink()
    planned, told = project.look()
    assert told[DC] == "stale: its record does not say what it was made from"
    assert told[folder("again", "dc")].startswith("stale: nothing beside it says what it was made")
    assert planned >= MADE_FROM_DC


def test_results_of_another_cell(project):
    """A folder that was copied over another one's place."""
    place = project.root / "results" / DC
    shutil.rmtree(place)
    shutil.copytree(project.root / "results" / folder("again", "dc"), place)
    planned, said = project.look()
    assert said[DC].startswith('stale: cell: dataset "again" -> "digits"')
    assert planned >= MADE_FROM_DC


def test_the_part_that_differs_is_named(project):
    project.edit("dclib/methods/matching.py", "+ 1e-6)", "+ 1e-5)")
    said = project.look()[1]
    assert said[DC] == "stale: code has changed"
    assert set(said) == {DC, folder("again", "dc")}  # what follows is not said again
    project.edit("dclib/methods/matching.py", "+ 1e-5)", "+ 1e-6)")
    own = {"name": "digits", "source": "digits", "image_size": 8, "mean": [0.3]}
    project.configure(datasets=[own, CONFIG["datasets"][1]])
    told = project.look()[1]
    assert told[DC] == "stale: data has changed"
    assert told["digits/data"].startswith("stale: settings: ")


def test_flipped_bits(project):
    """Found in the plan, named, and nothing is made of them, whatever the files' times say."""

    def files(dataset, method):
        place = folder(dataset, method)
        return f"{place}/set.safetensors", f"{place}/eval/ConvNet-width4.csv", f"{place}/run.json"

    other_set, other_rows, other_record = files("again", "dc")
    (_, rows, _), (_, more_rows, _) = files("digits", "random"), files("again", "random")
    whole = "digits/whole/ConvNet-width4/ipc-all/seed-0/eval/ConvNet-width4.csv"
    data = "again/data.safetensors"
    flipped = {  # what is made again because of it, and whether the file's time is kept
        SET: (MADE_FROM_DC, True),
        other_record: ({("condense", other_set), ("evaluate", other_rows)}, True),
        rows: ({("evaluate", rows)}, True),
        more_rows: ({("evaluate", more_rows)}, False),
        whole.replace(".csv", ".curve.csv"): ({("evaluate", whole)}, True),
        data: ({("prepare", data)}, False),
    }
    for name, (_, keep) in flipped.items():
        path = project.root / "results" / name
        content, written = bytearray(path.read_bytes()), path.stat()
        where = content.rindex(b".") + 1 if path.suffix == ".csv" else len(content) - 3
        content[where] ^= 1
        path.write_bytes(content)
        if keep:
            os.utime(path, ns=(written.st_atime_ns, written.st_mtime_ns))
    planned, said = project.look()
    again = set().union(*(made for made, _ in flipped.values()))
    assert cells(planned) == again
    assert {name for name, why in said.items() if why.startswith("damaged: ")} == set(flipped)
    wanted = [f"results/{output}" for _, output in again]
    project.snakemake("--cores", "1", *wanted)
    assert project.planned(*wanted) == set()


def test_a_flipped_bit_that_only_loading_can_find(project):
    """The disk has lost it, without a trace: the job says so, and the next call makes it again."""
    notes = project.root / ".snakemake/dclib/hashes.json"
    path = project.root / "results" / SET
    assert project.planned() == set()
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    known, found = json.loads(notes.read_text()), path.stat()
    entry = known[str(path)]
    known[str(path)] = [
        found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns, entry[-1],
    ]  # fmt: skip
    notes.write_text(json.dumps(known))
    assert project.planned() == set()
    (project.root / "results" / ROWS).unlink()
    done = project.snakemake("--cores", "1", f"results/{ROWS}", check=False)
    assert done.returncode != 0
    log = (project.root / "results" / ROWS).with_suffix(".log").read_text()
    assert f"results/{SET}: damaged" in log
    assert "Traceback" not in log
    project.snakemake("--cores", "1", f"results/{ROWS}")
    assert project.planned(f"results/{ROWS}") == set()


def test_what_is_damaged_and_not_wanted_is_left_where_it_is(project):
    path = project.root / "results" / SET
    path.write_bytes(path.read_bytes()[:-9])
    project.snakemake("--cores", "1", f"results/{folder('again', 'dc')}/set.safetensors")
    assert path.exists()
    project.snakemake("--cores", "1", "table1")
    assert project.planned("table1") == set()


def test_own_data_by_what_is_read(tmp_path):
    """Another pixel makes a data set another one; its path, or what is not read, does not."""
    project = clone(tmp_path / "project")
    pictures = project.root / "pictures"
    for split in ("train", "test"):
        for name in ("a", "b"):
            (pictures / split / name).mkdir(parents=True)
            for i in range(3):
                pixels = np.full((8, 8), 40 * i + 9, np.uint8)
                Image.fromarray(pixels).save(pictures / split / name / f"{i}.bmp")
    target = "results/own/random/ConvNet-width4/ipc-1/seed-0/set.safetensors"

    def planned(**change):
        own = {"name": "own", "source": "folder", "path": "pictures", **change}
        project.configure(datasets=[dict(sorted(own.items(), reverse=bool(change)))])
        return {rule for rule, _ in project.planned(target)}

    assert planned() == {"prepare", "select"}
    project.snakemake("--cores", "1", target)
    assert planned() == set()
    (pictures / ".DS_Store").touch()
    (pictures / "README.txt").write_text("about")
    (pictures / "train/a/.thumbs").mkdir()
    (pictures / "train/a/1.bmp").touch()
    assert planned(path="./pictures") == set()
    pictures.rename(project.root / "moved")
    pictures.symlink_to("moved")
    assert planned(path=str(pictures)) == set()
    picture = pictures / "train/a/1.bmp"
    content, written = picture.read_bytes(), picture.stat()
    picture.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(picture, ns=(written.st_atime_ns, written.st_mtime_ns))
    found, said = project.look(target)
    assert {rule for rule, _ in found} == {"prepare", "select"}
    assert said["own/random/ConvNet-width4/ipc-1/seed-0"] == "stale: data has changed"
    picture.write_bytes(content)
    assert planned() == set()
    assert planned(image_size=9) == {"prepare", "select"}


def test_settings_that_cannot_touch_a_result(project):
    """They are of another recipe, of a norm that is not there, or of training that is not done."""
    project.configure(
        **later({"batchnorm_batch": 8, "lr_net": 0.5, "batch_net": 7, "outer_steps": 1}),
        evaluation={**CONFIG["evaluation"], "augmentation_way": "dsa", "recipe": "own"},
    )
    assert project.planned() == set()


def test_code_that_is_edited_while_it_runs(tmp_path):
    """A job does not work with other code than it was planned with."""
    project = clone(tmp_path)
    project.configure(datasets=["digits"], methods=["dc"])
    method = project.root / "dclib/methods/dc/method.py"
    kept = method.read_text()
    with subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--configfile", "small.yaml", "--cores", "1",
         f"results/{SET}"],
        cwd=project.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as run:  # fmt: skip
        while run.poll() is None and not jobs(project.root, "prepare.py"):
            time.sleep(0.01)
        method.write_text(f"{kept}\n\nANOTHER = 1\n")
        assert run.wait(300) != 0
    log = (project.root / "results" / DC / "set.log").read_text()
    (line,) = [line for line in log.splitlines() if " ERROR " in line]
    assert "was edited after this run was planned" in line
    assert not (project.root / "results" / SET).exists()
    method.write_text(kept)
    project.snakemake("--cores", "1", f"results/{SET}")
    assert project.planned(f"results/{SET}") == set()


def test_two_configurations_that_share_their_results(project):
    other = Project(project.root)
    other.configure(**later({"iterations": 4}))
    other.snakemake("--cores", "2", "evaluations")
    project.configure()
    assert project.planned() >= MADE_FROM_DC
    project.configure(seeds=[0, 1], **later({"iterations": 4}))
    assert {output for _, output in cells(project.planned())} == {
        f"{folder(dataset, method, seed=1)}/{file}"
        for dataset in ("digits", "again")
        for method in ("random", "dc")
        for file in ("set.safetensors", "eval/ConvNet-width4.csv")
    }
