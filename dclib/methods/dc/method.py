"""Dataset condensation with gradient matching (Zhao, Mopuri, Bilen, ICLR 2021, Algorithm 1)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from dclib import devices, graphs
from dclib.data import tiles
from dclib.methods import matching
from dclib.methods.dc.settings import GROWS
from dclib.methods.learning import Learning, State
from dclib.methods.siamese import Siamese
from dclib.networks import plans as networks
from dclib.training.augmentation import dsa


class GradientMatching(Learning):
    """The methods `dc` and `dsa`.

    Attributes:
        way: whose augmentation it is that real and synthetic images share.
    """

    grows = GROWS
    way = dsa

    def step(self, state: State) -> dict[str, Tensor]:
        """Match the gradients of one freshly initialised network along its training."""
        outer, inner = self.settings.loops(self.ipc)
        steps = state.steps = state.steps or self.new_steps(state)
        steps.restart(self.networks.take(state.random))
        with devices.precision(self.device, self.settings.precision):
            for outer_step in range(outer):
                steps.set_batch_norms()
                steps.match()
                if outer_step < outer - 1:
                    steps.train(inner)
        self.networks.prepare(state.random)
        return {"loss": steps.loss / (outer * self.data.num_classes)}

    def new_steps(self, state: State) -> "Steps":
        """Return the parts of an iteration."""
        return Steps(self, state)


class Steps:
    """The parts of an iteration, on a network and buffers that stay where they are in memory.

    Random numbers are drawn on the CPU, ahead of the device, so that all devices get the same.
    """

    def __init__(self, method: GradientMatching, state: State) -> None:
        self.settings, self.state = method.settings, state
        self.data, self._seen = method.data, method.seen
        self.device, self.dtype = method.device, method.dtype
        self.network = method.fresh_network(0)
        self.parameters: list[Tensor] = list(self.network.parameters())
        self.loss = torch.zeros((), dtype=self.dtype, device=self.device)
        self._real: dict[str, tuple[Tensor, list[int]]] = {}  # indices, and how many of each class
        self._siamese = Siamese(
            self.settings.augmentation, self.data.num_classes, self.device, method.way
        )
        self._match = graphs.Repeated(self._match_once, self.device)
        self._batches: dict[int, tuple[dict[str, Tensor], graphs.Repeated]] = {}
        # What the network is trained on; without small images in one, the images themselves.
        self._images_seen = method.seen(state.images)
        self._labels_seen = tiles.seen(state.labels, self.settings.factor)

    def restart(self, fresh: nn.Module) -> None:
        """Begin anew with the parameters of `fresh`."""
        self.network.load_state_dict(fresh.state_dict())
        self.loss.zero_()

    def set_batch_norms(self) -> None:
        """Estimate the running statistics from real images, then hold them during matching."""
        layers = networks.batch_norms(self.network)
        if not layers:
            return
        self.network.train()
        with torch.no_grad():
            self._draw("batchnorm batches", self.settings.batchnorm_batch)
            self.network(torch.cat(self._images("batchnorm batches")))
        for layer in layers:
            layer.eval()

    def match(self) -> None:
        """Draw real images and update the synthetic ones; the loss is added to `loss`."""
        self._draw("real batches", self.settings.real_batch)
        self._siamese.draw(self.state.random["siamese augmentation"])
        self._match()

    def train(self, epochs: int) -> None:
        """Train the network on the whole synthetic set, every batch of it augmented."""
        self.network.train()
        if self.settings.factor > 1:
            self._images_seen.copy_(self._seen(self.state.images))
        random, count = self.state.random["training order"], len(self._labels_seen)
        orders = torch.stack([torch.randperm(count, generator=random) for _ in range(epochs)])
        size, kinds = self.settings.batch_net, self.settings.augmentation
        for order in orders.to(self.device, non_blocking=True):
            moves: dict[str, Tensor] = {}
            if kinds:
                random = self.state.random["training augmentation"]
                drawn = dsa.draw(count, size, kinds, random)
                moves = {n: value.to(self.device, non_blocking=True) for n, value in drawn.items()}
            for begin in range(0, count, size):
                part = slice(begin, begin + size)
                self._train_on(order[part], **{name: move[part] for name, move in moves.items()})

    def _match_once(self) -> None:
        state, settings = self.state, self.settings
        real = self._siamese(self._images("real batches"))
        images = state.images.detach().requires_grad_()
        seen = self._seen(images).unflatten(0, (len(real), -1))
        seen = torch.stack(self._siamese(list(seen))) if self._siamese.kinds else seen
        loss, gradient = matching.match(
            self.network, real, seen.detach(), settings.distance, settings.engine
        )
        (gradient,) = torch.autograd.grad(seen, images, gradient)
        state.momentum.mul_(settings.momentum_img).add_(gradient)
        state.images.sub_(state.momentum, alpha=settings.lr_img)
        self.loss += loss

    def _draw(self, stream: str, size: int) -> None:
        """Choose up to `size` random real images of every class."""
        chosen = self.data.sample(size, self.state.random[stream])
        indices = torch.cat(chosen)
        if stream not in self._real:
            self._real[stream] = indices.to(self.device), [len(part) for part in chosen]
        self._real[stream][0].copy_(indices, non_blocking=True)

    def _images(self, stream: str) -> list[Tensor]:
        """Return the real images that were drawn, class by class, normalised."""
        indices, sizes = self._real[stream]
        images = self.data.normalise(self.data.train_images[indices], self.dtype)
        return list(images.split(sizes))

    def _train_on(self, batch: Tensor, **moves: Tensor) -> None:
        """Do one step of gradient descent on the synthetic images of these indices.

        Args:
            moves: how they are changed, for `dsa.transform`.
        """
        inputs = {"batch": batch, **moves}
        if len(batch) not in self._batches:
            buffers = {name: value.clone() for name, value in inputs.items()}

            def descend() -> None:
                index, own = buffers["batch"], {n: buffers[n] for n in buffers if n != "batch"}
                images, labels = self._images_seen[index], self._labels_seen[index]
                images = dsa.transform(images, **own) if own else images
                loss = functional.cross_entropy(self.network(images), labels)
                gradients = torch.autograd.grad(loss, self.parameters)
                with torch.no_grad():
                    torch._foreach_add_(self.parameters, gradients, alpha=-self.settings.lr_net)

            self._batches[len(batch)] = buffers, graphs.Repeated(descend, self.device)
        buffers, step = self._batches[len(batch)]
        for name, value in inputs.items():
            buffers[name].copy_(value)
        step()


create = GradientMatching
