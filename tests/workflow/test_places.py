"""Where the pipeline lies, and where it is called from."""

import subprocess
import sys
from base64 import b64encode

from pipeline import clone, folder
from workflow.test_bad_input import contents
from workflow.test_faults import in_a_file_system_of_its_own

SET = f"results/{folder('digits', 'random')}/set.safetensors"


def call(cwd, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1", *arguments],
        cwd=cwd, text=True, capture_output=True, timeout=600, check=False,
    )  # fmt: skip


def test_from_another_folder(tmp_path):
    """The project, of which nothing is changed, is in one place; config and results in another."""
    project = clone(tmp_path / "the project é")
    project.configure(methods=["random"])
    here = tmp_path / "my work"
    here.mkdir()
    (project.root / "small.yaml").rename(here / "small.yaml")
    before = contents(project.root)
    snakefile = str(project.root / "Snakefile")
    done = call(here, "-s", snakefile, "--configfile", "small.yaml", "--", SET)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (here / SET).exists()
    again = call(
        project.root, "--directory", str(here), "--configfile", "../my work/small.yaml", "--", SET
    )
    assert "Nothing to be done" in again.stderr, again.stdout + again.stderr
    # What Snakemake notes of a job that was killed says nothing, whatever the profile.
    (here / ".snakemake/incomplete" / b64encode(SET.encode()).decode()).touch()
    again = call(
        here, "-s", snakefile, "--workflow-profile", "none", "--configfile", "small.yaml", "--", SET
    )
    assert "Nothing to be done" in again.stderr, again.stdout + again.stderr
    assert contents(project.root) == before


def test_braces_in_the_path_of_the_project(tmp_path):
    project = clone(tmp_path / "my{project}")
    before = contents(project.root)
    done = project.snakemake("--cores", "1", SET, check=False)
    assert done.returncode != 0
    assert f"error: {project.root}: a path with braces has a meaning to Snakemake" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert contents(project.root) == before


def test_a_project_that_cannot_be_written(tmp_path):
    project = clone(tmp_path / "project")
    done = in_a_file_system_of_its_own(
        project, 'p=$PWD; mount --bind "$p" "$p"; mount -o remount,bind,ro "$p"; cd "$p"; CALL'
    )
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert f"{project.root}: cannot be written" in line
    assert "-s PATH/Snakefile" in line
    assert "Traceback" not in done.stdout + done.stderr
