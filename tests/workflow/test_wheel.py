"""What is released: wheel and sdist, installed in an environment of their own, used elsewhere.

The heavy packages are those of this environment, so that it takes seconds.
"""

import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from pipeline import clone

import dclib

AROUND = (
    "config",
    "envs",
    "profiles",
    "report",
    "resources",
    "rules",
    "schemas",
    "workflow_scripts",
)
# A Snakefile of somebody's, of which the grid is a part as docs/command.md says.
(PART,) = re.findall(
    "^```snakemake\n(.*?)^```", (ROOT / "docs/command.md").read_text(), re.MULTILINE | re.DOTALL
)
HOST = f"""
config["condensation"] = dict(
    datasets=["digits"], images_per_class=[1], methods=["random"], networks=["MLP"], seeds=[0],
    table2=None, cross_architecture=None, ablations=None, overrides=None, results_dir="sets",
)

{PART}
rule size:
    default_target: True
    input: "sets/digits/random/MLP/ipc-1/seed-0/set.safetensors"
    output: "size.txt"
    shell: "wc -c < {{input}} > {{output}}"
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """An sdist, and a wheel that was built from it alone."""
    folder = tmp_path_factory.mktemp("dist")
    source = clone(tmp_path_factory.mktemp("source")).root
    hook = "import sys, setuptools.build_meta as b; b.build_sdist(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-c", hook, folder], cwd=source, check=True, capture_output=True
    )
    (sdist,) = folder.glob("*.tar.gz")
    command = "-m pip wheel --no-deps --no-index --no-build-isolation -q -w"
    subprocess.run([sys.executable, *command.split(), folder, sdist], check=True)
    (wheel,) = folder.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """The folder of the programs of an environment with the wheel."""
    place = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    python = place / "bin/python"
    command = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--no-deps",
        "--no-index",
    ]
    subprocess.run([*command, "-q", built[1]], check=True)
    own = subprocess.check_output(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
    )
    Path(own.strip(), "heavy.pth").write_text(sysconfig.get_path("purelib"))
    return place / "bin"


def call(cwd, *command):
    around = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=cwd, env=around, text=True, capture_output=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_what_is_in_them(built):
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, text=True, capture_output=True, check=True,
    ).stdout.split()  # fmt: skip
    kept = [name for name in listed if (ROOT / name).is_file()]
    workflow = {name for name in kept if name.startswith(tuple(f"{each}/" for each in AROUND))}
    workflow |= {"Snakefile", "config.yaml"}
    package = {name for name in kept if name.startswith("dclib/")}
    with zipfile.ZipFile(built[1]) as wheel:
        found = {name for name in wheel.namelist() if ".dist-info/" not in name}
        assert sum(each.file_size for each in wheel.infolist()) < 2_000_000
    assert found == package | {f"dclib/workflow/{name}" for name in workflow}
    with tarfile.open(built[0]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert package | workflow | {"pyproject.toml", "README.md", "LICENSE"} <= names
    assert {name for name in kept if name.startswith(("tests/", "docs/"))} <= names


def test_the_library_elsewhere(installed, tmp_path):
    code = (
        "import dclib, sys; assert 'torch' not in sys.modules\n"
        "made = dclib.condense(dclib.read('digits'), 'random', 1)\n"
        "made.save('set.safetensors'); print(dclib.__file__)\n"
    )
    said = call(tmp_path, installed / "python", "-c", code).strip()
    assert said.startswith(str(installed.parent))
    assert (tmp_path / "set.safetensors").exists()


def test_a_grid_from_an_empty_folder(installed, tmp_path):
    """With a card's options in the order that Snakemake takes for something else."""
    dclib = installed / "dclib"
    call(tmp_path, dclib, "init")
    target = "results/digits/random/ConvNet-width32/ipc-1/seed-1/set.png"
    call(tmp_path, dclib, "run", "--cores", "1", "--resources", "gpu=1", target)
    assert (tmp_path / target).exists()
    counts = json.loads(call(tmp_path, dclib, "status", "--json"))["counts"]
    assert counts == {"done": 1, "running": 0, "stale": 0, "missing": 8, "failed": 0}
    assert "no run is at work" in call(tmp_path, dclib, "status")
    # The same results, from a checkout: nothing is stale because it lies elsewhere.
    snakefile = f"--snakefile {ROOT}/Snakefile --configfile dclib.yaml --cores 1 --dry-run".split()
    command = [sys.executable, "-m", "snakemake", *snakefile, "--", target]
    done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, check=True)
    assert "Nothing to be done" in done.stdout + done.stderr


def test_a_part_of_somebody_elses_workflow(installed, tmp_path):
    (tmp_path / "Snakefile").write_text(HOST)
    command = [installed / "python", "-m", "snakemake", "--cores", "1"]
    call(tmp_path, *command)
    assert int((tmp_path / "size.txt").read_text()) > 10 * 64 * 4
    assert (tmp_path / "sets/.lock").exists()
    call(tmp_path, *command, "condensation_table1", "--dry-run")


def test_dependencies_are_told_once():
    """The environment of conda and the lock hold what pyproject.toml asks for, in its ranges."""
    import tomllib

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = project["optional-dependencies"]
    lock = [
        Requirement(line.strip())
        for line in (ROOT / "requirements.lock").read_text().splitlines()
        if not line.startswith("#")
    ]
    pins = {canonicalize_name(each.name): str(each.specifier)[2:] for each in lock}
    assert len(pins) == len(lock)
    for told in (*project["dependencies"], *extra["workflow"], *extra["dev"], *extra["docs"]):
        asked = Requirement(told)
        assert asked.specifier.contains(pins[canonicalize_name(asked.name)]), told
    for name in pins:  # which there are for Linux alone
        if re.match("nvidia|cuda|triton", name):
            (marked,) = [each for each in lock if canonicalize_name(each.name) == name]
            assert not marked.marker.evaluate({"sys_platform": "darwin"}), name
    (pip,) = [
        each["pip"]
        for each in yaml.safe_load((ROOT / "envs/dclib.yaml").read_text())["dependencies"]
        if isinstance(each, dict)
    ]
    own = {canonicalize_name(Requirement(told).name) for told in project["dependencies"]}
    assert sorted(pip) == sorted(f"{name}=={pins[name]}" for name in own | {"pyyaml"})


def test_what_is_locked_takes_the_oldest_python_that_is_promised():
    """A Debian has 3.11.2, and a package may ask for a later 3.11."""
    import importlib.metadata
    import tomllib

    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    oldest = project["requires-python"].removeprefix(">=") + ".0"
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if line.startswith("#"):
            continue
        told = Requirement(line)
        if told.marker and not told.marker.evaluate():
            continue
        asked = importlib.metadata.metadata(told.name).get("Requires-Python", "")
        assert importlib.metadata.version(told.name) in told.specifier, told
        assert oldest in SpecifierSet(asked), f"{told} asks for Python {asked}"


def test_a_release_is_told_alike_everywhere():
    """What CI asks of a tag; what comes next is under Unreleased, and dates go down."""
    heads = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert heads[0] == "Unreleased"
    dated = r"(\d+\.\d+\.\d+) \((\d{4}-\d\d-\d\d)\)"
    told = [re.fullmatch(dated, head).groups() for head in heads[1:]]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert told[0] == (citation["version"], str(citation["date-released"]))
    assert told[0][0] == dclib.__version__
    assert sorted(told, key=lambda each: each[1], reverse=True) == told
