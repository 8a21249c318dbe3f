"""Shapes and types of dclib's public signatures are checked at run time in every test."""

import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from jaxtyping import install_import_hook

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests")]

with install_import_hook("dclib", "typecheck.checked"):
    import dclib.applications.evaluation.evaluate
    import dclib.data.datasets
    import dclib.data.sources
    import dclib.data.sources.public
    import dclib.methods.dc.method
    import dclib.methods.dd.method
    import dclib.methods.forgetting.method
    import dclib.methods.herding.method
    import dclib.methods.kcenter.method
    import dclib.methods.random.method
    import dclib.pipeline.drawing
    import dclib.pipeline.grid
    import dclib.pipeline.tabulation
    import dclib.pipeline.typesetting
    import dclib.runner


REAL = Path(os.environ.get(dclib.data.sources.public.DATA_DIR_VARIABLE, "data"))


def need_real(name: str, folder: str) -> None:
    """Skip a test, and say so, where the original files of a public data set are missing."""
    if not (REAL / folder).is_dir():
        pytest.skip(f"no {name} in {REAL} (${dclib.data.sources.public.DATA_DIR_VARIABLE})")


@pytest.fixture(scope="session")
def digits() -> dclib.data.datasets.ImageDataset:
    """The embedded 8x8 digits."""
    return dclib.data.sources.read({"name": "digits", "source": "digits"})


@pytest.fixture(scope="session")
def small() -> dclib.data.datasets.ImageDataset:
    """Random images of three classes, 3x32x32, a few dozen."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    images = torch.randint(256, (60, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return dclib.data.datasets.ImageDataset(
        "small", images, labels, images[:30].clone(), labels[:30].clone(),
        (0.5, 0.4, 0.3), (0.3, 0.2, 0.25), ("a", "b", "c"),
    )  # fmt: skip


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The small grid of the tests of the pipeline, finished; one of the processes makes it."""
    from pipeline import Project, clone

    together = "PYTEST_XDIST_WORKER" in os.environ
    base = tmp_path_factory.getbasetemp()
    place = (base.parent if together else base) / "finished"
    with FileLock(f"{place}.lock"):
        if not (place / "done").exists():
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            clone(place).snakemake("--cores", "2", "all")
            (place / "done").touch()
    return Project(place)


@pytest.fixture
def project(finished, tmp_path):
    """A copy of the finished small grid, to be disturbed."""
    return finished.copy(tmp_path / "project")
