"""The configuration: cells, resolved settings, and one line for everything that is wrong."""

import copy

import pytest
import yaml
from conftest import ROOT

from dclib import networks
from dclib.errors import InputError
from dclib.grid import Cell, Grid

SCHEMA = yaml.safe_load((ROOT / "schemas/config.schema.yaml").read_text())
CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text())


def grid(**change):
    return Grid({**copy.deepcopy(CONFIG), **change}, SCHEMA)


def changed(path, value):
    """The config with one value changed, addressed as in 'condensation.dc.lr_img'."""
    config = copy.deepcopy(CONFIG)
    *folders, last = path.split(".")
    place = config
    for folder in folders:
        place = place.setdefault(folder, {})
    place[last] = value
    return config


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
    config = changed("evaluation.per_method", {"dc": {"epochs": 5}, "dc-mse": {"epochs": 6}})
    del config["evaluation"]["per_dataset"]
    assert Grid(config, SCHEMA).evaluation(cell, "MLP")["epochs"] == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": ["dd"], "networks": ["VGG11BN"]}, "takes no network with BatchNorm"),
        ({"methods": ["dd"], "networks": ["ConvNet-batchnorm"]}, "takes no network with BatchNorm"),
        ({"images_per_class": [1, 5001]}, "the smallest class of 'SVHN' has 4659"),
        ({"methods": ["dc-msee"]}, "did you mean 'dc-mse'?"),
        ({"methods": ["herdin"]}, "did you mean 'herding'?"),
        (
            {"table2": [{"datasets": ["MNIST"]}]},
            "config key 'table2[0].images_per_class' is missing",
        ),
        ({"ablations": {"w": {"networks": []}}}, "config key 'ablations.w"),
        ({"cross_architecture": {"dataset": ["MNIST"]}}, "config key 'cross_architecture"),
    ],
)
def test_what_has_no_meaning_is_refused(change, message):
    with pytest.raises(InputError) as raised:
        grid(**change)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


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


WRONG = {
    "condensation.dc.lr_imgs": (0.1, "is unknown (did you mean 'lr_img'?)"),
    "seed": ([1], "config key 'seed' is unknown (did you mean 'seeds'?)"),
    "evaluation.per_methods": ({}, "did you mean 'per_method'"),
    "condensation.dsa": ({}, "config key 'condensation.dsa' is unknown"),
    "condensation.dc.lr_img": ("1e-3", "this is text; in YAML write numbers"),
    "condensation.dc.lr_net": (0, "0 is not allowed; allowed: number, above 0"),
    "condensation.dc.iterations": (-5, "-5 is not allowed; allowed: integer, at least 1"),
    "condensation.dc.momentum_img": (1, "1 is not allowed; allowed: number, at least 0, below 1"),
    "condensation.dc.distance": ("coz", "(did you mean 'cos'?); allowed: one of ours, mse, cos"),
    "condensation.dc.real_batch": (True, "true is not allowed; allowed: integer"),
    "condensation.dc.per_ipc": ({"ten": {}}, "condensation.dc.per_ipc.ten"),
    "condensation.dc.per_dataset": ({"MNITS": {}}, "did you mean 'MNIST'"),
    "evaluation.per_method": ({"dcc": {}}, "nothing is called 'dcc'"),
    "evaluation.per_network": ({"ConvNett": {}}, "(did you mean 'ConvNet'?)"),
    "evaluation.per_dataset.MNIST.networks": (["MLP"], "is unknown"),
    "evaluation.batch": (2.0, "2.0 is not allowed; allowed: integer"),
    "evaluation.models": (0, "allowed: integer, at least 1"),
    "evaluation.augmentation": (["flip"], "one of crop, scale, rotate, noise"),
    "evaluation.networks": ([], "at least 1 entries"),
    "evaluation.epochs": (None, "null is not allowed"),
    "datasets": (["MNITS"], "\"MNITS\" is not allowed (did you mean 'MNIST'"),
    "methods": (["dc", "dc"], "no entry twice"),
    "networks": (["ConvNet-widht64"], "config key 'networks[0]'"),
    "seeds": ([0, -1], "config key 'seeds[1]': -1 is not allowed"),
    "images_per_class": ("1", "allowed: array"),
    "results_dir": ("", "config key 'results_dir'"),
    "execution.device": ("gpu", "auto, cpu, cuda or cuda:N"),
    "resources.condense.mem_mb": ("8GB", "allowed: integer"),
}  # fmt: skip


@pytest.mark.parametrize("path", WRONG)
def test_wrong_configs_get_one_line(path):
    value, message = WRONG[path]
    with pytest.raises(InputError) as raised:
        Grid(changed(path, value), SCHEMA)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert path.split(".")[-1] in str(raised.value)


@pytest.mark.parametrize(
    ("datasets", "message"),
    [
        (["MNIST", {"name": "MNIST", "source": "digits"}], "two data sets are called 'MNIST'"),
        ([{"source": "folder"}], "config key 'datasets[0].name' is missing"),
        ([{"name": "../../etc", "source": "digits"}], "of letters, digits, '_' and '-'"),
        ([{"name": "MNIST", "pth": "x"}], "did you mean 'path'"),
        ([{"name": "a", "source": "zip"}], "config key 'datasets[0].source'"),
        ([{"name": "a", "source": "npz"}], "config key 'datasets[0].path' is missing"),
        ([{"name": "a", "source": "digits", "path": "x"}], "'path' goes with source folder"),
        ([{"name": "a", "image_size": 8}], "without a source is one of the public ones"),
        ([{"name": "MNIST", "image_size": 0}], "at least 4"),
        ([{"name": "MNIST", "std": [0]}], "above 0"),
    ],
)
def test_wrong_data_sets_get_one_line(datasets, message):
    with pytest.raises(InputError) as raised:
        grid(datasets=datasets)
    assert message in str(raised.value)


def test_missing_keys_are_named():
    config = copy.deepcopy(CONFIG)
    del config["seeds"]
    with pytest.raises(InputError, match="config key 'seeds' is missing"):
        Grid(config, SCHEMA)


def test_settings_do_not_depend_on_the_order_in_which_they_are_written_down():
    """Snakemake compares them as text."""
    made, turned = grid(), grid(evaluation=dict(reversed(CONFIG["evaluation"].items())))
    cell = made.cells()[0]
    assert repr(made.evaluation(cell, "MLP")) == repr(turned.evaluation(cell, "MLP"))
