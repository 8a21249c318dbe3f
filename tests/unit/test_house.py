"""The rooms of the house: who may import whom, and what planning can do without PyTorch."""

import ast
import subprocess
import sys

import pytest
from conftest import ROOT

# A module imports from its own row and from those above it.
FLOORS = (
    {"errors", "files", "tensors", "seeding", "provenance", "codebase", "devices", "graphs",
     "memory", "fields", "footprint", "conditions", "arguments"},
    {"networks"},
    {"data", "runner"},
    {"teachers", "training"},
    {"applications", "methods"},
    {"face"},
    {"pipeline"},
)  # fmt: skip
MODULES = sorted((ROOT / "dclib").rglob("*.py"))


def floor(room):
    (found,) = [number for number, rooms in enumerate(FLOORS) if room in rooms]
    return found


def imported(path):
    """The dotted names that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path):
    own = path.relative_to(ROOT / "dclib").parts[0].removesuffix(".py")
    for name in imported(path):
        parts = name.split(".")
        assert parts[0] != "snakemake" or own == "pipeline", name
        assert parts[0] != "workflow_scripts", name
        if parts[0] == "dclib" and len(parts) > 1 and own != "__init__":
            assert floor(parts[1]) <= floor(own), f"{path} imports {name}"


def test_no_science_knows_the_pipeline():
    for path in MODULES:
        if "pipeline" not in path.parts:
            words = path.read_text(encoding="utf-8").lower()
            assert "config.yaml" not in words, path
            assert "snakemake" not in words, path


def test_scripts_are_thin():
    for path in (ROOT / "workflow_scripts").glob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 50, path


def test_planning_needs_no_pytorch():
    """Of neither the plan of a grid, nor its status: both answer at once."""
    code = (
        "import sys; from pathlib import Path\n"
        "from dclib.pipeline import resources, start, status, staleness\n"
        "plan, hashes = start.plan(Path('.'), [], {})\n"
        "states = staleness.Staleness(plan, hashes)\n"
        "assert len(status.survey(plan, states, None)) > 400\n"
        "heavy = {'torch', 'torchvision', 'pandas', 'matplotlib', 'sklearn', 'PIL'}\n"
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
