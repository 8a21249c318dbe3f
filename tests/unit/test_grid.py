"""The configuration: cells, resolved settings, and one line for everything that is wrong."""

import copy
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from dclib import files
from dclib.errors import InputError
from dclib.pipeline import settings, start
from dclib.pipeline.grid import Grid
from dclib.pipeline.paths import Cell, Trained

CONFIG = settings.load([ROOT / "config.yaml"])
NO_TABLES = {"table2": None, "cross_architecture": None, "ablations": None}


def grid(**change):
    """The paper's grid with some keys changed, as an overlay on it."""
    return Grid({**copy.deepcopy(CONFIG), **change}, base=CONFIG)


def test_the_papers_grid():
    cells = grid().cells()
    # random, dc, dsa, dm and idc by ipc and seed, three selections by ipc, and whole.
    assert len(cells) == 4 * (4 * 5 * 5 + 3 * 4 + 1) == len(set(cells))
    assert cells[0] == Cell("MNIST", "random", "ConvNet", "1", 0)
    assert Cell("CIFAR10", "whole", "ConvNet", "all", 0) in cells
    assert cells[0].folder == "MNIST/random/ConvNet/ipc-1/seed-0"
    made = grid()
    models = made.expected_models(made.evaluations())
    # dsa, dm and idc under their own protocols as well, and random under each of these
    assert sum(models.values()) == 4 * (4 * 5 * (3 + 1 + 3 * 2) * 20 + 3 * 4 * 20 + 5)


def test_sets_of_others_of_which_no_seed_has_one():
    for methods in (["random", "theirs"], ["theirs", "dc"]):
        told = {"theirs": {"file": "x.pt", "experiments": 5}}
        change = {"methods": methods, "imported": told, **NO_TABLES, "overrides": {}}
        assert len(grid(seeds=[7, 4], **change).cells()) == 4 * 4 * (2 + 1)
        message = "'imported.theirs.experiments': 5 sets are those of seeds 0 to 4, and seeds are 7"
        with pytest.raises(InputError, match=message):
            grid(seeds=[7, 5], **change)


def test_the_papers_other_tables():
    made = grid()
    table2 = {(cell.dataset, cell.network, cell.method, cell.ipc) for cell, _ in made.table2()}
    assert table2 == {
        (dataset, network, method, ipc)
        for dataset, network in (("MNIST", "LeNet"), ("CIFAR10", "AlexCifarNet"))
        for method in ("dd", "dc")
        for ipc in ("1", "10")
    }
    # Each method by its own protocol, and what is shared is one evaluation.
    assert {(cell.method, tested.protocol) for cell, tested in made.table2()} == {
        ("dd", "dd"), ("dc", "dc"),
    }  # fmt: skip
    crossing = {(cell.network, tested) for cell, tested in made.cross_architecture()}
    assert len(crossing) == 36
    assert {tested.network for _, tested in crossing} == {
        "MLP", "ConvNet", "LeNet", "AlexNet", "VGG11", "ResNet18",
    }  # fmt: skip
    assert set(made.ablations()) == {"width", "depth", "activation", "norm", "pooling", "distance"}
    # The plain ConvNet is one cell for all of them, and for Table 1.
    assert all(
        any(cell == Cell("MNIST", "dc", "ConvNet", "1", 0) for cell, _ in evaluations)
        for evaluations in made.ablations().values()
    )


def test_what_sections_share_is_one_evaluation():
    base = {"datasets": ["MNIST"], "networks": ["LeNet"], "methods": ["dc"]}
    made = grid(table2=[{**base, "images_per_class": [1]}, {**base, "images_per_class": [1, 10]}])
    assert len(made.table2()) == len(set(made.table2())) == 2 * 5
    assert set(made.expected_models(made.table2()).values()) == {5 * 20}


