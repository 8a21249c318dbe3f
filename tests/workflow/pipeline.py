"""A copy of the pipeline in a folder of its own, on a small grid, for tests to run and disturb."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from conftest import ROOT

from dclib.files import read_metadata

CONFIG = {
    "datasets": ["digits", {"name": "again", "source": "digits"}],
    "images_per_class": [1],
    "methods": ["random", "dc", "whole"],
    "networks": ["ConvNet-width4"],
    "seeds": [0],
    "table2": None,
    "cross_architecture": None,
    "ablations": None,
    "condensation": {"dc": {"iterations": 3, "real_batch": 8}},
    "evaluation": {"models": 2, "epochs": 2, "curve_points": 2, "protocols": ["dc"]},
    "overrides": {"method=whole": {"evaluation": {"models": 1}}},
    "execution": {"checkpoint_seconds": 0, "device": "cpu"},
    # Said, so that Snakemake need not predict them, for which it has to import PyTorch.
    "resources": {name: {"mem_mb": 1000, "runtime": 9} for name in ("condense", "evaluate")},
}


class Project:
    """A copy of the pipeline in a folder of its own."""

    def __init__(self, root):
        self.root = root

    def configure(self, **change):
        config = {**CONFIG, **change}
        if "whole" not in config["methods"]:  # the override for it could never apply
            config["overrides"] = {**config["overrides"]}
            config["overrides"].pop("method=whole", None)
        (self.root / "small.yaml").write_text(yaml.safe_dump(config))

    def snakemake(self, *arguments, check=True):
        command = [sys.executable, "-m", "snakemake", "--configfile", "small.yaml", *arguments]
        done = subprocess.run(
            command, cwd=self.root, text=True, capture_output=True, timeout=600, check=False
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def look(self, *arguments):
        """What a dry run would make, and what it says of results that are made again, by result.

        The former are (rule, first output), the target rules left out.
        """
        done = self.snakemake("--dry-run", "--cores", "1", *arguments)
        said = re.findall(
            r"^results/(\S+) is (\w+) and is made again: (.*)$", done.stderr, re.MULTILINE
        )
        found = re.findall(
            r"^rule (\w+):\n(?:    (?!output:).*\n)*    output: ([^,\n]+)",
            done.stdout + done.stderr, re.MULTILINE,
        )  # fmt: skip
        nothing = "Nothing to be done" in done.stdout + done.stderr
        assert nothing == (not found)
        planned = {(rule, output.removeprefix("results/")) for rule, output in found}
        return planned, {name: f"{state}: {why}" for name, state, why in said}

    def planned(self, *arguments):
        return self.look(*arguments)[0]

    def edit(self, path, old, new):
        text = (self.root / path).read_text()
        assert old in text
        (self.root / path).write_text(text.replace(old, new, 1))

    def copy(self, root):
        shutil.copytree(self.root, root)
        return Project(root)


def clone(root):
    """Copy the files that belong to the repository, as a fresh clone would hold them."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, text=True, capture_output=True, check=True,
    )  # fmt: skip
    for name in listed.stdout.split():
        if (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, root / name)
    project = Project(root)
    project.configure()
    return project


def folder(dataset, method, seed=0, ipc=1):
    return f"{dataset}/{method}/ConvNet-width4/ipc-{ipc}/seed-{seed}"


def iteration(checkpoint):
    return read_metadata(checkpoint)["progress"]["iteration"]


def jobs(root, script="condense.py"):
    """The processes that run a script of the project."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_text().split("\0")
            place = (process / "cwd").readlink()
        except OSError:
            continue
        if place == root and any(script in part for part in command[1:2]):
            found.append(int(process.name))
    return found
