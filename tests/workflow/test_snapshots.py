"""Sets as they were along the way, by the real Snakemake."""

import pandas as pd
import torch
from pipeline import CONFIG, folder

from dclib import runner
from dclib.data import sources
from dclib.data.synthetic import SyntheticSet
from dclib.methods.dc.method import GradientMatching
from dclib.methods.dc.settings import Settings
from dclib.seeding import Streams

FIGURES = [f"results/figures/{name}.png" for name in ("accuracy_by_iteration", "snapshots")]
ROWS = "results/tables/evaluations.csv"


def test_snapshots_are_sets_of_their_own(project, tmp_path):
    whole = project.root / "results" / folder("digits", "dc")
    before = (whole / "set.safetensors").read_bytes(), (whole / "trace.csv").read_bytes()
    condensation = {**CONFIG["condensation"], "snapshots": [1, 2]}
    project.configure(datasets=["digits"], condensation=condensation)
    planned = project.planned(*FIGURES)
    places = [folder("digits", f"dc@{n}") for n in (1, 2)]
    sets = {("condense", f"{place}/set.safetensors") for place in places}
    assert {each for each in planned if each[0] == "condense"} == sets  # the finished one stays
    project.snakemake("--cores", "2", *FIGURES, ROWS)
    settings = Settings(iterations=2, real_batch=8)
    data = sources.read({"name": "digits", "source": "digits"})
    work = GradientMatching("ConvNet-width4", settings, data, 1, torch.device("cpu"))
    random = Streams("digits", "dc", "ConvNet-width4", "1", 0)
    expected, _ = runner.run(work, random, checkpoint=tmp_path / "checkpoint.safetensors")
    made = SyntheticSet.load(project.root / "results" / places[1] / "set.safetensors")
    torch.testing.assert_close(made.images, expected.images, rtol=0, atol=1e-5)
    rows = pd.read_csv(project.root / ROWS)
    assert rows.groupby("method").size().to_dict() == {
        "dc": 2, "dc@1": 2, "dc@2": 2, "random": 2, "whole": 1,
    }  # fmt: skip
    assert all((project.root / figure).stat().st_size > 5000 for figure in FIGURES)
    assert project.planned(*FIGURES, ROWS) == set()

    # A set that is not there yet goes on from its last snapshot, to the bytes of one go.
    for name in ("set.safetensors", "set.png", "trace.csv", "run.json", "state.safetensors"):
        (whole / name).unlink()
    project.snakemake("--cores", "1", f"results/{folder('digits', 'dc')}/set.safetensors")
    assert "going on from the checkpoint after iteration 2" in (whole / "set.log").read_text()
    assert before == ((whole / "set.safetensors").read_bytes(), (whole / "trace.csv").read_bytes())
    project.configure(datasets=["digits"])  # nothing asks for them any longer
    assert project.planned(f"results/{folder('digits', 'dc')}/set.safetensors") == set()
