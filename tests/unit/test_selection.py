"""Selections of real images against plain loops over images, and the network that they look at."""

import dataclasses
import itertools
import random as python_random
import subprocess
import sys

import pytest
import torch
from conftest import ROOT
from torch.nn import functional

from dclib import methods, runner
from dclib.data.synthetic import SyntheticSet
from dclib.errors import Damaged, InputError
from dclib.methods.forgetting.method import forgetting
from dclib.methods.herding.method import herding
from dclib.methods.kcenter.method import kcenter
from dclib.methods.random import method as random
from dclib.networks import plans as networks
from dclib.seeding import Streams, global_seed
from dclib.teachers.reference import settings as reference_settings
from dclib.teachers.reference.settings import Settings
from dclib.teachers.reference.teacher import NEVER_LEARNT, Reference, Training
from dclib.tensors import read_tensors, write_sealed, write_tensors

DOUBLE = torch.float64
CPU = torch.device("cpu")
BY_FEATURES = {"herding": herding, "kcenter": kcenter}
SELECTIONS = [name for name in methods.names() if methods.face(name).kind == "selected"]
# On random images: enough that some are forgotten, and so little that some are never learnt.
FORGETFUL = Settings(epochs=6, lr=0.02, batch=16)


def squared(a, b):
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def plain_herding(rows, count):
    mean = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    chosen, total = [], [0.0] * len(mean)
    for i in range(count):
        target = [(i + 1) * m - t for m, t in zip(mean, total, strict=True)]
        best, least = None, float("inf")
        for j, row in enumerate(rows):
            if j not in chosen and squared(target, row) < least:
                best, least = j, squared(target, row)
        chosen.append(best)
        total = [t + x for t, x in zip(total, rows[best], strict=True)]
    return chosen


def plain_kcenter(rows, count):
    chosen = plain_herding(rows, 1)
    while len(chosen) < count:
        best, farthest = None, -1.0
        for j, row in enumerate(rows):
            distance = min(squared(row, rows[c]) for c in chosen)
            if j not in chosen and distance > farthest:
                best, farthest = j, distance
        chosen.append(best)
    return chosen


PLAIN = {"herding": plain_herding, "kcenter": plain_kcenter}


def gaussian(n, d, seed=0, dtype=torch.float32):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("name", BY_FEATURES)
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize(("n", "d", "count"), [(40, 7, 40), (83, 33, 12), (5, 1, 3), (1, 4, 1)])
def test_choices_by_features_agree_with_the_plain_loop(name, dtype, n, d, count):
    features = gaussian(n, d, dtype=dtype)
    assert BY_FEATURES[name](features, count).tolist() == PLAIN[name](features.tolist(), count)


@pytest.mark.parametrize("name", BY_FEATURES)
@pytest.mark.parametrize("seed", range(5))
def test_the_first_of_equally_good_images_is_chosen(name, seed):
    # 32 points on a 3x3 grid: most images are there several times, and many distances agree. Their
    # number is a power of two, so the plain loop's mean is exact, too.
    generator = torch.Generator().manual_seed(seed)
    features = torch.randint(3, (32, 2), generator=generator).double()
    assert BY_FEATURES[name](features, 32).tolist() == PLAIN[name](features.tolist(), 32)


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_hand_made_ties(dtype):
    line = torch.tensor([[0.0], [0.0], [2.0], [2.0]], dtype=dtype)
    assert herding(line, 4).tolist() == [0, 2, 1, 3]
    assert kcenter(line, 4).tolist() == [0, 2, 1, 3]
    # After (0, 1) the other two are equally good, which a mean of thirds must not hide.
    corners = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0]], dtype=dtype)
    assert herding(corners, 3).tolist() == [2, 0, 1]
    assert herding(corners[[1, 0, 2]], 3).tolist() == [2, 0, 1]
    same = torch.full((6, 5), 0.1, dtype=dtype)
    assert herding(same, 6).tolist() == list(range(6))
    assert kcenter(same, 6).tolist() == list(range(6))


