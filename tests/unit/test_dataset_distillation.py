"""The distillation against the plain transcription in tests/reference, and what it is good for."""

import copy
import dataclasses

import pytest
import torch
from reference import dataset_distillation as reference

from dclib import footprint, runner
from dclib.data.synthetic import SyntheticSet
from dclib.methods.dd import method as dd
from dclib.methods.dd.method import DatasetDistillation
from dclib.methods.dd.settings import FACE, Settings, peak_bytes
from dclib.networks import plans as networks
from dclib.seeding import Streams, global_seed
from dclib.training.recipes import unrolled

DOUBLE = torch.float64
CPU = torch.device("cpu")


def problem(name, channels, size, steps, epochs, classes=3):
    """A network, and images, labels, learning rates and real images for it."""
    torch.manual_seed(1)
    network = networks.build(name, channels, (size, size), classes)
    unrolled.initialise(network)
    images = torch.randn(steps, classes, channels, size, size, dtype=DOUBLE)
    rates = 0.02 + 0.05 * torch.rand(steps * epochs, dtype=DOUBLE)
    real = torch.randn(20, channels, size, size, dtype=DOUBLE)
    labels = torch.arange(classes).expand(steps, classes)
    return network.double(), images, labels, rates, real, torch.arange(20) % classes


def assert_near(actual, expected):
    """Equal but for rounding: to 1e-9, and to 1e-9 of the largest value if that is below one."""
    largest = float(expected.abs().max())
    assert largest > 0
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-9 * min(1.0, largest))


@pytest.mark.parametrize("rate", [1e-3, 29.99, 30.0, 800.0, 1e4])
def test_any_learning_rate_is_begun_with(digits, rate):
    method = DatasetDistillation("MLP", Settings(lr_net=rate), digits, 1, CPU, DOUBLE)
    begun = torch.nn.functional.softplus(method.start(Streams("cell")).raw_rates)
    torch.testing.assert_close(begun, torch.full_like(begun, rate), rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("name", "channels", "size", "steps", "epochs"),
    [
        ("MLP", 1, 8, 2, 2),
        ("LeNet", 1, 28, 2, 2),
        ("LeNet", 1, 28, 10, 3),
        ("ConvNet-width8", 3, 32, 2, 2),
        ("ConvNet-width8-layernorm-maxpool", 1, 28, 3, 1),
        ("AlexCifarNet", 3, 32, 2, 1),
    ],
)
def test_loss_and_gradients_agree_with_one_graph_through_all_steps(
    name, channels, size, steps, epochs, monkeypatch
):
    monkeypatch.setitem(footprint.MICRO_BATCH, "cpu", 8)
    network, images, labels, rates, *real = problem(name, channels, size, steps, epochs)
    loss, image_gradient, rate_gradient = dd.unrolled_gradient(
        network, images, labels, rates, *real
    )
    images, rates = images.requires_grad_(), rates.requires_grad_()
    expected = reference.objective(network, images, labels[0], rates, *real)
    gradients = torch.autograd.grad(expected, (images, rates))
    assert_near(loss, expected.detach())
    assert_near(image_gradient, gradients[0])
    assert_near(rate_gradient, gradients[1])


@pytest.mark.parametrize("of", ["images", "rates"])
def test_gradients_agree_with_finite_differences(of):
    network, images, labels, rates, *real = problem("ConvNet-width4-swish", 3, 16, 3, 2)

    _, *gradients = dd.unrolled_gradient(network, images, labels, rates, *real)
    gradient = gradients[0] if of == "images" else gradients[1]
    direction = torch.randn(gradient.shape, dtype=DOUBLE)

    def loss(step):
        moved_images = images + step * direction if of == "images" else images
        moved_rates = rates + step * direction if of == "rates" else rates
        return dd.unrolled_gradient(network, moved_images, labels, moved_rates, *real)[0]

    step = 1e-5
    torch.testing.assert_close(
        (gradient * direction).sum(), (loss(step) - loss(-step)) / (2 * step), rtol=1e-6, atol=1e-10
    )


