"""Every protocol, over a whole small training in float64, against the plain loop."""

import copy
import dataclasses

import pytest
import torch
from reference import evaluation as plain

from dclib.applications.evaluation.protocols import PROTOCOLS
from dclib.applications.evaluation.settings import Settings
from dclib.errors import InputError
from dclib.methods.random import method as random
from dclib.networks import plans as networks
from dclib.seeding import Streams, global_seed
from dclib.training.ensembles import Ensemble
from dclib.training.examples import Examples
from dclib.training.recipes import ordinary
from dclib.training.sgd import SGD, Variety

CPU = torch.device("cpu")
CASES = {
    "dc": {},
    "dc on MNIST": {"augmentation": ("crop", "scale", "rotate")},
    **{name: {} for name in ("dsa", "idc", "mtt", "dcbench-none", "dcbench-dsa")},
    "dc with a teacher": {"labels": "teacher"},
    "idc with a teacher": {"labels": "teacher", "temperature": 4.0},
}


@pytest.fixture(scope="module")
def chosen(digits):
    made = random.select(digits, 2, Streams("set"))
    return dataclasses.replace(made, images=made.images.double())


def build(seed=0):
    with global_seed(seed, CPU):
        return networks.build("ConvNet-width4", 1, (8, 8), 10).double()


@pytest.mark.parametrize("case", CASES)
def test_a_training_is_that_of_the_plain_loop(digits, chosen, case):
    """With a last batch that is smaller, and both drops of the learning rate."""
    settings = Settings(
        **{**PROTOCOLS[case.split()[0]].settings, **CASES[case], "epochs": 6, "batch": 8, "lr": 0.1}
    )
    parameters = {"lr": torch.tensor(0.07)} if settings.own_lr else {}
    network = build()
    expected = copy.deepcopy(network)
    teacher = build(1).eval() if settings.labels == "teacher" else None
    examples = Examples(chosen.images, chosen.labels, digits)
    recipe = ordinary.create(examples, settings, parameters, teacher)
    trained = recipe.train([network], [Streams("model")], lambda ensemble: None)
    lr = 0.07 if parameters else 0.1
    random = Streams("model")
    plain.train(expected, chosen.images, chosen.labels, settings, random, lr, teacher)
    (made,) = trained.each()
    for one, other in zip(made.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
    moved = zip(made.parameters(), build().parameters(), strict=True)
    assert any(not torch.allclose(one, other, atol=1e-3) for one, other in moved)


def test_labels_that_are_probabilities_are_mixed_too(digits, chosen):
    """Certain probabilities give what labels give, under CutMix as well."""
    settings = Settings(**{**PROTOCOLS["idc"].settings, "epochs": 3, "batch": 8})
    certain = torch.nn.functional.one_hot(chosen.labels, 10).double()
    results = []
    for labels in (chosen.labels, certain):
        recipe = ordinary.create(Examples(chosen.images, labels, digits), settings, {})
        trained = recipe.train([build()], [Streams("model")], lambda ensemble: None)
        results.append([p.clone() for p in next(trained.each()).parameters()])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rate", [0.0, -0.1, float("inf"), [0.1, 0.2]])
def test_a_learning_rate_that_a_set_cannot_mean_is_refused(digits, chosen, rate):
    examples = Examples(chosen.images, chosen.labels, digits)
    parameters = {"lr": torch.tensor(rate)}
    with pytest.raises(InputError, match="'ordinary' takes one lr above 0, the set has"):
        ordinary.create(examples, Settings(own_lr=True), parameters)
    # A protocol with a rate of its own does not look at it.
    assert ordinary.create(examples, Settings(), parameters).lr == 0.01
    with pytest.raises(InputError, match="recipe 'ordinary' takes no parameter, the set has rates"):
        ordinary.create(examples, Settings(), {"rates": torch.tensor(0.1)})


def test_the_rate_drops_after_its_part_of_the_epochs(digits, chosen):
    """Of hundredths of 100, as text has them, none is an epoch early."""
    examples, random = Examples(chosen.images, chosen.labels, digits), [Streams("model")]
    for hundredths in range(1, 100):
        settings = Settings(epochs=100, batch=20, lr=1.0)
        sgd = SGD(Ensemble([build()]), examples, settings, Variety(drops=[hundredths / 100]))
        for epoch, rate in ((hundredths, 1.0), (hundredths + 1, 0.1)):
            next(sgd.epoch(epoch, random))
            assert float(sgd.lr) == pytest.approx(rate), (hundredths, epoch)
