"""Training on a set and testing: against a plain loop, and properties of the protocol."""

import dataclasses
import json

import pytest
import torch
from torch.nn import functional

from dclib import runner
from dclib.applications.evaluation.evaluate import Evaluation
from dclib.applications.evaluation.settings import Settings, peak_bytes, relevant
from dclib.errors import InputError
from dclib.methods.random import method as random
from dclib.networks import plans as networks
from dclib.seeding import Streams, global_seed
from dclib.training.recipes import unrolled

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def chosen(digits):
    return random.select(digits, 3, Streams("set"))


def run(evaluation, tmp_path, streams="cell", **more):
    checkpoint = tmp_path / "checkpoint.safetensors"
    (rows, curve), _ = runner.run(evaluation, Streams(streams), checkpoint=checkpoint, **more)
    checkpoint.unlink(missing_ok=True)
    return rows, curve


def make(digits, training, tmp_path, **settings):
    settings = Settings(**{"models": 2, "epochs": 7, **settings})
    return run(Evaluation("ConvNet-width8", settings, digits, training, CPU), tmp_path)


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
    with pytest.raises(KeyboardInterrupt):
        run(Disturbed("ConvNet-width8", settings, digits, chosen, CPU), tmp_path)
    trained = []

    class Counted(Evaluation):
        def step(self, state):
            trained.append(int(state.done))
            return super().step(state)

    resumed, _ = run(Counted("ConvNet-width8", settings, digits, chosen, CPU), tmp_path)
    assert trained == [2, 3]
    assert resumed.drop(columns="seconds").equals(whole.drop(columns="seconds"))


@pytest.mark.parametrize(
    ("epochs", "points", "expected"),
    [(300, 3, [100, 200, 300]), (2, 20, [1, 2]), (7, 3, [3, 5, 7]), (5, 1, [5])],
)
def test_epochs_at_which_networks_are_tested(digits, chosen, epochs, points, expected):
    settings = Settings(epochs=epochs, curve_points=points)
    assert Evaluation("MLP", settings, digits, chosen, CPU).recipe.test_epochs == expected


def test_a_set_of_other_images_is_refused(digits, small):
    other = random.select(small, 1, Streams("set"))
    with pytest.raises(InputError, match=r"images of \(3, 32, 32\).*\(1, 8, 8\)"):
        Evaluation("MLP", Settings(), digits, other, CPU)
    with pytest.raises(InputError, match="too small"):
        Evaluation("VGG11", Settings(), digits, None, CPU)


def test_random_selection(digits):
    chosen = random.select(digits, 4, Streams("cell", 0))
    indices = chosen.metadata["indices"]
    assert len(set(indices)) == 40
    assert torch.equal(chosen.images, digits.normalise(digits.train_images[indices]))
    assert torch.equal(digits.train_labels[indices], chosen.labels)
    assert indices == random.select(digits, 4, Streams("cell", 0)).metadata["indices"]
    assert indices != random.select(digits, 4, Streams("cell", 1)).metadata["indices"]
    with pytest.raises(InputError, match="1000 images per class, but class"):
        random.select(digits, 1000, Streams("cell", 0))
    json.dumps(chosen.metadata)


@pytest.mark.parametrize("other", ["set", "settings", "network", "stream"])
def test_a_checkpoint_of_another_evaluation_is_not_resumed(digits, chosen, tmp_path, other, caplog):
    class Disturbed(Evaluation):
        def step(self, state):
            if int(state.done) == 1:
                raise KeyboardInterrupt
            return super().step(state)

    first = ("MLP", Settings(models=2, epochs=1), digits, chosen, CPU)
    with pytest.raises(KeyboardInterrupt):
        run(Disturbed(*first), tmp_path)
    second = list(first)
    if other == "set":
        second[3] = random.select(digits, 3, Streams("another set"))
    elif other == "settings":
        second[1] = Settings(models=2, epochs=1, lr=0.1)
    elif other == "network":
        second[0] = "ConvNet-width8"
    run(Evaluation(*second), tmp_path, "another cell" if other == "stream" else "cell")
    assert "starting afresh" in caplog.text


def unrolled_set(chosen, rates):
    return dataclasses.replace(chosen, recipe="unrolled", parameters={"learning_rates": rates})


def test_a_distilled_set_is_trained_on_as_it_was_learnt(digits, chosen, tmp_path):
    """Its own steps, order and rates, against a plain loop; and alike when that is asked for."""
    rates = torch.linspace(0.05, 0.2, 6)  # two epochs of three steps
    distilled = unrolled_set(chosen, rates)
    rows, curve = make(digits, distilled, tmp_path, recipe="own")
    assert rows["epochs"].tolist() == [2, 2]
    assert curve["epoch"].tolist() == [2, 2]
    streams = Streams(int(rows["seed"][0]))
    with global_seed(streams.seed("network"), CPU):
        network = networks.build("ConvNet-width8", 1, (8, 8), 10)
        unrolled.initialise(network)
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
    ordinary, _ = make(digits, distilled, tmp_path)
    plain, _ = make(digits, chosen, tmp_path)
    assert ordinary["test_accuracy"].equals(plain["test_accuracy"])
    assert not ordinary["test_accuracy"].equals(rows["test_accuracy"])


