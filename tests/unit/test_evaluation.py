"""Training on a set and testing: against a plain loop, and properties of the protocol."""

import json

import pandas as pd
import pytest
import torch
from torch.nn import functional

from dclib.applications import evaluation
from dclib.applications.evaluation import Evaluation, Settings
from dclib.data.synthetic import SyntheticSet
from dclib.errors import InputError
from dclib.methods import coresets
from dclib.networks import plans as networks
from dclib.seeding import Streams, global_seed
from dclib.training.recipes import unrolled as protocol

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def chosen(digits):
    return coresets.random(digits, 3, Streams("set"))


def make(digits, training, tmp_path, digest="", **settings):
    made = Evaluation(
        "ConvNet-width8", Settings(**{"models": 2, "epochs": 7, **settings}), digits, training, CPU
    )
    evaluation.evaluate(
        made, Streams("cell"), tmp_path / "n.csv", tmp_path / "n.curve.csv", digest=digest
    )
    return pd.read_csv(tmp_path / "n.csv"), pd.read_csv(tmp_path / "n.curve.csv")


def test_agrees_with_a_plain_loop(digits, chosen, tmp_path):
    rows, curve = make(digits, chosen, tmp_path, batch=8, curve_points=3)
    assert curve["epoch"].tolist() == [3, 5, 7] * 2
    for model in range(2):
        streams = Streams(int(rows["seed"][model]))
        with global_seed(streams.seed("network"), CPU):
            network = networks.build("ConvNet-width8", 1, (8, 8), 10)
        velocity = [torch.zeros_like(p) for p in network.parameters()]
        for epoch in range(7):
            lr = 0.01 if epoch < 3 else 0.001
            if epoch == 3:
                velocity = [torch.zeros_like(p) for p in network.parameters()]
            for batch in torch.randperm(30, generator=streams["order"]).split(8):
                loss = functional.cross_entropy(network(chosen.images[batch]), chosen.labels[batch])
                gradients = torch.autograd.grad(loss, list(network.parameters()))
                with torch.no_grad():
                    for p, g, v in zip(network.parameters(), gradients, velocity, strict=True):
                        v.mul_(0.9).add_(g + 5e-4 * p)
                        p.sub_(lr * v)
        with torch.no_grad():
            logits = network(digits.normalise(digits.test_images))
            own = network(chosen.images)
        accuracy = 100 * (logits.argmax(1) == digits.test_labels).double().mean()
        # One image of the 359 may fall to the other side by rounding.
        assert rows["test_accuracy"][model] == pytest.approx(float(accuracy), abs=0.3)
        expected = float(functional.cross_entropy(own, chosen.labels))
        assert rows["train_loss"][model] == pytest.approx(expected, rel=1e-4)
        last = curve[(curve["model"] == model) & (curve["epoch"] == 7)]["test_accuracy"]
        assert last.iloc[0] == rows["test_accuracy"][model]
    assert rows["epochs"].tolist() == [7, 7]
    assert (rows["seconds"] > 0).all()
    assert rows["seed"].nunique() == 2


def test_the_same_cell_gives_the_same_numbers(digits, chosen, tmp_path):
    first, _ = make(digits, chosen, tmp_path, augmentation=("crop", "scale", "rotate"))
    second, _ = make(digits, chosen, tmp_path, augmentation=("crop", "scale", "rotate"))
    columns = ["seed", "test_accuracy", "train_accuracy", "train_loss"]
    assert first[columns].equals(second[columns])
    plain, _ = make(digits, chosen, tmp_path)
    assert not plain["train_loss"].equals(first["train_loss"])


def test_networks_learn(digits, tmp_path):
    rows, curve = make(digits, None, tmp_path, epochs=8, models=1, batch=32)
    assert rows["test_accuracy"][0] > 80
    assert rows["train_accuracy"][0] > 80
    assert len(curve) == 8
    assert curve["test_accuracy"].iloc[0] < curve["test_accuracy"].iloc[-1]


def test_an_interrupted_evaluation_keeps_the_networks_that_are_done(digits, chosen, tmp_path):
    whole, _ = make(digits, chosen, tmp_path, models=4)

    class Disturbed(Evaluation):
        def step(self, state):
            if int(state.done) == 2:
                raise KeyboardInterrupt
            return super().step(state)

    settings = Settings(models=4, epochs=7)
    parts = (tmp_path / "part.csv", tmp_path / "part.curve.csv")
    with pytest.raises(KeyboardInterrupt):
        evaluation.evaluate(
            Disturbed("ConvNet-width8", settings, digits, chosen, CPU), Streams("cell"), *parts
        )
    assert not parts[0].exists()
    trained = []

    class Counted(Evaluation):
        def step(self, state):
            trained.append(int(state.done))
            return super().step(state)

    evaluation.evaluate(
        Counted("ConvNet-width8", settings, digits, chosen, CPU), Streams("cell"), *parts
    )
    assert trained == [2, 3]
    resumed = pd.read_csv(parts[0])
    assert resumed.drop(columns="seconds").equals(whole.drop(columns="seconds"))
    assert not list(tmp_path.glob("*checkpoint*"))