def test_there_are_snapshots_of_the_main_grid_alone():
    made = grid(condensation={**CONFIG["condensation"], "snapshots": [10, 100]})
    cell = Cell("MNIST", "dc", "ConvNet", "1", 0)
    assert made.before(cell) == [cell.after(10), cell.after(100)]
    assert made.before(cell.after(100)) == [cell.after(10)]
    of_ablation = next(e for e, _ in made.ablations()["width"] if e.network != "ConvNet")
    assert made.before(of_ablation) == []


def test_variants_of_methods_have_settings_of_their_own():
    made = grid()
    cell = Cell("MNIST", "dc-mse", "MLP", "1", 0)
    plain = made.condensation(cell._replace(method="dc"))
    assert made.condensation(cell) == {**plain, "distance": "mse"}
    section = {
        "method=dc": {"evaluation": {"epochs": 5}, "dc": {"lr_img": 2, "distance": "cos"}},
        "method=dc-mse": {"evaluation": {"epochs": 6}, "dc": {"lr_net": 4}},
        "ipc=1": {"dc-mse": {"lr_img": 3}},
    }
    made = grid(overrides=section)
    assert made.evaluation(cell, Trained("MLP"))["epochs"] == 6
    # What is said of the variant wins over what is said of its method, wherever it is said.
    assert made.condensation(cell) == {
        **grid(overrides=None).condensation(cell), "lr_img": 3, "lr_net": 4,
    }  # fmt: skip
    assert made.condensation(cell._replace(method="dc-cos"))["lr_net"] == 0.01


def test_cells_without_meaning_are_refused():
    made = grid()
    with pytest.raises(InputError, match=r"method 'hering' is not one of .*\(did you mean"):
        made.check(Cell("MNIST", "hering", "MLP", "1", 0))
    for cell in (Cell("MNIST", "whole", "ConvNet", "10", 0), Cell("MNIST", "dc", "MLP", "all", 0)):
        with pytest.raises(InputError, match="`whole` has ipc all"):
            made.check(cell)
    with pytest.raises(InputError, match="network 'ConvNett' is not one of"):
        made.check(Cell("MNIST", "dc", "MLP", "1", 0), Trained("ConvNett"))
    with pytest.raises(InputError, match="'MNITS' is not in the config"):
        made.check(Cell("MNITS", "dc", "MLP", "1", 0))


def test_whole_is_trained_once_for_each_tested_network():
    section = {"networks": ["same", "LeNet"]}
    made = grid(datasets=["MNIST"], networks=["ConvNet", "MLP"], methods=["whole"],
                evaluation={**CONFIG["evaluation"], **section})  # fmt: skip
    assert [(cell.network, tested.network) for cell, tested in made.evaluations()] == [
        ("ConvNet", "ConvNet"), ("LeNet", "LeNet"), ("MLP", "MLP"),
    ]  # fmt: skip


def test_the_usual_protocol_is_in_no_file_name():
    plan, _ = start.plan(ROOT, [], {}, look=False)
    cell = {**Cell("MNIST", "dc", "ConvNet", "1", 0)._asdict(), "seed": "0"}
    made = plan.job("evaluate", {**cell, "eval_network": "ConvNet.dsa"})
    assert made.files.outputs["rows"].endswith("/eval/ConvNet.dsa.csv")
    with pytest.raises(InputError, match=r"files of 'ConvNet\.dc' are called 'ConvNet'"):
        plan.job("evaluate", {**cell, "eval_network": "ConvNet.dc"})


