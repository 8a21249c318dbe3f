"""Images that are held out, from an entry of the configuration to a table."""

import pandas as pd
from pipeline import folder

from dclib.data.datasets import ImageDataset

TABLES = [f"results/tables/{name}.csv" for name in ("table1", "evaluations")]


def test_an_accuracy_of_images_that_nothing_has_seen(project):
    held = {"name": "held", "source": "digits", "classes": [3, "8"], "validation": 0.2}
    change = {"methods": ["random"], "networks": ["ConvNet-width4"]}
    project.configure(datasets=["digits", held], **change)
    assert not [output for _, output in project.planned(*TABLES) if output.startswith("digits/")]
    project.snakemake("--cores", "2", *TABLES)
    root = project.root / "results"
    data = ImageDataset.load(root / "held/data.safetensors")
    assert data.class_names == ("3", "8")
    assert len(data.validation_labels) == round(0.2 * (147 + 140))
    rows = pd.read_csv(root / folder("held", "random") / "eval/ConvNet-width4.csv")
    assert list(rows)[2:4] == ["test_accuracy", "validation_accuracy"]
    assert "validation_accuracy" not in pd.read_csv(
        root / folder("digits", "random") / "eval/ConvNet-width4.csv"
    )
    every = pd.read_csv(project.root / TABLES[1])
    assert every.groupby("dataset")["validation_accuracy"].count().to_dict() == {
        "digits": 0, "held": 2,
    }  # fmt: skip
    table = pd.read_csv(project.root / TABLES[0]).set_index("dataset")
    mean = rows["validation_accuracy"].mean()
    assert abs(table.loc["held", "validation"] - mean) < 1e-3
    text = (root / "tables/table1.md").read_text()
    assert f"| {mean:.1f} " in text
    assert "images that are held out of the training" in text
    # A seed by which nothing is held out is no reason to do anything again.
    project.configure(datasets=[{"name": "digits", "split_seed": 3}, held], **change)
    assert project.planned(*TABLES) == set()
    project.configure(datasets=["digits", {**held, "split_seed": 3}], **change)
    again = {output.split("/")[0] for _, output in project.planned(*TABLES)}
    assert again == {"held", "tables"}