@pytest.mark.parametrize("name", ["MLP", "LeNet", "ConvNet-width8"])
def test_the_protocol_is_the_unrolled_training(name):
    network, images, labels, rates, *real = problem(name, 3, 32, 3, 3)
    trained = copy.deepcopy(network)
    unrolled.train(trained, images, labels, rates)
    expected = reference.unroll(network, images, labels[0], rates)
    for parameter_name, parameter in trained.named_parameters():
        torch.testing.assert_close(parameter, expected[parameter_name], rtol=0, atol=1e-12)
    assert not torch.equal(trained.classifier.weight, network.classifier.weight)
    # The objective is taken at exactly the weights that the protocol ends with.
    loss, _ = dd._objective(trained, *real)
    assert torch.equal(dd.unrolled_gradient(network, images, labels, rates, *real)[0], loss)


def test_a_gradient_leaves_the_network_as_it_is():
    network, *rest = problem("LeNet", 1, 28, 2, 2)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    dd.unrolled_gradient(network, *rest)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("augment_real", [False, True])
@pytest.mark.parametrize("name", ["MLP", "LeNet", "ConvNet-width8"])
def test_three_whole_iterations_agree_with_the_plain_loop(small, name, augment_real):
    settings = Settings(
        iterations=3, epochs=2, lr_halvings=3, real_batch=15, augment_real=augment_real
    )
    method = DatasetDistillation(name, settings, small, 2, CPU, DOUBLE)
    state = method.start(Streams("cell"))
    before = state.images.clone()
    losses = [float(method.step(state)["loss"]) for _ in range(3)]
    images, rates, expected_losses = reference.distill(
        small, 2, settings, Streams("cell"), network=name, dtype=DOUBLE
    )
    result = method.result(state)
    assert losses == pytest.approx(expected_losses, rel=0, abs=1e-9)
    torch.testing.assert_close(result.images, images, rtol=0, atol=1e-9)
    torch.testing.assert_close(result.parameters["learning_rates"], rates, rtol=0, atol=1e-9)
    assert (result.images - before).abs().max() > 1e-2  # it has learnt something at all
    assert (rates - settings.lr_net).abs().max() > 1e-5


def test_adam_and_its_schedule_are_pytorchs(small):
    settings = Settings(iterations=40, lr_halvings=10)
    method = DatasetDistillation("MLP", settings, small, 1, CPU, DOUBLE)
    state = method.start(Streams("cell"))
    expected = state.images.clone().requires_grad_()
    optimizer = torch.optim.Adam([expected], lr=0.01, betas=(0.5, 0.999))
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 4, gamma=0.5)
    for _ in range(40):
        gradient = torch.randn(expected.shape, dtype=DOUBLE)
        expected.grad = gradient
        optimizer.step()
        schedule.step()
        state.done += 1
        method._adam(state, "images", gradient)
        torch.testing.assert_close(state.images, expected.detach(), rtol=0, atol=1e-12)


def test_step_s_takes_image_s_of_every_class():
    images = torch.arange(12.0).view(6, 1, 1, 2)  # 3 classes of 2 images
    assert unrolled.by_step(images, 3)[1].flatten().tolist() == [2, 3, 6, 7, 10, 11]
    assert unrolled.by_step(torch.arange(3).repeat_interleave(2), 3).tolist() == [
        [0, 1, 2],
        [0, 1, 2],
    ]


@pytest.mark.parametrize("name", ["LeNet", "ConvNet-layernorm", "ResNet18"])
def test_initialisation_is_xavier_normal(name):
    torch.manual_seed(0)
    network = networks.build(name, 3, (32, 32), 10)
    unrolled.initialise(network)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            receptive = module.weight[0, 0].numel()
            expected = (2 / (receptive * sum(module.weight.shape[:2]))) ** 0.5
            allowed = 5 / (2 * module.weight.numel()) ** 0.5
            assert module.weight.std().item() == pytest.approx(expected, rel=allowed)
        elif getattr(module, "weight", None) is not None:
            assert (module.weight == 1).all()
        if getattr(module, "bias", None) is not None:
            assert (module.bias == 0).all()


def test_crops_come_from_the_padded_image_and_all_occur():
    image = torch.arange(64.0).view(1, 1, 8, 8)
    moved = dd.crop_and_flip(image.expand(2000, 1, 8, 8), torch.Generator().manual_seed(0))
    windows = {
        tuple(reference.crop_and_flip(image[0], down, right, flip).flatten().tolist())
        for down in range(9)
        for right in range(9)
        for flip in (False, True)
    }
    assert {tuple(one.flatten().tolist()) for one in moved} == windows