def test_a_job_of_a_cluster_needs_no_original_files(tmp_path, monkeypatch):
    """They may be where the run was begun alone; their records say what was in them."""
    login = tmp_path / "login"
    login.mkdir()
    arrays = {f"{split}_images": np.zeros((4, 8, 8), np.uint8) for split in ("train", "test")}
    labels = {f"{split}_labels": np.arange(4) % 2 for split in ("train", "test")}
    np.savez(login / "own.npz", **arrays, **labels)
    (login / "set.npz").write_bytes(b"somebody's")
    more = {
        "datasets": [{"name": "own", "source": "npz", "path": str(login / "own.npz")}],
        "methods": ["dc", "theirs"], "images_per_class": [1], "seeds": [0],
        "imported": {"theirs": {"file": str(login / "set.npz")}},
        "results_dir": str(tmp_path / "results"), **NO_TABLES,
    }  # fmt: skip
    main, _ = start.plan(ROOT, [], more)
    jobs = {job.files.record: job for job in main.of_grid()}
    for record, job in jobs.items():
        if job.rule in ("prepare", "import_set"):
            files.write_json(record, {"made_from": job.mark})
    login.rename(tmp_path / "elsewhere")
    worker, _ = start.plan(ROOT, [], more, look=False, trusting=True)
    assert {job.files.record: job for job in worker.of_grid()} == jobs
    cell = {**Cell("own", "dc", "ConvNet", "1", 0)._asdict(), "seed": "0"}
    assert worker.job("condense", cell) == main.job("condense", cell)
    for record, missing in (("prepare", "own.npz"), ("import_set", "set.npz")):
        (made,) = (path for path, job in jobs.items() if job.rule == record)
        Path(made).unlink()
        with pytest.raises(InputError, match=missing):
            [*start.plan(ROOT, [], more, look=False, trusting=True)[0].of_grid()]
        files.write_json(made, {"made_from": jobs[made].mark})


def test_what_overrides_say_of_any_seed_is_looked_at():
    told = {"seed=1": {"dc": {"factor": 7}}}
    change = {"datasets": ["digits"], "methods": ["dc"], "images_per_class": [1], **NO_TABLES}
    assert grid(**change, seeds=[0], overrides={}).cells()
    with pytest.raises(InputError, match="factor 7 leaves no image"):
        grid(**change, seeds=[0, 1], overrides=told)


def test_null_leaves_a_table_out():
    made = grid(table2=None, cross_architecture=None, ablations={"width": None})
    assert (made.table2(), made.cross_architecture(), made.ablations()) == ([], [], {})


def test_every_config_of_the_repository_is_valid():
    for path in (ROOT / "config").glob("*.yaml"):
        config = settings.load([ROOT / "config.yaml", path])
        assert Grid(config, base=CONFIG).cells()


def test_more_conditions_win_and_then_the_later_one():
    made = grid(
        **NO_TABLES,
        networks=["MLP", "ConvNet-width64"],
        overrides={
            "dataset=MNIST ipc=10 method=dc": {"dc": {"lr_img": 0.3}},
            "network=MLP": {"dc": {"lr_img": 0.4}},
            "dataset=MNIST network=ConvNet": {"dc": {"lr_img": 0.5, "lr_net": 0.5}},
            "dataset=MNIST": {"dc": {"lr_img": 0.2}},
            "network=MLP dataset=MNIST": {"dc": {"lr_img": 0.6}},
            "dataset=MNIST network=ConvNet-width64": {"dc": {"lr_net": 0.7}},
            "seed=4": {"dc": {"real_batch": 9}},
        },
    )

    def resolved(dataset, network, ipc, seed=0):
        settings = made.condensation(Cell(dataset, "dc", network, ipc, seed))
        return settings["lr_img"], settings["lr_net"], settings["real_batch"]

    assert resolved("SVHN", "ConvNet-width64", "1") == (0.1, 0.01, 256)
    assert resolved("SVHN", "MLP", "10", 4) == (0.4, 0.01, 9)
    assert resolved("MNIST", "MLP", "1") == (0.6, 0.01, 256)
    assert resolved("MNIST", "MLP", "10") == (0.3, 0.01, 256)
    assert resolved("MNIST", "ConvNet-width64", "15") == (0.5, 0.7, 256)
    assert resolved("MNIST", "ConvNet-width64", "10") == (0.3, 0.7, 256)