@pytest.mark.parametrize("rule", ["ordinary", "unrolled"])
def test_probabilities_of_one_class_are_its_label(digits, chosen, tmp_path, rule):
    """Sets with either kind of labels train the same networks, by either recipe."""
    sets = [chosen, dataclasses.replace(chosen, labels=functional.one_hot(chosen.labels).float())]
    if rule == "unrolled":
        sets = [unrolled_set(one, torch.full((6,), 0.05)) for one in sets]
    (hard, _), (soft, _) = (make(digits, one, tmp_path, recipe="own") for one in sets)
    for column in ("test_accuracy", "train_accuracy"):
        assert (hard[column] - soft[column]).abs().max() < 0.3
    torch.testing.assert_close(
        torch.tensor(hard["train_loss"]), torch.tensor(soft["train_loss"]), rtol=1e-4, atol=0
    )


def test_probabilities_agree_with_a_plain_loop(digits, chosen, tmp_path):
    torch.manual_seed(0)
    soft = dataclasses.replace(chosen, labels=torch.randn(30, 10).softmax(1))
    rows, _ = make(digits, soft, tmp_path, batch=8, models=1, epochs=4, momentum=0.0)
    streams = Streams(int(rows["seed"][0]))
    with global_seed(streams.seed("network"), CPU):
        network = networks.build("ConvNet-width8", 1, (8, 8), 10)
    for epoch in range(4):
        for batch in torch.randperm(30, generator=streams["order"]).split(8):
            logs = network(soft.images[batch]).log_softmax(1)
            loss = -(soft.labels[batch] * logs).sum(1).mean()
            gradients = torch.autograd.grad(loss, list(network.parameters()))
            with torch.no_grad():
                for p, g in zip(network.parameters(), gradients, strict=True):
                    p.sub_((0.01 if epoch < 2 else 0.001) * (g + 5e-4 * p))
    with torch.no_grad():
        logits = network(soft.images)
    expected = -(soft.labels * logits.log_softmax(1)).sum(1).mean()
    assert rows["train_loss"][0] == pytest.approx(float(expected), rel=1e-4)
    right = (logits.argmax(1) == soft.labels.argmax(1)).double().mean()
    assert rows["train_accuracy"][0] == pytest.approx(100 * float(right), abs=3.4)


@pytest.mark.parametrize(
    ("rates", "fault"),
    [
        (torch.zeros(0), r"one for each of the set's 3 steps in every epoch; the set has \(0,\)"),
        (torch.ones(4), r"the set has \(4,\) of them"),
        (torch.ones(3, 1), r"the set has \(3, 1\) of them"),
        (torch.tensor([0.1, torch.nan, 0.1]), "its learning_rates are not all finite.* NaN"),
        (torch.tensor([0.1, torch.inf, 0.1]), "its learning_rates are not all finite.* infinite"),
    ],
)
def test_learning_rates_that_do_not_fit_are_refused(digits, chosen, rates, fault):
    with pytest.raises(InputError, match=fault):
        Evaluation("MLP", Settings(recipe="own"), digits, unrolled_set(chosen, rates), CPU)


def test_recipes_that_do_not_fit_are_refused(digits, chosen):
    for change, fault in (
        ({"recipe": "unroled"}, r"'unroled' is not one of .*\(did you mean 'unrolled'\?\)"),
        ({"recipe": "unrolled"}, "'unrolled' takes learning_rates, the set has none"),
        ({"parameters": {"x": torch.ones(1)}}, "'ordinary' takes no parameter, the set has x"),
    ):
        broken = dataclasses.replace(chosen, **change)
        with pytest.raises(InputError, match=fault):
            Evaluation("MLP", Settings(recipe="own"), digits, broken, CPU)
    part = dataclasses.replace(
        unrolled_set(chosen, torch.ones(2)),
        images=chosen.images[:25],
        labels=functional.one_hot(chosen.labels[:25], 10).float(),
    )
    with pytest.raises(InputError, match=r"as many images of each of the 10 classes.* 25 images"):
        Evaluation("MLP", Settings(recipe="own"), digits, part, CPU)


