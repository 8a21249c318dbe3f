"""Dataset distillation (Wang, Zhu, Torralba, Efros 2018) from random initialisations.

Images are learnt such that a few steps of gradient descent on them, in a fixed order and each with
a learning rate that is learnt too, turn a freshly initialised network into a good one. Step s takes
image s of every class, so that a set of `ipc` images per class stands for `ipc` steps, and these
are repeated, in the same order, for some epochs. The objective is differentiated exactly through
all steps, in memory that grows by no more than one copy of the weights a step.
"""

import dataclasses
import math
from collections.abc import Mapping

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from dclib import devices
from dclib.data.datasets import ImageDataset
from dclib.data.synthetic import SyntheticSet, class_labels
from dclib.errors import InputError
from dclib.networks import plans as networks
from dclib.seeding import Streams, global_seed
from dclib.training.recipes.unrolled import Images, by_step, descend, initialise

PAD = 4  # pixels by which `augment_real` moves an image at most
ADAM_EPSILON = 1e-8


@dataclasses.dataclass(frozen=True)
class Settings:
    """Hyper-parameters; the defaults are the paper's for MNIST.

    Attributes:
        iterations: fresh networks; 400 epochs of the real images.
        epochs: how often the steps are repeated for each network.
        lr_net: what all learning rates of the network begin with (the paper's for CIFAR10: 0.001).
        lr_img, beta1, beta2: Adam on the images and on the learning rates before softplus.
        lr_halvings: Adam's learning rate is halved after every `iterations / lr_halvings`.
        real_batch: random training images, of any class, in the objective.
        augment_real: pad them by reflection, crop at random and flip every other one (CIFAR10).
    """

    iterations: int = 23600
    epochs: int = 3
    lr_net: float = 0.02
    lr_img: float = 0.01
    beta1: float = 0.5
    beta2: float = 0.999
    lr_halvings: int = 10
    real_batch: int = 1024
    augment_real: bool = False


@dataclasses.dataclass
class State:
    """What is learnt, Adam's moments of it, and the data and random streams it comes from.

    Attributes:
        raw_rates: the learning rate of every step of every epoch, before softplus.
        moments: exp_avg and exp_avg_sq of the images and of `raw_rates`.
        done: iterations.
    """

    data: ImageDataset
    ipc: int
    random: Streams
    images: Float[Tensor, "n channels height width"]
    labels: Int64[Tensor, " n"]
    raw_rates: Float[Tensor, " unrolled"]
    moments: dict[str, Tensor]
    done: Int64[Tensor, ""]

    def state_dict(self) -> dict[str, Tensor]:
        own = {"images": self.images, "raw_rates": self.raw_rates, "done": self.done}
        return {**own, **self.moments}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        for name, tensor in self.state_dict().items():
            tensor.copy_(tensors[name])