def test_a_data_set_and_method_together_win_over_the_method():
    whole = {"method=whole dataset=MNIST": {"evaluation": {"models": 2}}, **CONFIG["overrides"]}
    made = grid(overrides=whole)
    models = {
        cell.dataset: made.evaluation(cell, tested)["models"]
        for cell, tested in made.evaluations()
        if cell.method == "whole"
    }
    assert models == {"MNIST": 2, "FashionMNIST": 5, "SVHN": 5, "CIFAR10": 5}


def test_the_condensing_and_the_tested_network_are_two_axes():
    made = grid(
        overrides={
            "network=MLP": {"evaluation": {"epochs": 7}},
            "tested=MLP": {"evaluation": {"batch": 8}},
        }
    )
    crossing = {
        (cell.network, tested.network): made.evaluation(cell, tested)
        for cell, tested in made.cross_architecture()
    }
    for (network, tested), found in crossing.items():
        assert (found["epochs"] == 7) == (network == "MLP")
        assert (found["batch"] == 8) == (tested == "MLP")


def test_reference_networks_have_settings_by_data_set_and_network():
    made = grid(overrides={"dataset=SVHN": {"reference_network": {"epochs": 3}}})
    assert made.reference("MNIST", "ConvNet")["epochs"] == 20
    assert made.reference("SVHN", "ConvNet") == {
        **made.reference("MNIST", "ConvNet"), "epochs": 3,
    }  # fmt: skip


def test_a_teacher_that_labels_is_a_reference_network_of_the_tested_one():
    taught = {
        "evaluation": {"networks": ["MLP"], "protocols": ["dc", "taught"]},
        "protocols": {"taught": {"labels": "teacher"}},
        "methods": ["random"],
        "networks": ["ConvNet"],
        **NO_TABLES,
    }
    told = {"network=MLP": {"reference_network": {"epochs": 3}}}
    imported = {"teacher": {"file": "x.pt"}}  # a name as any other
    for more in ({}, {"imported": imported, "methods": ["random", "teacher"]}):
        made = grid(**taught | more, overrides=told)
        assert made.reference("MNIST", "MLP")["epochs"] == 3
    with pytest.raises(InputError, match="has network 'LeNet'; there are ConvNet, MLP"):
        grid(**taught, overrides={"network=LeNet": told["network=MLP"]})
    with pytest.raises(InputError, match="no cell that fits its conditions uses 'reference_netw"):
        grid(**taught | {"evaluation": {}}, overrides={"network=ConvNet": told["network=MLP"]})


def test_images_that_are_too_large_are_not_whitened():
    large = {"datasets": [{"name": "MNIST", "image_size": 200}], "networks": ["ConvNet"]}
    with pytest.raises(InputError, match="images of 'MNIST' are too large to be whitened: 1 x 200"):
        grid(**large, evaluation={"space": "whitened"}, methods=["random"], **NO_TABLES)


def test_mtt_whitens_where_its_authors_do():
    made = grid(evaluation={"protocols": ["mtt"]}, methods=["random"], **NO_TABLES)
    spaces = {
        (cell.dataset, cell.ipc): made.evaluation(cell, how)["space"]
        for cell, how in made.evaluations()
    }
    assert spaces["CIFAR10", "1"] == spaces["CIFAR10", "10"] == "whitened"
    assert spaces["CIFAR10", "15"] == spaces["MNIST", "1"] == spaces["SVHN", "10"] == "normalised"


def test_overrides_of_the_base_need_not_fit_the_grid_of_an_overlay():
    small = {"datasets": ["digits"], "networks": ["MLP"], "methods": ["random"], **NO_TABLES}
    assert grid(**small).cells()
    for overrides in (
        {**CONFIG["overrides"], "network=MLP": {"dc": {"lr_img": 0.02}}},  # no cell uses dc
        {**CONFIG["overrides"], "dataset=MNIST": {"evaluation": {"epochs": 2}}},
    ):
        with pytest.raises(InputError, match="no cell "):
            grid(**small, overrides=overrides)
    with pytest.raises(InputError, match="no cell "):
        Grid({**CONFIG, **small})  # nothing that it would be an overlay on
    taken_back = {**CONFIG["overrides"], "method=whole": None}
    made, cell = grid(overrides=taken_back), Cell("MNIST", "whole", "ConvNet", "all", 0)
    assert made.evaluation(cell, Trained("ConvNet"))["models"] == 20


