"""Networks side by side do what each of them does by itself."""

import dataclasses

import pytest
import torch
from torch.nn import functional

from dclib.applications.evaluation.evaluate import Evaluation
from dclib.applications.evaluation.settings import Settings
from dclib.methods.random import method as random
from dclib.networks import plans as networks
from dclib.seeding import Streams
from dclib.training.ensembles import Ensemble, descend

CPU = torch.device("cpu")
NAMES = [
    "ConvNet-width8", "ConvNet-width8-batchnorm", "ConvNet-width8-layernorm", "LeNet", "MLP",
    "ConvNet-width8-groupnorm-maxpool", "AlexCifarNet", "ResNet18BN_AP",
]  # fmt: skip


def build(name, count):
    torch.manual_seed(0)
    return [networks.build(name, 1, (32, 32), 5).double() for _ in range(count)]


@pytest.mark.parametrize("name", NAMES)
def test_logits_and_training_are_those_of_each_network(name):
    alone, members = build(name, 3), build(name, 3)
    ensemble = Ensemble(members)
    images = torch.randn(3, 6, 1, 32, 32, dtype=torch.float64)
    labels = torch.randint(5, (3, 6))
    velocities = [torch.zeros_like(parameter) for parameter in ensemble.parameters]
    optimizers = [
        torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
        for network in alone
    ]
    for _ in range(3):
        ensemble.train()
        losses = functional.cross_entropy(
            ensemble(images).flatten(0, 1), labels.flatten(), reduction="none"
        )
        gradients = torch.autograd.grad(losses.view(3, 6).mean(1).sum(), ensemble.parameters)
        descend(
            ensemble.parameters, gradients, velocities, lr=torch.tensor(0.1, dtype=torch.float64),
            momentum=0.9, weight_decay=1e-3,
        )  # fmt: skip
        for network, optimizer, own, targets in zip(alone, optimizers, images, labels, strict=True):
            network.train()
            optimizer.zero_grad()
            functional.cross_entropy(network(own), targets).backward()
            optimizer.step()
    ensemble.train(False)
    shared = torch.randn(4, 1, 32, 32, dtype=torch.float64)
    logits = ensemble(shared.expand(3, *shared.shape))
    assert logits.shape == (3, 4, 5)
    for network, own, one in zip(alone, logits, ensemble.each(), strict=True):
        network.eval()  # with running statistics, where there are any
        torch.testing.assert_close(own, network(shared), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(one(shared), network(shared), rtol=1e-9, atol=1e-9)
    fresh = build(name, 3)
    ensemble.load(fresh)
    for network, one in zip(fresh, ensemble.each(), strict=True):
        assert all(map(torch.equal, network.state_dict().values(), one.state_dict().values()))


@pytest.mark.parametrize("augmentation", [(), ("crop", "scale", "rotate"), ("crop", "noise")])
def test_evaluating_networks_together_changes_nothing_but_rounding(digits, augmentation):
    chosen = random.select(digits, 3, Streams("set"))
    settings = Settings(models=5, epochs=6, batch=20, curve_points=2, augmentation=augmentation)
    rows, curves = [], []
    for together in (1, 2, 5):
        made = Evaluation("ConvNet-width8", settings, digits, chosen, CPU)
        made.together = together
        state = made.start(Streams("cell"))
        sizes = [int(made.step(state)["steps"]) for _ in range(made.iterations)]
        assert max(sizes) == together
        assert sum(sizes) == made.iterations == 5
        one, curve = made.result(state)
        rows.append(one)
        curves.append(curve)
    for one, curve in zip(rows[1:], curves[1:], strict=True):
        assert one["seed"].equals(rows[0]["seed"])
        torch.testing.assert_close(
            torch.tensor(one["train_loss"]), torch.tensor(rows[0]["train_loss"]), rtol=1e-3, atol=0
        )
        # One image of the 359 may fall to the other side.
        difference = curve["test_accuracy"] - curves[0]["test_accuracy"]
        assert difference.abs().max() < 0.3


def test_a_set_with_steps_of_its_own_is_evaluated_together_as_well(digits):
    chosen = random.select(digits, 2, Streams("set"))
    rates = {"learning_rates": torch.full((4,), 0.05)}
    learnt = dataclasses.replace(chosen, recipe="unrolled", parameters=rates)
    results = []
    for together in (1, 3):
        made = Evaluation(
            "LeNet", Settings(models=3, recipe="own"), resized(digits), resized(learnt), CPU
        )
        made.together = together
        state = made.start(Streams("cell"))
        for _ in range(made.iterations):
            made.step(state)
        results.append(made.result(state)[0]["train_loss"])
    torch.testing.assert_close(
        torch.tensor(results[0]), torch.tensor(results[1]), rtol=1e-5, atol=0
    )


def resized(held):
    """The same with images of 28x28, as LeNet takes them."""
    changed = {
        field.name: getattr(held, field.name)
        .repeat_interleave(4, 2)
        .repeat_interleave(4, 3)[:, :, 2:30, 2:30]
        for field in dataclasses.fields(held)
        if field.name in ("images", "train_images", "test_images")
    }
    return dataclasses.replace(held, **changed)