def test_epochs_at_which_networks_are_tested():
    assert Settings(epochs=300, curve_points=3).test_epochs() == [100, 200, 300]
    assert Settings(epochs=2, curve_points=20).test_epochs() == [1, 2]
    assert Settings(epochs=7, curve_points=3).test_epochs() == [3, 5, 7]
    assert Settings(epochs=5, curve_points=1).test_epochs() == [5]


def test_a_set_of_other_images_is_refused(digits, small):
    other = coresets.random(small, 1, Streams("set"))
    with pytest.raises(InputError, match=r"images of \(3, 32, 32\).*\(1, 8, 8\)"):
        Evaluation("MLP", Settings(), digits, other, CPU)
    with pytest.raises(InputError, match="too small"):
        Evaluation("VGG11", Settings(), digits, None, CPU)


def test_random_selection(digits):
    chosen = coresets.random(digits, 4, Streams("cell", 0))
    indices = chosen.metadata["indices"]
    assert len(set(indices)) == 40
    assert torch.equal(chosen.images, digits.normalise(digits.train_images[indices]))
    assert torch.equal(digits.train_labels[indices], chosen.labels)
    assert indices == coresets.random(digits, 4, Streams("cell", 0)).metadata["indices"]
    assert indices != coresets.random(digits, 4, Streams("cell", 1)).metadata["indices"]
    with pytest.raises(InputError, match="1000 images per class, but class"):
        coresets.random(digits, 1000, Streams("cell", 0))
    json.dumps(chosen.metadata)


@pytest.mark.parametrize("other", ["set", "settings", "network", "stream"])
def test_a_checkpoint_of_another_evaluation_is_not_resumed(digits, chosen, tmp_path, other, caplog):
    paths = (tmp_path / "n.csv", tmp_path / "n.curve.csv")

    class Disturbed(Evaluation):
        def step(self, state):
            if int(state.done) == 1:
                raise KeyboardInterrupt
            return super().step(state)

    first = ("MLP", Settings(models=2, epochs=1), digits, chosen, CPU)
    with pytest.raises(KeyboardInterrupt):
        evaluation.evaluate(Disturbed(*first), Streams("cell"), *paths)
    second = list(first)
    if other == "set":
        second[3] = coresets.random(digits, 3, Streams("another set"))
    elif other == "settings":
        second[1] = Settings(models=2, epochs=1, lr=0.1)
    elif other == "network":
        second[0] = "ConvNet-width8"
    streams = Streams("another cell" if other == "stream" else "cell")
    evaluation.evaluate(Evaluation(*second), streams, *paths)
    assert "starting afresh" in caplog.text


def test_a_distilled_set_is_trained_on_as_it_was_learnt(digits, chosen, tmp_path):
    """Its own steps, order and rates, against a plain loop; and alike when that is asked for."""
    rates = torch.linspace(0.05, 0.2, 6)  # two epochs of three steps
    distilled = SyntheticSet(chosen.images, chosen.labels, chosen.metadata, rates)
    rows, curve = make(digits, distilled, tmp_path)
    assert rows["epochs"].tolist() == [2, 2]
    assert curve["epoch"].tolist() == [2, 2]
    streams = Streams(int(rows["seed"][0]))
    with global_seed(streams.seed("network"), CPU):
        network = networks.build("ConvNet-width8", 1, (8, 8), 10)
        protocol.initialise(network)
    for i, rate in enumerate(rates):
        batch = torch.arange(10) * 3 + i % 3  # image i of every class
        loss = functional.cross_entropy(network(chosen.images[batch]), chosen.labels[batch])
        gradients = torch.autograd.grad(loss, list(network.parameters()))
        with torch.no_grad():
            for p, g in zip(network.parameters(), gradients, strict=True):
                p.sub_(rate * g)
    with torch.no_grad():
        right = network(digits.normalise(digits.test_images)).argmax(1) == digits.test_labels
    assert rows["test_accuracy"][0] == pytest.approx(100 * float(right.double().mean()), abs=0.3)
    ordinary, _ = make(digits, distilled, tmp_path, protocol="ordinary")
    plain, _ = make(digits, chosen, tmp_path)
    assert ordinary["test_accuracy"].equals(plain["test_accuracy"])
    assert not ordinary["test_accuracy"].equals(rows["test_accuracy"])