def test_defaults_are_those_of_the_classes_and_are_filled_in():
    made = grid(resources={"condense": {"mem_mb": 5}}, evaluation={"epochs": 9})
    assert made.config["resources"]["condense"] == {"mem_mb": 5, "runtime": 720}
    assert made.config["resources"]["select"] == {"mem_mb": 8000, "runtime": 60}
    assert made.config["evaluation"]["networks"] == ["same"]
    assert made.config["condensation"]["dc"]["iterations"] == 1000
    assert made.config["condensation"]["dc-mse"] == {"distance": "mse"}
    assert made.config["execution"]["threads"] == 1
    assert made.condensation(made.cells()[0]) == {}  # a selection
    # Whether a number is written with a point or not, it is the same setting.
    one, other = (grid(condensation={"dc": {"lr_img": value}}, overrides=None, **NO_TABLES)
                  for value in (1, "1.0"))  # fmt: skip
    cell = Cell("MNIST", "dc", "ConvNet", "1", 0)
    assert repr(one.condensation(cell)) == repr(other.condensation(cell))


def test_the_protocols_by_data_set_and_network():
    """Numbers of the papers, whatever is trained: what is compared is trained alike."""
    made = grid(datasets=["MNIST", "SVHN", "CIFAR10", {"name": "mine", "source": "MNIST"}])

    def rule(dataset, network="ConvNet", ipc="1", protocol="dc", method="dc"):
        cell = Cell(dataset, method, network, ipc, 0)
        return made.evaluation(cell, Trained(network, protocol))

    def short(*point, **more):
        found = rule(*point, **more)
        return found["epochs"], found["augmentation"]

    spatial = ["crop", "scale", "rotate"]
    for method in ("dc", "random", "kcenter"):
        assert short("MNIST", method=method) == (1000, spatial)
        assert short("mine", method=method) == (1000, spatial)  # whatever it is called
        assert short("CIFAR10", "ConvNet", "10", method=method) == (300, [])
        assert short("CIFAR10", "AlexCifarNet", "10", method=method) == (1000, spatial)
        assert short("CIFAR10", "AlexCifarNet", "1", method=method) == (300, [])
    # What is said of a ConvNet with an option holds for every ConvNet that has it among others.
    for name in ("ConvNet-batchnorm", "ConvNet-width64-batchnorm", "ConvNet-batchnorm-depth2"):
        for dataset in ("CIFAR10", "MNIST"):
            assert short(dataset, name) == (1000, ["crop", "noise"])
    assert short("CIFAR10", "ConvNet-width64") == (300, [])
    assert "networks" not in rule("MNIST")

    siamese = ["color", "crop", "cutout", "flip", "scale", "rotate"]
    turned = [kind for kind in siamese if kind != "flip"]
    for protocol in ("dsa", "mtt", "dcbench-dsa"):
        for dataset, kinds in (("MNIST", turned), ("SVHN", turned), ("CIFAR10", siamese)):
            found = rule(dataset, protocol=protocol)
            assert (found["epochs"], found["augmentation"]) == (1000, kinds)
            assert (found["augmentation_way"], found["own_lr"]) == ("dsa", protocol == "mtt")
            assert found["models"] == (5 if protocol == "dcbench-dsa" else 20)
    found = rule("CIFAR10", protocol="idc")
    assert found["augmentation"] == ["color", "crop", "flip", "scale", "rotate"]
    assert (found["batch"], found["cutmix"], found["lr_drop_factor"]) == (64, 0.5, 0.2)
    assert [int(1000 * part) for part in found["lr_drops"]] == [666, 833]
    assert rule("SVHN", ipc="10", protocol="idc")["augmentation"] == [
        "color",
        "crop",
        "scale",
        "rotate",
    ]
    mixed = {name: rule(name, protocol="idc")["cutmix"] for name in ("MNIST", "SVHN", "CIFAR10")}
    assert mixed == {"MNIST": 0.0, "SVHN": 0.5, "CIFAR10": 0.5}
    assert "flip" not in rule("MNIST", protocol="idc")["augmentation"]
    assert short("CIFAR10", protocol="dcbench-none") == (300, [])
    for kind in ("autoaugment", "randaugment", "imagenet", "cifar"):
        assert short("CIFAR10", protocol=f"dcbench-{kind}") == (1000, [kind])


