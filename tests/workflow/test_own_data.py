"""A stranger's path: pictures of a phone, and what docs/data.md says to do with them."""

import re

import numpy as np
import pandas as pd
import yaml
from conftest import ROOT
from PIL import Image
from pipeline import CONFIG, clone

from dclib.data.datasets import ImageDataset
from dclib.data.synthetic import SyntheticSet

TINY = {
    "networks": ["ConvNet-width4"], "methods": ["dc"], "seeds": [0],
    **{key: CONFIG[key] for key in ("condensation", "evaluation", "execution", "resources")},
}  # fmt: skip


def photographs(root):
    """Bright above and dark below, as a viewer shows them, in two colours, stored in many ways."""
    rng = np.random.default_rng(0)
    for channel, name in enumerate(("rose", "tulip")):
        place = root / name
        place.mkdir(parents=True)
        for i in range(10):
            upright = rng.integers(200, 256, size=(30, 40 + i, 3), dtype=np.uint8)
            upright[15:] //= 10
            upright[:15, :, channel] //= 2
            exif = Image.Exif()
            exif[0x0112] = 6 if i % 2 else 3
            stored = np.rot90(upright, 1 if i % 2 else 2)
            Image.fromarray(stored.copy()).save(place / f"IMG_{i}.JPG", "jpeg", exif=exif)
        cut_out = np.zeros((40, 40, 4), np.uint8)  # black ink, on nothing above
        cut_out[20:, :, 3] = 255
        Image.fromarray(cut_out).save(place / "drawing.png")
        for junk in (".DS_Store", "Thumbs.db", "._IMG_0.JPG", "IMG_11.HEIC"):
            (place / junk).write_bytes(b"x")
    (root / ".Trash-1000").mkdir()


def test_from_a_folder_of_photographs_to_a_table(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    project = clone(tmp_path / "project")
    text = (ROOT / "docs/data.md").read_text(encoding="utf-8")
    mine = re.search(r"```yaml\n(# mine.yaml\n.*?)```", text, re.DOTALL)[1]
    (project.root / "mine.yaml").write_text(mine)
    (project.root / "small.yaml").write_text(yaml.safe_dump(TINY))
    command = re.search(r"```sh\nsnakemake --configfile mine.yaml (.*)\n```", text)[1].split()
    command = ["--configfile", "mine.yaml", "small.yaml", *command]
    photographs(tmp_path / "flowers")
    broken = tmp_path / "flowers/rose/IMG_12.jpg"
    whole = (tmp_path / "flowers/rose/IMG_0.JPG").read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])

    done = project.snakemake(*command, check=False)
    assert done.returncode
    told = [line for line in (done.stdout + done.stderr).splitlines() if str(broken) in line]
    assert len(told) == 1
    assert "is not a readable image" in told[0]
    assert told[0].endswith("remove it, or put a whole one in its place")

    broken.unlink()
    done = project.snakemake(*command)
    assert "2 .heic" in done.stderr
    results = project.root / "results"
    data = ImageDataset.load(results / "flowers/data.safetensors")
    assert data.class_names == ("rose", "tulip")
    assert (len(data.train_images), len(data.test_images)) == (18, 4)
    for images in (data.train_images.float(), data.test_images.float()):
        assert (images[:, :, :15].mean((1, 2, 3)) > images[:, :, 17:].mean((1, 2, 3)) + 100).all()
    place = results / "flowers/dc/ConvNet-width4/ipc-1/seed-0"
    assert SyntheticSet.load(place / "set.safetensors").images.shape == (2, 3, 32, 32)
    assert "flowers" in pd.read_csv(results / "tables/table1.csv").to_string()

    # As an executor calls it on a node that has none of the photographs.
    made = (place / "set.safetensors").read_bytes()
    for path in place.glob("*.*"):
        path.unlink()
    (tmp_path / "flowers").rename(tmp_path / "elsewhere")
    job = "condense:dataset=flowers,method=dc,network=ConvNet-width4,ipc=1,seed=0"
    node = ["--mode", "remote", "--target-jobs", job, "--nolock", "--cores", "1"]
    project.snakemake("--configfile", "mine.yaml", "small.yaml", *node)
    assert (place / "set.safetensors").read_bytes() == made
    (tmp_path / "elsewhere").rename(tmp_path / "flowers")
    assert project.planned(*command) == set()
