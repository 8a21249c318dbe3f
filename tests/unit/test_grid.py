"""The configuration: cells, resolved settings, and one line for everything that is wrong."""

import copy

import pytest
import yaml
from conftest import ROOT

from dclib.errors import InputError
from dclib.networks import plans as networks
from dclib.pipeline.grid import Cell, Grid

SCHEMA = yaml.safe_load((ROOT / "schemas/config.schema.yaml").read_text())
CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text())


def grid(**change):
    return Grid({**copy.deepcopy(CONFIG), **change}, SCHEMA)


def test_the_papers_grid():
    cells = grid().cells()
    # random and dc by ipc and seed, three selections by ipc, and whole.
    assert len(cells) == 4 * (3 * 5 * 2 + 3 * 3 + 1) == len(set(cells))
    assert cells[0] == Cell("MNIST", "random", "ConvNet", "1", 0)
    assert Cell("CIFAR10", "whole", "ConvNet", "all", 0) in cells
    assert cells[0].folder == "MNIST/random/ConvNet/ipc-1/seed-0"
    made = grid()
    models = made.expected_models(made.evaluations())
    assert sum(models.values()) == 4 * (3 * 5 * 2 * 20 + 3 * 3 * 20 + 5)


def test_the_papers_other_tables():
    made = grid()
    table2 = {(cell.dataset, cell.network, cell.method, cell.ipc) for cell, _ in made.table2()}
    assert table2 == {
        (dataset, network, method, ipc)
        for dataset, network in (("MNIST", "LeNet"), ("CIFAR10", "AlexCifarNet"))
        for method in ("dd", "dc")
        for ipc in ("1", "10")
    }
    crossing = {(cell.network, network) for cell, network in made.cross_architecture()}
    assert len(crossing) == 36
    assert {tested for _, tested in crossing} == {
        "MLP", "ConvNet", "LeNet", "AlexNet", "VGG11", "ResNet18",
    }  # fmt: skip
    assert set(made.ablations()) == {"width", "depth", "activation", "norm", "pooling", "distance"}
    # The plain ConvNet is one cell for all of them, and for Table 1.
    assert all(
        any(cell == Cell("MNIST", "dc", "ConvNet", "1", 0) for cell, _ in evaluations)
        for evaluations in made.ablations().values()
    )


def test_variants_of_methods_have_settings_of_their_own():
    made = grid()
    cell = Cell("MNIST", "dc-mse", "MLP", "1", 0)
    plain = made.condensation(cell._replace(method="dc"))
    assert made.condensation(cell) == {**plain, "distance": "mse"}
    assert made.evaluation(cell, "ConvNet")["epochs"] == 1000  # what holds for dc holds for it
    overrides = {"dc": {"epochs": 5}, "dc-mse": {"epochs": 6}}
    section = {"networks": ["same"], "models": 1, "per_method": overrides}
    assert grid(evaluation=section).evaluation(cell, "MLP")["epochs"] == 6


def test_cells_without_meaning_are_refused():
    made = grid()
    for cell in (Cell("MNIST", "whole", "ConvNet", "10", 0), Cell("MNIST", "dc", "MLP", "all", 0)):
        with pytest.raises(InputError, match="`whole` has ipc all"):
            made.check(cell)
    with pytest.raises(InputError, match="network 'ConvNett' is not one of"):
        made.check(Cell("MNIST", "dc", "MLP", "1", 0), "ConvNett")
    with pytest.raises(InputError, match="'MNITS' is not in the config"):
        made.check(Cell("MNITS", "dc", "MLP", "1", 0))


def test_whole_is_trained_once_for_each_tested_network():
    section = {"networks": ["same", "LeNet"]}
    made = grid(datasets=["MNIST"], networks=["ConvNet", "MLP"], methods=["whole"],
                evaluation={**CONFIG["evaluation"], **section})  # fmt: skip
    assert [(cell.network, tested) for cell, tested in made.evaluations()] == [
        ("ConvNet", "ConvNet"), ("LeNet", "LeNet"), ("MLP", "MLP"),
    ]  # fmt: skip


def test_null_leaves_a_table_out():
    made = grid(table2=None, cross_architecture=None, ablations={"width": None})
    assert (made.table2(), made.cross_architecture(), made.ablations()) == ([], [], {})


def test_every_config_of_the_repository_is_valid():
    for path in (ROOT / "config").glob("*.yaml"):
        config = copy.deepcopy(CONFIG)
        merge(config, yaml.safe_load(path.read_text()))
        assert Grid(config, SCHEMA).cells()