def test_what_a_configuration_says_wins_over_a_protocol():
    """A known protocol, then `evaluation`, then a protocol of one's own, then overrides."""
    mine = {"like": "dsa", "epochs": 7, "lr": 0.5, "batch": 9}
    made = grid(
        **NO_TABLES,
        evaluation={"protocols": ["dc", "mine"], "epochs": 6, "momentum": 0.1, "batch": 8},
        protocols={"mine": mine},
        overrides={
            "protocol=mine": {"evaluation": {"lr": 0.6}},
            "dataset=MNIST": {"evaluation": {"momentum": 0.2}},
        },
    )
    own, usual = (
        made.evaluation(Cell("MNIST", "dc", "ConvNet", "1", 0), Trained("ConvNet", name))
        for name in ("mine", "dc")
    )
    names = ("epochs", "batch", "lr", "momentum", "augmentation_way", "weight_decay")
    assert [own[name] for name in names] == [7, 9, 0.6, 0.2, "dsa", 5e-4]
    assert [usual[name] for name in names] == [6, 8, 0.01, 0.2, "dc", 5e-4]
    assert own["augmentation"] == ["color", "crop", "cutout", "scale", "rotate"]
    assert {tested.protocol for _, tested in made.evaluations()} == {"dc", "mine"}
    counts = made.expected_models(made.evaluations())
    assert counts["MNIST/dc/ConvNet/1/ConvNet/mine"] == counts["MNIST/dc/ConvNet/1/ConvNet/dc"]


def test_what_a_configuration_changes_of_a_protocol_is_told():
    made = grid(
        **NO_TABLES,
        evaluation={"protocols": ["dc", "dsa", "mine"], "models": 3},
        protocols={"mine": {"lr": 1}},
        overrides={"dataset=MNIST protocol=dsa": {"evaluation": {"epochs": 9, "lr": 0.01}}},
    )
    assert made.changed(made.evaluations()) == {"dsa": ["epochs"]}
    assert grid().changed(grid().evaluations()) == {}


