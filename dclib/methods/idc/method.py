"""Dataset condensation via efficient synthetic-data parameterization (Kim et al., ICML 2022).

Gradient matching as in `dc`, but that a stored image holds several small ones, that the networks
are trained on real images, and that images are stepped class by class.
"""

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from dclib.data import tiles
from dclib.data.synthetic import SyntheticSet
from dclib.methods import matching
from dclib.methods.dc.method import GradientMatching, Steps
from dclib.methods.idc.settings import Settings
from dclib.methods.learning import State
from dclib.seeding import Streams
from dclib.training.augmentation import idc
from dclib.training.ensembles import Ensemble
from dclib.training.examples import Examples
from dclib.training.sgd import SGD, Variety

LR_IPC = 10  # images per class that `lr_img` is for


@dataclasses.dataclass(frozen=True)
class _Schedule:
    epochs: int
    lr: float
    momentum: float
    weight_decay: float
    batch: int


class Idc(GradientMatching):
    """The method `idc`. Its state holds pixels from 0 to 1."""

    settings: Settings
    way = idc

    def start(self, random: Streams) -> State:
        """Return the images to begin with, real ones or noise."""
        state = super().start(random)
        state.images.copy_(self.data.pixels(state.images))
        return state

    def step(self, state: State) -> dict[str, Tensor]:
        """Match the gradients of one freshly initialised network along its training."""
        metrics = super().step(state)
        state.images.clamp_(0, 1)
        return metrics

    def result(self, state: State) -> SyntheticSet:
        """Return the images as they are now."""
        return super().result(dataclasses.replace(state, images=self.data.normalised(state.images)))

    def seen(
        self, images: Float[Tensor, "n channels height width"]
    ) -> Float[Tensor, "many channels height width"]:
        """Return stored images as networks see them."""
        return self.data.normalised(tiles.decode(images, self.settings.factor))

    def new_steps(self, state: State) -> "_Steps":
        return _Steps(self, state)


class _Steps(Steps):
    """The parts of an iteration that are not those of `dc`."""

    settings: Settings

    def __init__(self, method: Idc, state: State) -> None:
        super().__init__(method, state)
        settings, data = self.settings, self.data
        many, most = method.ipc * settings.factor**2, settings.synthetic_batch
        self._some = min(many, most) if many > most else None
        self._chosen = torch.arange(many, device=self.device).expand(data.num_classes, many)
        self._chosen = self._chosen[:, :most].contiguous()
        self._lr_img = settings.lr_img * method.ipc / LR_IPC
        # Before a class's own step, and after it, the steps of others move its images as well.
        order = torch.arange(data.num_classes, dtype=self.dtype, device=self.device)
        self._before, self._after = (
            settings.momentum_img ** n.view(-1, 1, 1, 1, 1) for n in (order, order.flip(0))
        )
        count = min(settings.net_images, len(data.train_labels))
        shape = count, data.channels, *data.image_size
        self._examples = Examples(
            torch.zeros(shape, dtype=self.dtype, device=self.device),
            torch.zeros_like(data.train_labels[:count]),
            data,
        )
        self._sgd = SGD(
            Ensemble([self.network]),
            self._examples,
            _Schedule(
                settings.inner_epochs,
                settings.lr_net,
                settings.momentum_net,
                settings.weight_decay_net,
                settings.batch_net,
            ),
            Variety("idc", settings.net_augmentation, settings.cutmix, drops=()),
        )

    def restart(self, fresh: torch.nn.Module) -> None:
        """Begin anew with the parameters of `fresh`."""
        super().restart(fresh)
        torch._foreach_zero_(self._sgd.velocities)

    def match(self) -> None:
        """Draw images and update the synthetic ones; the loss is added to `loss`."""
        if self._some:
            random, many = self.state.random["synthetic batches"], len(self.state.labels)
            many = many // self.data.num_classes * self.settings.factor**2
            chosen = [torch.randperm(many, generator=random)[: self._some] for _ in self._chosen]
            self._chosen.copy_(torch.stack(chosen), non_blocking=True)
        super().match()

    def train(self, epochs: int) -> None:
        """Train the network on random real images."""
        state, data, examples = self.state, self.data, self._examples
        for epoch in range(1, epochs + 1):
            order = torch.randperm(len(data.train_labels), generator=state.random["net images"])
            index = order[: len(examples)].to(self.device, non_blocking=True)
            examples.images.copy_(data.normalise(data.train_images[index], self.dtype))
            examples.labels.copy_(data.train_labels[index])
            for _ in self._sgd.epoch(epoch, [state.random]):
                pass

    def _match_once(self) -> None:
        """Step the images as an optimiser of all of them does that takes a step a class.

        A class's gradient depends on its own images alone, and the steps for other classes move
        them by what is left of their momentum; so all classes are matched side by side, where they
        would have been in their turn.
        """
        settings, data = self.settings, self.data
        real = self._siamese(self._images("real batches"))
        images, momentum = (
            tensor.unflatten(0, (data.num_classes, -1))
            for tensor in (self.state.images, self.state.momentum)
        )
        decay, before, after = settings.momentum_img, self._before, self._after
        # decay + decay^2 + ... + decay^n, where decay^n is known
        moved_before, moved_after = (decay * (1 - n) / (1 - decay) for n in (before, after))
        images.sub_(momentum * moved_before, alpha=self._lr_img)
        momentum.mul_(before * decay)
        own = images.flatten(0, 1).detach().requires_grad_()
        seen = self._seen(own).unflatten(0, (data.num_classes, -1))
        seen = seen[torch.arange(data.num_classes, device=self.device)[:, None], self._chosen]
        seen = torch.stack(self._siamese(list(seen)))
        names = [
            name
            for name, parameter in self.network.named_parameters()
            if parameter.ndim > 1 and not name.startswith("classifier.")
        ]
        loss, gradient = matching.match(
            self.network, real, seen.detach(), settings.distance, settings.engine, names
        )
        (gradient,) = torch.autograd.grad(seen, own, gradient)
        momentum.add_(gradient.view_as(momentum))
        images.sub_(momentum * (1 + moved_after), alpha=self._lr_img)
        momentum.mul_(after)
        self.loss += loss


create = Idc
