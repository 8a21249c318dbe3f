"""Algorithm 1 of Zhao et al. (2021), written down as plainly as it reads. Never optimised.

This is the oracle of the tests and the yardstick of the benchmarks: one class after another, one
row of a gradient after another where that is affordable, autograd for everything. It shares with
dclib the networks and the random streams, and none of the arithmetic.
"""

import torch
import torch.nn.functional as F
from torch import nn

from dclib.networks import plans as networks
from dclib.seeding import global_seed
from reference import siamese


def row_distance(a, b):
    """Sum over rows of 1 - cosine, rows being output channels; vectors of one dimension count 0."""
    if a.ndim == 1:
        return a.new_zeros(())
    a, b = a.reshape(a.shape[0], -1), b.reshape(b.shape[0], -1)
    cosines = (a * b).sum(dim=1) / (torch.norm(a, dim=1) * torch.norm(b, dim=1) + 1e-6)
    return (1 - cosines).sum()


def distance(real, synthetic, kind):
    if kind == "ours":
        return sum(row_distance(a, b) for a, b in zip(real, synthetic, strict=True))
    a = torch.cat([g.reshape(-1) for g in real])
    b = torch.cat([g.reshape(-1) for g in synthetic])
    if kind == "mse":
        return ((a - b) ** 2).sum()
    if kind == "l1":
        return (a - b).abs().sum()
    return 1 - (a @ b) / (torch.norm(a) * torch.norm(b) + 1e-6)


def match(network, real, synthetic, kind="ours"):
    """Loss, and its gradient with respect to `synthetic` [classes, ipc, channels, h, w]."""
    synthetic = synthetic.clone().requires_grad_()
    parameters = list(network.parameters())
    loss = 0.0
    for label in range(len(real)):
        labels = torch.full((len(real[label]),), label, device=synthetic.device)
        real_loss = F.cross_entropy(network(real[label]), labels)
        real_gradient = [g.detach() for g in torch.autograd.grad(real_loss, parameters)]
        own_labels = torch.full((synthetic.shape[1],), label, device=synthetic.device)
        own_loss = F.cross_entropy(network(synthetic[label]), own_labels)
        own_gradient = torch.autograd.grad(own_loss, parameters, create_graph=True)
        loss = loss + distance(real_gradient, own_gradient, kind)
    (gradient,) = torch.autograd.grad(loss, synthetic)
    return loss.detach(), gradient


def enlarged(images, factor):
    """The small images in each of these, one after another, row by row."""
    if factor == 1:
        return images
    height, width = images.shape[2] // factor, images.shape[3] // factor
    parts = [
        F.interpolate(
            image[None, :, i * height : (i + 1) * height, j * width : (j + 1) * width],
            images.shape[2:], mode="bilinear", align_corners=False,
        )
        for image in images for i in range(factor) for j in range(factor)
    ]  # fmt: skip
    return torch.cat(parts)


def shrunk(images, factor):
    """Every `factor`-th pixel of images, as many of them in one as fit, row by row."""
    if factor == 1:
        return images
    rows, made = factor, []
    for first in range(0, len(images), factor**2):
        small = [image[:, ::factor, ::factor] for image in images[first : first + factor**2]]
        lines = [torch.cat(small[i * rows : (i + 1) * rows], dim=2) for i in range(rows)]
        made.append(torch.cat(lines, dim=1))
    return torch.stack(made)


def changed(image, kinds, u):
    """An image, by these kinds one after another: see `siamese.change`; with its gradient."""
    pixels = [[list(row) for row in c] for c in image] if image.requires_grad else image.tolist()
    for kind in kinds:
        pixels = siamese.change(pixels, kind, u)
    flat = [torch.as_tensor(x, dtype=image.dtype) for c in pixels for row in c for x in row]
    return torch.stack(flat).reshape(image.shape)


