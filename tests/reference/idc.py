"""IDC (Kim et al. 2022), written down as plainly as it reads. Never optimised.

One class after another, one image after another, an optimiser of PyTorch's for everything. It
shares with dclib the networks and the random streams, and none of the arithmetic.
"""

import torch
import torch.nn.functional as F
from torch import nn

from dclib.networks import plans as networks
from dclib.seeding import global_seed
from reference.gradient_matching import changed, enlarged, shrunk

ORDER = ("flip", "color", "crop", "scale", "rotate", "cutout")


def draw_changes(batches, n, kinds, generator):
    """The kinds of each batch, in the order they are applied, and numbers for each image."""
    if not kinds:
        return [()] * batches, [()] * n
    drawn = [kind for kind in kinds if kind in ("crop", "scale", "rotate")]
    always = {kind for kind in kinds if kind not in drawn}
    ones = [set()] * batches
    if drawn:
        index = torch.randint(len(drawn), (batches, 1), generator=generator).flatten().tolist()
        ones = [{drawn[i]} for i in index]
    applied = [[kind for kind in ORDER if kind in always | one] for one in ones]
    return applied, torch.rand(n, 11, generator=generator, dtype=torch.float64).tolist()


def distance(real, synthetic, kind):
    """Over all weights but the last layer's, and no parameter of one dimension."""
    total = 0.0
    for (name, a), b in zip(real.items(), synthetic, strict=True):
        if a.ndim > 1 and not name.startswith("classifier"):
            total = total + ((a - b).abs().sum() if kind == "l1" else ((a - b) ** 2).sum())
    return total


def match_class(network, real, synthetic, label, kind):
    """Loss of one class, differentiable by the synthetic images."""
    named = dict(network.named_parameters())

    def gradient(images, graph):
        labels = torch.full((len(images),), label)
        objective = F.cross_entropy(network(images), labels)
        return torch.autograd.grad(objective, list(named.values()), create_graph=graph)

    own = dict(zip(named, gradient(real, False), strict=True))
    return distance(own, gradient(synthetic, True), kind)


def condense(data, ipc, settings, random, *, network, dtype):
    """Return the images in pixels from 0 to 1, and the losses of all classes, in their order."""
    classes, factor = len(data.class_names), settings.factor
    mean = torch.tensor(data.mean, dtype=dtype).reshape(-1, 1, 1)
    std = torch.tensor(data.std, dtype=dtype).reshape(-1, 1, 1)
    pixels = data.train_images.to(dtype) / 255
    of_class = [torch.nonzero(data.train_labels == c).flatten() for c in range(classes)]

    def draw(size, stream, label):
        chosen = torch.randperm(len(of_class[label]), generator=random[stream])[:size]
        return pixels[of_class[label][chosen]]

    begin = [draw(ipc * factor**2, "initialisation", c) for c in range(classes)]
    images = shrunk(torch.cat(begin), factor).requires_grad_()
    optimizer = torch.optim.SGD(
        [images], lr=settings.lr_img * ipc / 10, momentum=settings.momentum_img
    )
    losses = []
    for _ in range(settings.iterations):
        with global_seed(random.seed("networks"), torch.device("cpu")):
            size = tuple(data.train_images.shape[2:])
            model = networks.build(network, data.train_images.shape[1], size, classes).to(dtype)
        net_optimizer = torch.optim.SGD(
            model.parameters(), lr=float(torch.tensor(settings.lr_net)),
            momentum=settings.momentum_net, weight_decay=settings.weight_decay_net,
        )  # fmt: skip
        for t in range(settings.outer_steps):
            model.train()
            norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
            if norms:
                own = [
                    draw(settings.batchnorm_batch, "batchnorm batches", c) for c in range(classes)
                ]
                model((torch.cat(own) - mean) / std)
                for norm in norms:
                    norm.eval()
            kinds, numbers = draw_changes(
                classes, classes, settings.augmentation, random["siamese augmentation"]
            )
            for c in range(classes):
                real = draw(settings.real_batch, "real batches", c)
                small = enlarged(images[c * ipc : (c + 1) * ipc], factor)
                if len(small) > settings.synthetic_batch:
                    order = torch.randperm(len(small), generator=random["synthetic batches"])
                    small = small[order[: settings.synthetic_batch]]
                real, own = (
                    torch.stack([changed((x - mean) / std, kinds[c], numbers[c]) for x in both])
                    for both in (real, small)
                )
                loss = match_class(model, real, own, c, settings.distance)
                optimizer.zero_grad()
                (images.grad,) = torch.autograd.grad(loss, images)
                optimizer.step()
                losses.append(float(loss.detach()))
            if t < settings.outer_steps - 1:
                for _ in range(settings.inner_epochs):
                    chosen = torch.randperm(len(pixels), generator=random["net images"])
                    chosen = chosen[: settings.net_images]
                    train(
                        model, net_optimizer, (pixels[chosen] - mean) / std,
                        data.train_labels[chosen], settings, random,
                    )  # fmt: skip
        with torch.no_grad():
            images.clamp_(0, 1)
    return images.detach(), losses


def train(model, optimizer, images, labels, settings, random):
    """One pass over real images, augmented one by one and mixed batch by batch."""
    model.train()
    count, size = len(labels), settings.batch_net
    order = torch.randperm(count, generator=random["order"])
    batches = [order[i : i + size] for i in range(0, count, size)]
    kinds, numbers = draw_changes(
        len(batches), count, settings.net_augmentation, random["augmentation"]
    )
    boxes, partners = [None] * len(batches), [None] * len(batches)
    if settings.cutmix:
        generator = random["mixing"]
        boxes = torch.rand(4, len(batches), generator=generator, dtype=torch.float64).T.tolist()
        partners = [torch.randperm(len(batch), generator=generator) for batch in batches]
    for i, batch in enumerate(batches):
        own = torch.stack(
            [changed(images[k], kinds[i], numbers[i * size + j]) for j, k in enumerate(batch)]
        )
        share, other = 0.0, labels[batch]
        if settings.cutmix and boxes[i][0] < settings.cutmix:
            _, area, down, right = boxes[i]
            height, width = own.shape[2:]
            top, bottom, left, right = (
                round(min(max(centre + sign * area**0.5 / 2, 0), 1) * side)
                for centre, side in ((down, height), (right, width))
                for sign in (-1, 1)
            )
            mixed = own.clone()
            mixed[:, :, top:bottom, left:right] = own[partners[i], :, top:bottom, left:right]
            own, other = mixed, labels[batch[partners[i]]]
            share = (bottom - top) * (right - left) / (height * width)
        logits = model(own)
        loss = (1 - share) * F.cross_entropy(logits, labels[batch])
        loss = loss + share * F.cross_entropy(logits, other)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