@pytest.mark.parametrize("name", BY_FEATURES)
def test_of_duplicates_the_first_is_chosen_first(name):
    features = gaussian(301, 37)
    twice = torch.cat([features, features])
    chosen = BY_FEATURES[name](twice, 60).tolist()
    assert len(set(chosen)) == 60
    for i, index in enumerate(chosen):
        assert index < 301 or index - 301 in chosen[:i]


@pytest.mark.parametrize("seed", range(3))
def test_herding_and_kcenter_agree_on_the_first_image_alone(seed):
    features = gaussian(50, 6, seed)
    assert herding(features, 1).tolist() == kcenter(features, 1).tolist()
    assert herding(features, 9).tolist() != kcenter(features, 9).tolist()


@pytest.mark.parametrize("name", BY_FEATURES)
def test_more_images_begin_with_the_fewer(name):
    features = gaussian(60, 5)
    everything = BY_FEATURES[name](features, 60).tolist()
    assert sorted(everything) == list(range(60))
    for count in (1, 2, 10, 59):
        assert BY_FEATURES[name](features, count).tolist() == everything[:count]


@pytest.mark.parametrize("name", BY_FEATURES)
def test_the_order_of_images_does_not_matter(name):
    features = gaussian(200, 16)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(1))
    chosen = BY_FEATURES[name](features, 30)
    assert order[BY_FEATURES[name](features[order], 30)].tolist() == chosen.tolist()


def test_kcenter_always_takes_the_farthest():
    features = gaussian(120, 4).double()
    chosen = kcenter(features, 20)
    distances = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
    radii = []
    for i in range(1, 20):
        nearest = distances[:, chosen[:i]].min(1).values
        assert nearest[chosen[i]] == nearest.max()
        radii.append(float(nearest.max()))
    assert all(a >= b for a, b in itertools.pairwise(radii))


def test_herding_keeps_to_the_mean_better_than_chance():
    features = gaussian(300, 8).double()
    generator = torch.Generator().manual_seed(2)
    mean = features.mean(0)
    herded = (features[herding(features, 20)].mean(0) - mean).norm()
    for _ in range(20):
        drawn = torch.randperm(300, generator=generator)[:20]
        assert herded < 0.5 * (features[drawn].mean(0) - mean).norm()


@pytest.mark.parametrize("count", [1, 7, 200])
def test_forgetting_takes_the_most_forgotten_and_first_of_all_the_never_learnt(count):
    draw = python_random.Random(0)
    counts = [draw.choice([0, 0, 1, 2, 5, NEVER_LEARNT]) for _ in range(200)]
    expected = sorted(range(200), key=lambda j: (-counts[j], j))[:count]
    chosen = forgetting(torch.tensor(counts), count).tolist()
    assert chosen == expected
    assert counts[chosen[0]] == NEVER_LEARNT


def test_no_more_images_than_there_are():
    with pytest.raises(ValueError, match="4 images are to be chosen from 3"):
        herding(gaussian(3, 2), 4)
    with pytest.raises(ValueError, match="4 images are to be chosen from 3"):
        kcenter(gaussian(3, 2), 4)
    with pytest.raises(ValueError, match="0 images are to be chosen from 3"):
        forgetting(torch.zeros(3, dtype=torch.int64), 0)


def recount(history):
    """Forgetting events of one image, from whether it was right at each of its visits."""
    if not any(history):
        return NEVER_LEARNT
    return sum(before and not after for before, after in itertools.pairwise(history))


def test_forgetting_counts_agree_with_a_recount_of_recorded_visits(small):
    state = Training("MLP", Settings(), small, CPU).start(Streams("cell"))
    generator = torch.Generator().manual_seed(3)
    right = torch.rand(8, 60, generator=generator) < 0.5
    right[:, 50:] = False
    for epoch in range(8):
        for batch in torch.randperm(60, generator=generator).split(7):
            state.visit(batch, right[epoch, batch])
    expected = [recount(right[:, i].tolist()) for i in range(60)]
    assert {0, 1, 2, 3} <= set(expected[:50])
    assert expected[50:] == 10 * [NEVER_LEARNT]
    assert state.counts().tolist() == expected