def condense(
    data, ipc, settings, random, *, network, iterations, outer, inner, dtype, device="cpu"
):
    """Return the images, and the loss (summed over classes) of every outer step."""
    classes = len(data.class_names)
    mean = torch.tensor(data.mean, dtype=dtype, device=device).reshape(-1, 1, 1)
    std = torch.tensor(data.std, dtype=dtype, device=device).reshape(-1, 1, 1)
    pixels = (data.train_images.to(device).to(dtype) / 255 - mean) / std
    of_class = [torch.nonzero(data.train_labels == c).flatten() for c in range(classes)]
    shape = (classes * ipc, *data.train_images.shape[1:])

    def draw(size, stream):
        return [
            pixels[indices[torch.randperm(len(indices), generator=random[stream])[:size]]]
            for indices in of_class
        ]

    factor, kinds = settings.factor, settings.augmentation

    def draw_changes(batches, n, stream):
        """A kind for each batch, and numbers for each of `n` images."""
        if not kinds:
            return [()] * batches, [()] * n
        one = torch.randint(len(kinds), (batches, 1), generator=random[stream]).flatten().tolist()
        numbers = torch.rand(n, 11, generator=random[stream], dtype=torch.float64).tolist()
        return [(kinds[i],) for i in one], numbers

    if settings.initialisation == "real":
        images = torch.cat(draw(ipc * factor**2, "initialisation"))
        images = shrunk(images, factor)
    else:
        images = torch.randn(shape, generator=random["initialisation"], dtype=dtype).to(device)
    images.requires_grad_()
    many = ipc * factor**2
    labels = torch.cat([torch.full((many,), c) for c in range(classes)]).to(device)
    image_optimizer = torch.optim.SGD([images], lr=settings.lr_img, momentum=settings.momentum_img)
    losses = []
    for _ in range(iterations):
        with global_seed(random.seed("networks"), torch.device(device)):
            model = networks.build(
                network, data.train_images.shape[1], tuple(data.train_images.shape[2:]), classes
            ).to(device, dtype)
        net_optimizer = torch.optim.SGD(model.parameters(), lr=settings.lr_net)
        for t in range(outer):
            model.train()
            norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
            if norms:
                model(torch.cat(draw(settings.batchnorm_batch, "batchnorm batches")))
                for norm in norms:
                    norm.eval()
            real = draw(settings.real_batch, "real batches")
            kinds_by_class, numbers = draw_changes(classes, classes, "siamese augmentation")
            seen = enlarged(images, factor)
            if kinds:
                real = [
                    torch.stack(
                        [changed(image, kinds_by_class[c], numbers[c]) for image in real[c]]
                    )
                    for c in range(classes)
                ]
                alike = zip(seen, labels.tolist(), strict=True)
                seen = torch.stack(
                    [changed(image, kinds_by_class[c], numbers[c]) for image, c in alike]
                )
            by_class = seen.detach().reshape(classes, many, *shape[1:])
            loss, gradient = match(model, real, by_class, settings.distance)
            losses.append(float(loss))
            image_optimizer.zero_grad()
            (images.grad,) = torch.autograd.grad(seen, images, gradient.reshape(seen.shape))
            image_optimizer.step()
            if t == outer - 1:
                break
            model.train()
            for _ in range(inner):
                order = torch.randperm(len(labels), generator=random["training order"]).to(device)
                batches = order.split(settings.batch_net)
                kinds_by_batch, numbers = draw_changes(
                    len(batches), len(labels), "training augmentation"
                )
                for i, batch in enumerate(batches):
                    net_optimizer.zero_grad()
                    own = enlarged(images.detach(), factor)[batch]
                    if kinds:
                        place = i * settings.batch_net
                        own = torch.stack([
                            changed(image, kinds_by_batch[i], numbers[place + k])
                            for k, image in enumerate(own)
                        ])  # fmt: skip
                    F.cross_entropy(model(own), labels[batch]).backward()
                    net_optimizer.step()
    return images.detach(), losses