def merge(config, overlay):
    for key, value in overlay.items():
        if isinstance(value, dict) and isinstance(config.get(key), dict):
            merge(config[key], value)
        else:
            config[key] = value


def test_every_key_is_described_and_closed():
    def walk(schema, path):
        if "$ref" in schema:
            return
        assert "description" in schema, path
        if schema.get("type") == "object" and "properties" in schema:
            assert schema["additionalProperties"] is False, path
        for key, value in schema.get("properties", {}).items():
            walk(value, f"{path}.{key}")
        if "items" in schema:
            walk(schema["items"], f"{path}[]")

    walk(SCHEMA, "config")
    for name, schema in SCHEMA["$defs"].items():
        walk(schema, name)


def test_network_names_of_the_schema_are_those_of_the_library():
    assert sorted(SCHEMA["$defs"]["network"]["examples"]) == sorted(networks.NAMES)


def test_overrides_are_applied_in_order():
    section = {
        "iterations": 100,
        "lr_img": 0.1,
        "per_dataset": {"MNIST": {"lr_img": 0.2, "per_ipc": {10: {"lr_img": 0.3}}}},
        "per_network": {"MLP": {"lr_img": 0.4}},
        "per_ipc": {"50": {"iterations": 7}},
    }
    made = grid(condensation={"dc": section, "dd": {}}, ablations=None)

    def resolved(dataset, network, ipc):
        return made.condensation(Cell(dataset, "dc", network, ipc, 0))

    assert resolved("SVHN", "ConvNet", "1") == {"iterations": 100, "lr_img": 0.1}
    assert resolved("MNIST", "ConvNet", "1")["lr_img"] == 0.2
    assert resolved("MNIST", "ConvNet", "10")["lr_img"] == 0.3
    assert resolved("MNIST", "MLP", "10")["lr_img"] == 0.4
    assert resolved("SVHN", "MLP", "1")["lr_img"] == 0.4
    assert resolved("SVHN", "ConvNet", "50") == {"iterations": 7, "lr_img": 0.1}


def test_the_papers_evaluation_rules():
    made = grid()

    def rule(dataset, method, network, ipc):
        settings = made.evaluation(Cell(dataset, method, network, ipc, 0), network)
        return settings["epochs"], settings["augmentation"]

    spatial = ["crop", "scale", "rotate"]
    assert rule("MNIST", "dc", "ConvNet", "1") == (1000, spatial)
    assert rule("MNIST", "random", "ConvNet", "1") == (300, [])
    assert rule("CIFAR10", "dc", "ConvNet", "10") == (300, [])
    assert rule("CIFAR10", "dc", "AlexCifarNet", "10") == (1000, spatial)
    assert rule("CIFAR10", "dc", "AlexCifarNet", "1") == (300, [])
    # What is said of a ConvNet with an option holds for every ConvNet that has it among others.
    for name in ("ConvNet-batchnorm", "ConvNet-width64-batchnorm", "ConvNet-batchnorm-depth2"):
        for dataset in ("CIFAR10", "MNIST"):
            assert rule(dataset, "dc", name, "1") == (1000, ["crop", "noise"])
    assert rule("CIFAR10", "dc", "ConvNet-width64", "1") == (300, [])
    assert "networks" not in made.evaluation(made.cells()[0], "ConvNet")


def test_same_is_the_instance_norm_twin():
    made = grid(networks=["VGG11BN", "ResNet18BN_AP", "ConvNet-batchnorm"], methods=["dc"],
                seeds=[0], images_per_class=[1], datasets=["MNIST"])  # fmt: skip
    pairs = {cell.network: network for cell, network in made.evaluations()}
    assert pairs == {
        "VGG11BN": "VGG11",
        "ResNet18BN_AP": "ResNet18",
        "ConvNet-batchnorm": "ConvNet-batchnorm",
    }


def test_own_data_sets():
    own = {"name": "pets", "source": "folder", "path": "pets/", "image_size": 32}
    made = grid(datasets=["digits", own])
    assert made.datasets == ["digits", "pets"]
    assert made.dataset("digits") == {"name": "digits", "source": "digits"}
    assert made.dataset("pets") == own
    with pytest.raises(InputError, match=r"'petz' is not in the config.*did you mean 'pets'"):
        made.dataset("petz")


def test_settings_do_not_depend_on_the_order_in_which_they_are_written_down():
    """Snakemake compares them as text."""
    made, turned = grid(), grid(evaluation=dict(reversed(CONFIG["evaluation"].items())))
    cell = made.cells()[0]
    assert repr(made.evaluation(cell, "MLP")) == repr(turned.evaluation(cell, "MLP"))