def test_own_and_groups_stand_for_other_protocols():
    made = grid(**NO_TABLES, networks=["LeNet"], methods=["dd", "random", "whole"],
                evaluation={"protocols": ["own", "dc"]})  # fmt: skip
    assert {(cell.method, tested.protocol) for cell, tested in made.evaluations()} == {
        ("dd", "dd"), ("dd", "dc"), ("random", "dc"), ("whole", "dc"),
    }  # fmt: skip
    bench = grid(**NO_TABLES, evaluation={"protocols": ["dcbench"]}, datasets=["CIFAR10"])
    assert {tested.protocol.partition("-")[2] for _, tested in bench.evaluations()} == {
        "none", "dsa", "autoaugment", "randaugment", "imagenet", "cifar",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (
            {"evaluation": {"protocols": ["dsaa"]}},
            r"evaluation.protocols': protocol 'dsaa' is neither known nor in 'protocols'.*"
            r"\(did you mean 'dsa'\?\)",
        ),
        (
            {"evaluation": {"protocols": ["dd"]}},
            "evaluation.protocols': protocol 'dd' trains by what a set was learnt for, and the "
            "sets of method 'random' say nothing of that",
        ),
        (
            {"table2": [{**CONFIG["table2"][0], "protocols": ["x"]}]},
            r"'table2\[0\].protocols': protocol 'x' is",
        ),
        (
            {"protocols": {"dsa": {"epochs": 3}}},
            "protocols.dsa': there is a protocol of this name; what differs from it is an override",
        ),
        (
            {"protocols": {"mine": {"like": "dssa"}}},
            r"protocols.mine.like': \"dssa\" is not allowed \(did you mean 'dsa'\?\); "
            "allowed: one of dc, dsa, idc, mtt, dd",
        ),
        ({"protocols": {"mine": {"epoch": 3}}}, "protocols.mine.epoch' is unknown"),
        ({"protocols": {"Mine": {}}}, 'protocols\': "Mine" is not allowed'),
        ({"protocols": {"curve": {}}}, 'protocols\': "curve" is not allowed'),
        (
            {"evaluation": {"augmentation": ["flip"]}},
            "'evaluation': augmentation 'flip' is none of augmentation_way 'dc': crop, scale, "
            "rotate, noise",
        ),
        (
            {"evaluation": {"protocol": "own"}},
            r"'evaluation.protocol' is now written as {evaluation: {protocols: \[own\]}} where it "
            "was `own`",
        ),
    ],
)
def test_protocols_that_cannot_be_are_refused(change, fault):
    def plan():
        made = grid(**{**NO_TABLES, **change})
        return [made.evaluation(*each) for each in made.evaluations()]

    with pytest.raises(InputError, match=fault) as raised:
        plan()
    assert "\n" not in str(raised.value)


def test_random_stands_beside_every_protocol_of_authors():
    """Not beside dd's, which needs the steps that a set was learnt for."""

    def found(method, **change):
        made = grid(**NO_TABLES, datasets=["MNIST"], images_per_class=[1], **change)
        return [how.protocol for cell, how in made.evaluations() if cell.method == method]

    own = {"protocols": ["own"]}
    methods = ["random", "herding", "dd", "idc", "dm", "whole"]
    change = {"methods": methods, "networks": ["LeNet"], "seeds": [0], "evaluation": own}
    assert sorted(found("random", **change)) == ["dc", "dsa", "idc"]
    assert [found(each, **change) for each in methods[1:]] == [
        ["dc"], ["dd"], ["idc"], ["dsa"], ["dc"],
    ]  # fmt: skip
    theirs = {
        "imported": {"theirs": {"file": "x.pt", "protocol": "long"}},
        "protocols": {"long": {"epochs": 3}},
        "methods": ["theirs", "random"], "seeds": [0],
    }  # fmt: skip
    for protocols, wanted in ((["own"], ["long"]), (["dsa", "own"], ["dsa", "long"])):
        assert found("random", **theirs, evaluation={"protocols": protocols}) == wanted
    assert found("random", **theirs, evaluation={"protocols": ["dsa"]}) == ["dsa"]
    for alone in (["random"], ["dd", "random"]):
        assert found("random", **change | {"methods": alone}) == ["dc"]


def test_what_authors_set_for_a_data_set_or_a_network_needs_no_word():
    made = grid(
        **NO_TABLES,
        datasets=["MNIST", {"name": "mine", "source": "CIFAR10"}],
        condensation={"dc-mse": {"distance": "mse"}},
    )

    def told(dataset, method, network, ipc, *names):
        settings = made.condensation(Cell(dataset, method, network, str(ipc), 0))
        return [settings[name] for name in names]

    for ipc, lr in ((50, 1.0), (99, 1.0), (100, 10.0), (150, 10.0), (1250, 10.0)):
        assert told("mine", "dm", "ConvNet", ipc, "lr_img") == [lr]
        assert told("MNIST", "dm", "ConvNet", ipc, "lr_img") == [1.0]
    for method in ("dc", "dc-mse", "dsa"):
        assert told("MNIST", method, "MLP", 1, "lr_img") == [0.01]
        assert told("MNIST", method, "LeNet", 1, "lr_img") == [0.1]
    of_dd = ("iterations", "lr_net", "augment_real")
    assert told("mine", "dd", "AlexCifarNet", 1, *of_dd) == [19600, 0.001, True]
    assert told("MNIST", "dd", "LeNet", 1, *of_dd) == [23600, 0.02, False]