def test_forgetting_counts_agree_with_a_recount_of_the_networks_outputs(small):
    epochs = FORGETFUL.epochs
    training = Training("ConvNet-width8", FORGETFUL, small, CPU)
    state = training.start(Streams("cell"))
    outputs = []
    state.network.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    for _ in range(epochs):
        training.step(state)
    predictions = torch.cat(outputs).argmax(1).tolist()
    order = Streams("cell")["order"]
    visits = torch.cat([torch.randperm(60, generator=order) for _ in range(epochs)]).tolist()
    history = [[] for _ in range(60)]
    for i, prediction in zip(visits, predictions, strict=True):
        history[i].append(prediction == int(small.train_labels[i]))
    expected = [recount(visits) for visits in history]
    assert {0, 1, NEVER_LEARNT} <= set(expected)
    assert state.counts().tolist() == expected


@pytest.mark.parametrize("epochs", [1, 2, 5])
def test_training_agrees_with_torchs_sgd(small, epochs):
    settings = Settings(epochs=epochs, lr=0.02, momentum=0.8, weight_decay=0.05, batch=25)
    training = Training("ConvNet-width4", settings, small, CPU)
    state = training.start(Streams("cell"))
    losses = [float(training.step(state)["loss"]) for _ in range(epochs)]

    streams = Streams("cell")
    with global_seed(streams.seed("network"), CPU):
        network = networks.build("ConvNet-width4", 3, (32, 32), 3)
    expected = []
    for epoch in range(epochs):
        if epoch in (0, epochs // 2):
            lr = 0.02 if epoch == 0 else 0.002
            sgd = torch.optim.SGD(network.parameters(), lr=lr, momentum=0.8, weight_decay=0.05)
        summed = 0.0
        for batch in torch.randperm(60, generator=streams["order"]).split(25):
            sgd.zero_grad()
            logits = network(small.normalise(small.train_images[batch]))
            loss = functional.cross_entropy(logits, small.train_labels[batch])
            loss.backward()
            sgd.step()
            summed += float(loss.detach()) * len(batch)
        expected.append(summed / 60)
    assert losses == pytest.approx(expected, rel=1e-5)
    for ours, theirs in zip(state.network.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def train(training, path):
    """Train a reference network and write it to `path`."""
    checkpoint = path.with_suffix(".checkpoint.safetensors")
    trained, _ = runner.run(training, Streams("cell"), checkpoint=checkpoint)
    trained.save(path)


@pytest.mark.parametrize("stop", [2, 3, 4])
def test_a_resumed_training_gives_the_same_bytes(small, tmp_path, monkeypatch, stop):
    training = Training("ConvNet-width8-batchnorm", FORGETFUL, small, CPU)
    train(training, tmp_path / "whole.safetensors")
    step, epochs = Training.step, []

    def failing(self, state):
        if len(epochs) == stop:
            raise RuntimeError("the power is gone")
        epochs.append(int(state.done))
        return step(self, state)

    monkeypatch.setattr(Training, "step", failing)
    path = tmp_path / "resumed.safetensors"
    with pytest.raises(RuntimeError, match="the power is gone"):
        train(training, path)
    assert not path.exists()
    stop = FORGETFUL.epochs
    train(training, path)
    assert epochs == list(range(FORGETFUL.epochs))

    whole, metadata = read_tensors(tmp_path / "whole.safetensors")
    resumed, resumed_metadata = read_tensors(path)
    assert whole.keys() == resumed.keys()
    for name, tensor in whole.items():
        assert torch.equal(tensor, resumed[name]), name
    assert metadata == resumed_metadata
    assert set(whole["forgetting"].tolist()) - {0, NEVER_LEARNT}


def test_a_file_that_is_no_reference_network_is_refused(small, digits, tmp_path):
    path = tmp_path / "reference.safetensors"
    with pytest.raises(InputError, match="no such file"):
        Reference.load(path, CPU)
    training = Training("ConvNet-width8", Settings(epochs=1), small, CPU)
    train(training, path)
    tensors, metadata = read_tensors(path)
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}

    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="not a whole safetensors file"):
        Reference.load(path, CPU)
    tensors["network/classifier.bias"][1] += 1e-6
    write_tensors(path, tensors, metadata)
    with pytest.raises(Damaged, match="damaged") as caught:
        Reference.load(path, CPU)
    assert caught.value.path == path
    digits.save(path)
    with pytest.raises(InputError, match="not a reference network, it has no forgetting"):
        Reference.load(path, CPU)
    whole = {key: value for key, value in metadata.items() if key != "fingerprint"}
    without = {key: value for key, value in metadata.items() if key != "test_accuracy"}
    write_tensors(path, tensors, without)
    with pytest.raises(InputError, match="not a reference network, it has no test_accuracy"):
        Reference.load(path, CPU)
    write_sealed(path, tensors, {**whole, "network": "ConvNet-width4"})
    with pytest.raises(InputError, match="its tensors are not those of network 'ConvNet-width4'"):
        Reference.load(path, CPU)
    del tensors["network/classifier.bias"]
    write_sealed(path, tensors, whole)
    with pytest.raises(InputError, match="its tensors are not those of network 'ConvNet-width8'"):
        Reference.load(path, CPU)