def test_a_resumed_run_gives_the_same_bytes(small, tmp_path, monkeypatch):
    settings = Settings(iterations=6, real_batch=20, augment_real=True)

    def run(folder):
        method = dd.create("MLP", settings, small, 2, CPU)
        checkpoint = tmp_path / folder / "checkpoint.safetensors"
        made, progress = runner.run(method, Streams("cell"), checkpoint=checkpoint)
        made.save(tmp_path / folder / "set.safetensors")
        return progress.losses

    losses = run("whole")
    calls, gradient = [], dd.unrolled_gradient

    def fails_in_the_third(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("out of memory")
        return gradient(*arguments)

    monkeypatch.setattr(dd, "unrolled_gradient", fails_in_the_third)
    with pytest.raises(RuntimeError, match="out of memory"):
        run("resumed")
    assert (tmp_path / "resumed" / "checkpoint.safetensors").exists()
    assert run("resumed") == losses
    assert len(calls) == 3 + 4
    first, second = (tmp_path / folder / "set.safetensors" for folder in ("whole", "resumed"))
    assert first.read_bytes() == second.read_bytes()


def test_learning_rates_are_saved_with_the_set(small, tmp_path):
    method = dd.create("MLP", Settings(), small, 4, CPU)
    made = method.result(method.start(Streams("cell")))
    assert made.recipe == FACE.recipe == "unrolled"
    made.save(tmp_path / "set.safetensors")
    loaded = SyntheticSet.load(tmp_path / "set.safetensors")
    assert loaded.recipe == "unrolled"
    torch.testing.assert_close(loaded.parameters["learning_rates"], torch.full((12,), 0.02))


def test_memory_grows_by_one_copy_of_the_weights_a_step():
    one, two = (peak_bytes(Settings(), 1000, 10**6, 10, ipc) for ipc in (1, 2))
    assert one == 1000 * (2.7 * 128 + 8 * 10) + 3 * 4 * 10**6
    assert two - one == 3 * 4 * 10**6


def test_learning_rates_stay_positive(small):
    method = dd.create("MLP", Settings(lr_img=1.0), small, 2, CPU)
    state = method.start(Streams("cell"))
    for _ in range(60):  # every gradient says that they are too large
        state.done += 1
        method._adam(state, "raw_rates", torch.ones(6))
    rates = method.result(state).parameters["learning_rates"]
    assert (rates > 0).all()
    assert (rates < 1e-20).all()


def accuracy(data, made, seed):
    """Test accuracy of a fresh network after the protocol, in percent."""
    with global_seed(seed, CPU):
        network = networks.build("MLP", data.channels, data.image_size, data.num_classes)
        unrolled.initialise(network)
    steps = (unrolled.by_step(one, data.num_classes) for one in (made.images, made.labels))
    unrolled.train(network, *steps, made.parameters["learning_rates"])
    with torch.no_grad():
        predicted = network(data.normalise(data.test_images)).argmax(1)
    return 100 * float((predicted == data.test_labels).double().mean())


def test_fresh_networks_learn_the_digits_from_a_short_distillation(digits):
    settings = Settings(iterations=300, lr_img=0.1, real_batch=256)
    method = dd.create("MLP", settings, digits, 3, CPU)
    state = method.start(Streams("cell"))
    noise = method.result(state)
    for _ in range(settings.iterations):
        method.step(state)
    made = method.result(state)
    before = sum(accuracy(digits, noise, seed) for seed in range(5)) / 5
    after = sum(accuracy(digits, made, seed) for seed in range(5)) / 5
    assert after > 60
    assert after > before + 30


def test_unfit_networks_and_images_are_refused(digits):
    with pytest.raises(ValueError, match="'ConvNet-batchnorm': dataset distillation takes none"):
        dd.create("ConvNet-batchnorm", Settings(), digits, 1, CPU)
    tiny = dataclasses.replace(
        digits, train_images=digits.train_images[..., :4], test_images=digits.test_images[..., :4]
    )
    with pytest.raises(ValueError, match="'digits': augment_real needs images of at least 5x5"):
        dd.create("MLP", Settings(augment_real=True), tiny, 1, CPU)