def test_an_override_may_hold_from_a_number_of_images_on():
    made = grid(**NO_TABLES, overrides={"ipc=10+": {"dc": {"lr_img": 0.3}}})
    rates = [
        made.condensation(Cell("MNIST", "dc", "ConvNet", ipc, 0))["lr_img"]
        for ipc in ("1", "10", "15", "50")
    ]
    assert rates == [0.1, 0.3, 0.3, 0.3]
    for key in ("ipc=51+", "ipc=x+", "ipc=+", "ipc=1.5+", "ipc=²+"):
        with pytest.raises(InputError, match="no cell of the grids has ipc"):
            grid(**NO_TABLES, overrides={key: {"dc": {"lr_img": 0.3}}})


def test_same_is_the_instance_norm_twin():
    made = grid(networks=["VGG11BN", "ResNet18BN_AP", "ConvNet-batchnorm"], methods=["dc"],
                seeds=[0], images_per_class=[1], datasets=["MNIST"])  # fmt: skip
    pairs = {cell.network: tested.network for cell, tested in made.evaluations()}
    assert pairs == {
        "VGG11BN": "VGG11",
        "ResNet18BN_AP": "ResNet18",
        "ConvNet-batchnorm": "ConvNet-batchnorm",
    }
    made = grid(networks=["VGG11BN"], methods=["dc", "whole"], seeds=[0], images_per_class=[1],
                datasets=["MNIST"], evaluation={"networks": ["same", "VGG11BN"]},
                **NO_TABLES, overrides={})  # fmt: skip
    assert [(cell.network, tested.network) for cell, tested in made.evaluations()] == [
        ("VGG11BN", "VGG11"), ("VGG11BN", "VGG11BN"), ("VGG11", "VGG11"), ("VGG11BN", "VGG11BN"),
    ]  # fmt: skip


def test_own_data_sets():
    own = {"name": "pets", "source": "folder", "path": "pets/", "image_size": 32}
    made = grid(datasets=["digits", own], images_per_class=[1])
    assert made.datasets == ["digits", "pets"]
    assert made.dataset("digits") == {"name": "digits", "source": "digits"}
    assert made.dataset("pets") == own
    with pytest.raises(InputError, match=r"'petz' is not in the config.*did you mean 'pets'"):
        made.dataset("petz")


def test_settings_do_not_depend_on_the_order_in_which_they_are_written_down():
    section = {"epochs": 7, "batch": 8}
    made, turned = (grid(evaluation=s) for s in (section, dict(reversed(section.items()))))
    cell = made.cells()[0]
    assert repr(made.evaluation(cell, Trained("MLP"))) == repr(
        turned.evaluation(cell, Trained("MLP"))
    )


def test_names_of_evaluations_are_read_as_they_are_built():
    for tested in (Trained("MLP"), Trained("ConvNet-width4", "dcbench-dsa")):
        assert Trained.of(tested.stem) == tested
    assert Trained("MLP").stem == "MLP"
    assert Trained("MLP", "dsa").stem == "MLP.dsa"


def test_paths_of_cells_are_read_as_they_are_built():
    for cell in grid().cells():
        assert Cell.of(cell.folder) == (cell, "")
        assert Cell.of(f"{cell.folder}/eval/MLP.csv") == (cell, "eval/MLP.csv")
    for path in ("tables/table1.csv", "MNIST/dc/MLP/ipc-0/seed-0/set.png", "a/b/c/ipc-1/seed-01"):
        with pytest.raises(InputError, match="is not the path of a cell"):
            Cell.of(path)