def test_features_are_the_input_of_the_last_layer_in_evaluation_mode(small):
    torch.manual_seed(5)
    network = networks.build("ConvNet-width8-batchnorm", 3, (32, 32), 3)
    network(small.normalise(small.test_images))  # running statistics that are not the first ones
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    inputs = []
    network.classifier.register_forward_hook(lambda module, args, output: inputs.append(args[0]))
    reference = Reference(network.eval(), torch.zeros(60, dtype=torch.int64), {})
    features = reference.features(small, small.train_images, CPU)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert not features.requires_grad
    assert features.dtype == torch.float32
    network.eval()(small.normalise(small.train_images))
    torch.testing.assert_close(features, inputs[0].detach(), rtol=1e-5, atol=1e-6)


def select(name, data, ipc, random, reference):
    teachers = {"reference": reference} if methods.face(name).teachers else {}
    return methods.body(name).select(data, ipc, random, teachers, CPU)


@pytest.fixture(scope="module")
def reference(digits, tmp_path_factory):
    """A network trained on the digits for a few epochs."""
    path = tmp_path_factory.mktemp("reference") / "network.safetensors"
    settings = Settings(epochs=4, lr=0.05, batch=32)
    training = Training("ConvNet-width16-batchnorm", settings, digits, CPU)
    train(training, path)
    return Reference.load(path, CPU)


def test_the_reference_network_has_learnt_and_says_how_well(digits, reference):
    network, counts, metadata = reference
    for split in ("train", "test"):
        images, labels = getattr(digits, f"{split}_images"), getattr(digits, f"{split}_labels")
        predicted = network(digits.normalise(images)).argmax(1)
        accuracy = 100 * float((predicted == labels).double().mean())
        assert metadata[f"{split}_accuracy"] == pytest.approx(accuracy, abs=1e-9)
        assert accuracy > 80
    assert not network.training
    assert counts.shape == digits.train_labels.shape
    assert metadata["settings"] == dataclasses.asdict(Settings(epochs=4, lr=0.05, batch=32))
    assert (metadata["dataset"], metadata["network"]) == ("digits", "ConvNet-width16-batchnorm")