class DatasetDistillation:
    """The method `dd`. `dtype` is float32 but for tests of its arithmetic."""

    def __init__(
        self,
        network: str,
        settings: Settings,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.network, self.settings, self.device, self.dtype = network, settings, device, dtype
        self.iterations = settings.iterations

    def start(self, data: ImageDataset, ipc: int, random: Streams) -> State:
        """Return `ipc` images of noise per class, and the first learning rates.

        Raises:
            InputError: the network has BatchNorm, or images are too small for it or for cropping.
        """
        settings, labels = self.settings, class_labels(data.num_classes, ipc)
        with torch.device("meta"):
            if networks.batch_norms(self._build(data)):
                raise InputError(
                    f"network '{self.network}': dataset distillation takes none with BatchNorm, "
                    f"whose statistics {data.num_classes} images a step cannot estimate"
                )
        if settings.augment_real and min(data.image_size) <= PAD:
            raise InputError(
                f"data set '{data.name}': augment_real needs images of at least {PAD + 1}x{PAD + 1}"
            )
        shape = (len(labels), data.channels, *data.image_size)
        noise = torch.randn(shape, generator=random["initialisation"], dtype=self.dtype)
        inverse_softplus = math.log(math.expm1(settings.lr_net))
        rates = torch.full((settings.epochs * ipc,), inverse_softplus, dtype=self.dtype)
        learnt = {"images": noise.to(self.device), "raw_rates": rates.to(self.device)}
        moments = {
            f"{name}_{moment}": torch.zeros_like(tensor)
            for name, tensor in learnt.items()
            for moment in ("exp_avg", "exp_avg_sq")
        }
        data, labels, done = data.to(self.device), labels.to(self.device), torch.tensor(0)
        return State(data, ipc, random, labels=labels, moments=moments, done=done, **learnt)

    def step(self, state: State) -> dict[str, Tensor]:
        """Train one freshly initialised network, and learn from how it does on real images."""
        classes = state.data.num_classes
        with global_seed(state.random.seed("networks"), self.device):
            network = self._build(state.data)
            initialise(network)
        network = network.to(self.device, self.dtype)
        loss, image_gradient, rate_gradient = unrolled_gradient(
            network,
            by_step(state.images, classes),
            by_step(state.labels, classes)[0],
            functional.softplus(state.raw_rates),
            *self._real(state),
        )
        state.done += 1
        self._adam(state, "images", image_gradient.transpose(0, 1).reshape(state.images.shape))
        self._adam(state, "raw_rates", rate_gradient * torch.sigmoid(state.raw_rates))
        return {"loss": loss}

    def result(self, state: State) -> SyntheticSet:
        """Return the images and learning rates as they are now."""
        data, rates = state.data, functional.softplus(state.raw_rates)
        metadata = {"mean": data.mean, "std": data.std, "class_names": data.class_names}
        return SyntheticSet(state.images.clone(), state.labels, metadata, rates)

    def _build(self, data: ImageDataset) -> networks.Network:
        return networks.build(self.network, data.channels, data.image_size, data.num_classes)

    def _real(self, state: State) -> tuple[Tensor, Tensor]:
        """Return up to `real_batch` random real images, normalised, and their labels."""
        data, random = state.data, state.random
        order = torch.randperm(len(data.train_labels), generator=random["real batches"])
        chosen = order[: self.settings.real_batch].to(self.device)
        images = data.normalise(data.train_images[chosen], self.dtype)
        if self.settings.augment_real:
            images = crop_and_flip(images, random["real augmentation"])
        return images, data.train_labels[chosen]

    def _adam(self, state: State, name: str, gradient: Tensor) -> None:
        """Do Adam's step number `state.done` (Kingma, Ba 2015, Algorithm 1) in place."""
        settings, count = self.settings, int(state.done)
        mean, square = (state.moments[f"{name}_{moment}"] for moment in ("exp_avg", "exp_avg_sq"))
        mean.lerp_(gradient, 1 - settings.beta1)
        square.lerp_(gradient.square(), 1 - settings.beta2)
        scale = (square / (1 - settings.beta2**count)).sqrt_().add_(ADAM_EPSILON)
        lr = settings.lr_img * 0.5 ** ((count - 1) * settings.lr_halvings // settings.iterations)
        learnt: Tensor = getattr(state, name)
        learnt.addcdiv_(mean, scale, value=-lr / (1 - settings.beta1**count))


def unrolled_gradient(
    network: nn.Module,
    images: Images,
    labels: Int64[Tensor, " batch"],
    learning_rates: Float[Tensor, " unrolled"],
    real_images: Float[Tensor, "real channels height width"],
    real_labels: Int64[Tensor, " real"],
) -> tuple[Float[Tensor, ""], Images, Float[Tensor, " unrolled"]]:
    """Return the objective, and its gradients with respect to `images` and `learning_rates`.

    The objective is the mean cross-entropy of the real images after `protocol.train` (Wang et al.
    2018, Algorithm 1). No graph outlives a step: the weights before every step are kept, and on the
    way back its gradient is computed anew. Where a is the objective's gradient with respect to the
    weights after a step w - r g(w, x), the step adds -r d<a, g>/dx to the gradient of its images
    and -r d<a, g>/dw to a; that of its learning rate is -<a, g>. The network is left as it was.
    """
    parameters: list[Tensor] = list(network.parameters())
    weights = [
        [parameter.detach().clone() for parameter in parameters]
        for _ in descend(network, images, labels, learning_rates)
    ]
    loss, adjoint = _objective(network, real_images, real_labels)
    image_gradient, rate_gradient = torch.zeros_like(images), torch.empty_like(learning_rates)
    rates = learning_rates.tolist()
    for i in reversed(range(len(rates))):
        with torch.no_grad():
            torch._foreach_copy_(parameters, weights[i])
        step = i % len(images)
        own = images[step].detach().requires_grad_()
        own_loss = functional.cross_entropy(network(own), labels)
        gradient = torch.autograd.grad(own_loss, parameters, create_graph=True)
        change, *changes = torch.autograd.grad(gradient, [own, *parameters], adjoint)
        products = [torch.sum(a * g.detach()) for a, g in zip(adjoint, gradient, strict=True)]
        rate_gradient[i] = -torch.stack(products).sum()
        image_gradient[step].sub_(change, alpha=rates[i])
        torch._foreach_add_(adjoint, changes, alpha=-rates[i])
    return loss, image_gradient, rate_gradient


def crop_and_flip(
    images: Float[Tensor, "n channels height width"], generator: torch.Generator
) -> Float[Tensor, "n channels height width"]:
    """Return a random window of every image padded by reflection, with even odds mirrored."""
    n, channels, height, width = images.shape
    down, right = torch.randint(2 * PAD + 1, (2, n, 1), generator=generator)
    mirrored = torch.rand(n, 1, generator=generator) < 0.5
    columns = torch.arange(width).expand(n, width)
    columns = torch.where(mirrored, columns.flip(1), columns) + right
    rows = torch.arange(height) + down
    padded = functional.pad(images, (PAD, PAD, PAD, PAD), mode="reflect")
    index = torch.arange(n)[:, None, None, None], torch.arange(channels)[:, None, None]
    where = (*index, rows[:, None, :, None], columns[:, None, None, :])
    return padded[tuple(axis.to(images.device) for axis in where)]


def _objective(network: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return the mean cross-entropy and its gradient by parameter, taken over micro-batches."""
    parameters: list[Tensor] = list(network.parameters())
    loss = torch.zeros((), dtype=images.dtype, device=images.device)
    total = [torch.zeros_like(parameter) for parameter in parameters]
    size = devices.MICRO_BATCH[images.device.type]
    for begin in range(0, len(labels), size):
        chunk = slice(begin, begin + size)
        part = functional.cross_entropy(network(images[chunk]), labels[chunk], reduction="sum")
        torch._foreach_add_(total, torch.autograd.grad(part / len(labels), parameters))
        loss += part.detach() / len(labels)
    return loss, total


create = DatasetDistillation