def test_a_set_normalised_by_other_numbers_is_trained_on_as_the_data_are(digits, chosen, tmp_path):
    for mean, std in ((0.5, 0.5), (0.0, 1.0), (0.0, 1 / 255)):
        images = (chosen.pixels() - mean) / std
        metadata = {**chosen.metadata, "mean": [mean], "std": [std]}
        other = dataclasses.replace(chosen, images=images, metadata=metadata)
        fitted = other.fitted(digits)
        torch.testing.assert_close(fitted.images, chosen.images, rtol=1e-4, atol=1e-5)
        assert fitted.metadata["mean"] == digits.mean
        (rows, _), (plain, _) = make(digits, other, tmp_path), make(digits, chosen, tmp_path)
        torch.testing.assert_close(
            torch.tensor(rows["train_loss"]), torch.tensor(plain["train_loss"]), rtol=1e-3, atol=0
        )
    assert chosen.fitted(digits).images is chosen.images  # not a bit differs


def test_classes_in_another_order_are_put_in_that_of_the_data(digits, chosen):
    order = [3, 1, 4, 0, 5, 9, 2, 6, 8, 7]
    names = [digits.class_names[c] for c in order]
    by_class = chosen.images.view(10, 3, *chosen.images.shape[1:])
    other = dataclasses.replace(
        chosen,
        images=by_class[order].flatten(0, 1),
        metadata={**chosen.metadata, "class_names": names},
    )
    for labels in (chosen.labels, functional.one_hot(chosen.labels).float()):
        fitted = dataclasses.replace(other, labels=labels).fitted(digits)
        found = fitted.labels.argmax(1) if labels.ndim == 2 else fitted.labels
        for image, label in zip(fitted.images, found, strict=True):
            assert (by_class[label] == image).flatten(1).all(1).any()
    for wrong, fault in (
        (["zero", *names[1:]], r"class 'zero', which is none of data set 'digits'"),
        (names[:9], "its labels are not from 0 to 8"),
        ([*names[:9], names[0]], "the set has 9 classes, data set 'digits' has 10"),
    ):
        changed = dataclasses.replace(chosen, metadata={**chosen.metadata, "class_names": wrong})
        with pytest.raises(InputError, match=fault):
            changed.fitted(digits)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_images_that_are_not_finite_are_refused(digits, chosen, tmp_path, value):
    images = chosen.images.clone()
    images[3, 0, 2, 2] = value
    broken = dataclasses.replace(chosen, images=images)
    what = "NaN" if value != value else "infinite"
    with pytest.raises(InputError, match=f"images are not all finite, there are {what} numbers"):
        Evaluation("MLP", Settings(), digits, broken, CPU)
    with pytest.raises(InputError, match=f"images are not all finite, there are {what} numbers"):
        broken.save(tmp_path / "set.safetensors")


def test_settings_that_cannot_touch_an_evaluation_are_not_among_the_relevant():
    every = set(dataclasses.asdict(Settings()))
    soft = {"temperature"}  # of a teacher
    idle = {"augmentation_way", *soft}  # without augmentation
    assert set(relevant(Settings(), "ordinary")) == every - {"recipe"} - idle
    assert set(relevant(Settings(recipe="own"), "ordinary")) == every - {"recipe"} - idle
    always = {"models", "precision", "recipe", "space"}
    assert set(relevant(Settings(recipe="own"), "unrolled")) == always
    assert set(relevant(Settings(), "unrolled")) == every - idle
    assert set(relevant(Settings(augmentation=("crop",)), "unrolled")) == every - soft
    taught = Settings(augmentation=("crop",), labels="teacher")
    assert set(relevant(taught, "unrolled")) == every
    drops = {"lr_drop_factor", "restart_momentum"}
    assert set(relevant(Settings(lr_drops=()), "unrolled")) == every - idle - drops
    kinds = relevant(Settings(augmentation=("crop", "noise")), "ordinary")["augmentation"]
    assert json.loads(json.dumps(kinds)) == kinds == ["crop", "noise"]


def test_irrelevant_settings_change_no_number(digits, chosen, tmp_path):
    learnt = unrolled_set(chosen, torch.full((6,), 0.05))
    changed = {"epochs": 3, "lr": 0.5, "momentum": 0.1, "weight_decay": 0.1, "batch": 2,
               "augmentation": ("crop",), "curve_points": 2}  # fmt: skip
    columns = ["seed", "test_accuracy", "train_accuracy", "train_loss", "epochs"]
    one, two = (make(digits, learnt, tmp_path, recipe="own", **more)[0] for more in ({}, changed))
    assert one[columns].equals(two[columns])
    one, two = (make(digits, chosen, tmp_path, recipe=recipe)[0] for recipe in ("own", "ordinary"))
    assert one[columns].equals(two[columns])


def test_memory_grows_with_the_batch_as_far_as_there_are_images():
    assert peak_bytes(Settings(batch=512), 1000, 10, 10, None) == 2.9 * 1000 * 512
    assert peak_bytes(Settings(batch=512), 1000, 10, 10, 20) == 2.9 * 1000 * 200
    assert peak_bytes(Settings(batch=512), 1000, 10, 10, 1) == 2 * 1000 * 128