@pytest.mark.parametrize("name", ["herding", "kcenter", "forgetting"])
def test_selected_sets_hold_the_chosen_images_of_every_class(digits, reference, tmp_path, name):
    chosen = select(name, digits, 10, Streams("cell"), reference)
    chosen.save(tmp_path / "set.safetensors")
    loaded = SyntheticSet.load(tmp_path / "set.safetensors")
    indices = torch.tensor(loaded.metadata["indices"])
    assert loaded.metadata["reference_test_accuracy"] == reference.metadata["test_accuracy"]
    assert loaded.labels.tolist() == [c for c in range(10) for _ in range(10)]
    assert torch.equal(digits.train_labels[indices], loaded.labels)
    assert torch.equal(digits.normalise(digits.train_images[indices]), loaded.images)
    with torch.no_grad():
        features = reference.network.features(digits.normalise(digits.train_images)).tolist()
    for c in range(10):
        members = [i for i, label in enumerate(digits.train_labels.tolist()) if label == c]
        if name == "forgetting":
            counts = reference.forgetting.tolist()
            expected = sorted(members, key=lambda j: (-counts[j], j))[:10]
        else:
            rule = PLAIN[name]([features[i] for i in members], 3)
            expected = [members[j] for j in rule]
        assert indices[10 * c : 10 * c + 10].tolist()[: len(expected)] == expected
    fewer = select(name, digits, 1, Streams("other"), reference)
    assert fewer.metadata["indices"] == indices[::10].tolist()


def test_random_selection_is_its_stream_and_needs_no_network(digits, reference):
    expected = torch.cat(digits.sample(3, Streams("cell")["selection"])).tolist()
    for chosen in (
        random.select(digits, 3, Streams("cell")),
        select("random", digits, 3, Streams("cell"), reference),
    ):
        assert chosen.metadata["indices"] == expected
        assert chosen.metadata.keys() == {"mean", "std", "class_names", "indices"}
        assert torch.equal(chosen.images, digits.normalise(digits.train_images[expected]))
        assert torch.equal(chosen.labels, digits.train_labels[expected])
    assert random.select(digits, 3, Streams("other")).metadata["indices"] != expected


@pytest.mark.parametrize("name", SELECTIONS)
def test_a_class_smaller_than_ipc_is_refused(digits, reference, name):
    with pytest.raises(InputError, match="but class '8' has only 140 training images"):
        select(name, digits, 141, Streams("cell"), reference)
    chosen = select(name, digits, 140, Streams("cell"), reference)
    assert len(set(chosen.metadata["indices"])) == 1400


def test_what_does_not_fit_a_selection_is_refused(digits, small, reference):
    with pytest.raises(InputError, match=r"'hearding' is not one of .* \(did you mean 'herding'"):
        methods.body("hearding")
    with pytest.raises(InputError, match="needs a reference network, there is none"):
        methods.body("kcenter").select(digits, 1, Streams("cell"), {}, CPU)
    with pytest.raises(InputError, match=r"data set 'small' is not the one .*'digits'"):
        select("herding", small, 1, Streams("cell"), reference)


def test_the_faces_of_all_methods():
    assert methods.names() == [
        "random", "forgetting", "herding", "kcenter", "dc", "dd", "dm", "dsa", "idc", "whole",
    ]  # fmt: skip
    for name in methods.names():
        face = methods.face(name)
        assert face.settings() == face.settings()
        assert (face.peak_bytes is not None) == (face.kind == "learnt")
        assert face.seeded == (name == "random" or face.kind == "learnt")
        if face.kind != "whole":
            made = "create" if face.kind == "learnt" else "select"
            assert callable(getattr(methods.body(name), made))
        for teacher in face.teachers:
            assert teacher == "reference"
    assert reference_settings.relevant(Settings(epochs=3))["epochs"] == 3
    assert reference_settings.peak_bytes(Settings(batch=256), 1000, 10) == 2.9 * 1000 * 256


def test_settings_out_of_their_range_are_refused():
    for name, wrong in (
        ("dc", {"iterations": 0}), ("dc", {"lr_img": -1.0}), ("dc", {"distance": "l2"}),
        ("dc", {"real_batch": 2.5}), ("dd", {"beta1": 1.0}), ("dd", {"lr_nett": 0.1}),
        ("random", {"seed": 1}),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=next(iter(wrong))):
            methods.face(name).settings(**wrong)


def test_faces_need_no_pytorch():
    """Nor does anything else that slows a plan down."""
    code = (
        "import sys; from dclib import methods, footprint\n"
        "print([methods.face(name).kind for name in methods.names()])\n"
        "import dclib.teachers.reference.settings, dclib.applications.evaluation.settings\n"
        "print({'torch', 'torchvision', 'pandas', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1:] == ["set()"], done.stderr
