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

from dclib import footprint, graphs
from dclib.data.datasets import ImageDataset
from dclib.data.synthetic import SyntheticSet, class_labels
from dclib.errors import InputError
from dclib.methods.dd.settings import Settings
from dclib.networks import names
from dclib.networks import plans as networks
from dclib.seeding import Streams, global_seed
from dclib.training import ensembles
from dclib.training.recipes.unrolled import Images, Labels, by_step, descend, initialise

PAD = 4  # pixels by which `augment_real` moves an image at most
ADAM_EPSILON = 1e-8


@dataclasses.dataclass
class State:
    """What is learnt, Adam's moments of it, and the random streams it comes from.

    Attributes:
        raw_rates: the learning rate of every step of every epoch, before softplus.
        moments: exp_avg and exp_avg_sq of the images and of `raw_rates`.
        done: iterations.
    """

    random: Streams
    images: Float[Tensor, "n channels height width"]
    labels: Int64[Tensor, " n"]
    raw_rates: Float[Tensor, " unrolled"]
    moments: dict[str, Tensor]
    done: Int64[Tensor, ""]
    unrolled: "_Unrolled | None" = dataclasses.field(default=None, init=False)  # made when needed

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
        data: ImageDataset,
        ipc: int,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Prepare the learning of `ipc` images per class.

        Raises:
            InputError: the network has BatchNorm, or images are too small for it or for cropping.
        """
        spec = names.parse(network)
        spec.check(data.image_size)
        if spec.batchnorm:
            raise InputError(
                f"network '{network}': dataset distillation takes none with BatchNorm, whose "
                f"statistics {data.num_classes} images a step cannot estimate"
            )
        if settings.augment_real and min(data.image_size) <= PAD:
            raise InputError(
                f"data set '{data.name}': augment_real needs images of at least {PAD + 1}x{PAD + 1}"
            )
        self.network, self.settings, self.ipc = network, settings, ipc
        self.device, self.dtype = device, dtype
        self.iterations = settings.iterations
        self.identity = [network, dataclasses.asdict(settings), data.fingerprint, ipc]
        self.data = data.to(device)
        self.networks = networks.Fresh(self.fresh_network, device)

    def start(self, random: Streams) -> State:
        """Return `ipc` images of noise per class, and the first learning rates."""
        settings, data, ipc = self.settings, self.data, self.ipc
        labels = class_labels(data.num_classes, ipc)
        shape = (len(labels), data.channels, *data.image_size)
        noise = torch.randn(shape, generator=random["initialisation"], dtype=self.dtype)
        rate = settings.lr_net
        inverse_softplus = math.log(math.expm1(rate)) if rate < 30 else rate  # to the last digit
        rates = torch.full((settings.epochs * ipc,), inverse_softplus, dtype=self.dtype)
        learnt = {"images": noise.to(self.device), "raw_rates": rates.to(self.device)}
        moments = {
            f"{name}_{moment}": torch.zeros_like(tensor)
            for name, tensor in learnt.items()
            for moment in ("exp_avg", "exp_avg_sq")
        }
        labels, done = labels.to(self.device), torch.tensor(0)
        return State(random, labels=labels, moments=moments, done=done, **learnt)

    def step(self, state: State) -> dict[str, Tensor]:
        """Train one freshly initialised network, and learn from how it does on real images."""
        unrolled = state.unrolled = state.unrolled or _Unrolled(self, state)
        unrolled.network.load_state_dict(self.networks.take(state.random).state_dict())
        for held, drawn in zip((unrolled.real, unrolled.labels), self._real(state), strict=True):
            held.copy_(drawn)
        unrolled.gradient()
        state.done += 1
        self._adam(state, "images", unrolled.to_images.transpose(0, 1).reshape(state.images.shape))
        self._adam(state, "raw_rates", unrolled.to_rates * torch.sigmoid(state.raw_rates))
        self.networks.prepare(state.random)
        return {"loss": unrolled.loss}

    def fresh_network(self, seed: int) -> networks.Network:
        """Return an initialised network, drawn on the CPU."""
        data = self.data
        with global_seed(seed, torch.device("cpu")):
            network = networks.build(self.network, data.channels, data.image_size, data.num_classes)
            initialise(network)
        return network.to(self.device, self.dtype)

    def result(self, state: State) -> SyntheticSet:
        """Return the images and learning rates as they are now."""
        rates = functional.softplus(state.raw_rates)
        images, parameters = state.images.clone(), {"learning_rates": rates}
        return SyntheticSet.like(self.data, images, state.labels, "unrolled", parameters)

    def _real(self, state: State) -> tuple[Tensor, Tensor]:
        """Return up to `real_batch` random real images, normalised, and their labels."""
        data, random = self.data, state.random
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


class _Unrolled:
    """The objective's gradient, on a network and buffers that stay where they are in memory.

    Attributes:
        real, labels: the real images of the iteration.
        loss, to_images, to_rates: what `unrolled_gradient` returned at the last call of `gradient`.
    """

    loss: Tensor
    to_images: Tensor
    to_rates: Tensor

    def __init__(self, method: DatasetDistillation, state: State) -> None:
        self.network, self._state = method.fresh_network(0), state
        self._classes = method.data.num_classes
        count = min(method.settings.real_batch, len(method.data.train_labels))
        self.real = state.images.new_empty(count, *state.images.shape[1:])
        self.labels = state.labels.new_empty(count)
        self.gradient = graphs.Repeated(self._once, method.device)

    def _once(self) -> None:
        state = self._state
        self.loss, self.to_images, self.to_rates = unrolled_gradient(
            self.network,
            by_step(state.images, self._classes),
            by_step(state.labels, self._classes),
            functional.softplus(state.raw_rates),
            self.real,
            self.labels,
        )


def unrolled_gradient(
    network: nn.Module,
    images: Images,
    labels: Labels,
    learning_rates: Float[Tensor, " unrolled"],
    real_images: Float[Tensor, "real channels height width"],
    real_labels: Int64[Tensor, " real"],
) -> tuple[Float[Tensor, ""], Images, Float[Tensor, " unrolled"]]:
    """Return the objective, and its gradients with respect to `images` and `learning_rates`.

    The objective is the mean cross-entropy of the real images after `unrolled.train` (Wang et al.
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
    for i, rate in reversed(list(enumerate(learning_rates))):
        with torch.no_grad():
            torch._foreach_copy_(parameters, weights[i])
        step = i % len(images)
        own = images[step].detach().requires_grad_()
        own_loss = functional.cross_entropy(network(own), labels[step])
        gradient = torch.autograd.grad(own_loss, parameters, create_graph=True)
        change, *changes = torch.autograd.grad(gradient, [own, *parameters], adjoint)
        products = [torch.sum(a * g.detach()) for a, g in zip(adjoint, gradient, strict=True)]
        rate_gradient[i] = -torch.stack(products).sum()
        image_gradient[step].addcmul_(change, rate, value=-1)
        ensembles.descend(adjoint, changes, [], lr=rate)
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
    size = footprint.MICRO_BATCH[images.device.type]
    for begin in range(0, len(labels), size):
        chunk = slice(begin, begin + size)
        part = functional.cross_entropy(network(images[chunk]), labels[chunk], reduction="sum")
        torch._foreach_add_(total, torch.autograd.grad(part / len(labels), parameters))
        loss += part.detach() / len(labels)
    return loss, total


create = DatasetDistillation
