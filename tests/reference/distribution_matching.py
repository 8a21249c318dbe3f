"""Algorithm 1 of Zhao and Bilen (2023), written down as plainly as it reads. Never optimised.

One class after another, and the changes of the augmentation one image after another; it shares with
dclib the networks and the random streams, and none of the arithmetic.
"""

import math

import torch
import torch.nn.functional as F

from dclib.networks import plans as networks
from dclib.seeding import global_seed
from dclib.training.augmentation import dsa


def changed(image, kind, u):
    """One image [channels, rows, columns] after one change; differentiable.

    `siamese.change` is the same pixel by pixel, on numbers alone.
    """
    _, height, width = image.shape
    if kind == "flip":
        return image.flip(2) if u[7] < 0.5 else image
    if kind == "color":
        image = image + (u[0] - 0.5)
        grey = image.mean(dim=0)
        image = grey + (image - grey) * (2 * u[1])
        return image.mean() + (image - image.mean()) * (u[2] + 0.5)
    if kind == "crop":
        reach = [int(0.125 * side + 0.5) for side in (height, width)]
        top, left = (math.floor(u[3 + i] * (2 * reach[i] + 1)) for i in (0, 1))
        padded = F.pad(image, (reach[1], reach[1], reach[0], reach[0]))
        return padded[:, top : top + height, left : left + width]
    if kind == "cutout":
        rows, columns = torch.zeros(height, 1), torch.zeros(1, width)
        for line, number in ((rows[:, 0], u[5]), (columns[0], u[6])):
            side = len(line)
            size = int(0.5 * side + 0.5)
            centre = math.floor(number * (side + 1 if size % 2 == 0 else side))
            for place in range(centre - size // 2, centre - size // 2 + size):
                line[min(max(place, 0), side - 1)] = 1
        return image * (1 - rows * columns).to(image)
    if kind == "scale":
        down, right = (1 / 1.2 + (1.2 - 1 / 1.2) * number for number in (u[8], u[9]))
        matrix = [[right, 0, 0], [0, down, 0]]
    else:
        angle = math.radians(15 * (2 * u[10] - 1))
        matrix = [[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0]]
    theta = torch.tensor([matrix], dtype=torch.float64, device=image.device)
    grid = F.affine_grid(theta, [1, *image.shape], align_corners=False)
    return F.grid_sample(image[None], grid.to(image), align_corners=False)[0]


def augmented(images, kinds, u):
    for kind in kinds:
        images = torch.stack([changed(image, kind, u) for image in images])
    return images


def small_ones(image, factor):
    """The factor x factor images in one [channels, rows, columns], row by row, in full size."""
    if factor == 1:
        return [image]
    _, height, width = image.shape
    down, right = -(-height // factor), -(-width // factor)
    # What is missing to whole small ones is mid-grey, which the caller has made zero.
    image = F.pad(image, (0, right * factor - width, 0, down * factor - height))
    return [
        F.interpolate(
            image[None, :, i * down : (i + 1) * down, j * right : (j + 1) * right],
            (height, width), mode="bilinear", align_corners=False,
        )[0]
        for i in range(factor)
        for j in range(factor)
    ]  # fmt: skip


def begin(images, factor):
    """An image [channels, rows, columns] that holds factor x factor others, by nearest pixels."""
    if factor == 1:
        return images[0]
    _, height, width = images[0].shape
    down, right = -(-height // factor), -(-width // factor)
    rows = [i * height // down for i in range(down)]
    columns = [j * width // right for j in range(right)]
    shrunk = [image[:, rows][:, :, columns] for image in images]
    lines = [torch.cat(shrunk[i * factor : (i + 1) * factor], dim=2) for i in range(factor)]
    return torch.cat(lines, dim=1)[:, :height, :width]


def match(network, real, synthetic, moves, factor=1, grey=0.0):
    """Loss, and its gradient with respect to `synthetic` [classes, ipc, channels, h, w].

    `moves` has the kinds and the numbers of every class. A network with BatchNorm sees the images
    of all classes at once, any other those of one.
    """
    synthetic = synthetic.clone().requires_grad_()
    real = [augmented(own, *move) for own, move in zip(real, moves, strict=True)]
    seen = [
        torch.stack([one + grey for image in own for one in small_ones(image - grey, factor)])
        for own in synthetic
    ]
    learnt = [augmented(own, *move) for own, move in zip(seen, moves, strict=True)]
    if networks.batch_norms(network):
        of_real = network.features(torch.cat(real)).split([len(own) for own in real])
        of_learnt = network.features(torch.cat(learnt)).split([len(own) for own in learnt])
    else:
        of_real = [network.features(own) for own in real]
        of_learnt = [network.features(own) for own in learnt]
    loss = 0.0
    for own_real, own in zip(of_real, of_learnt, strict=True):
        loss = loss + ((own_real.detach().mean(dim=0) - own.mean(dim=0)) ** 2).sum()
    (gradient,) = torch.autograd.grad(loss, synthetic)
    return loss.detach(), gradient


def condense(data, ipc, settings, random, *, network, iterations, dtype, device="cpu"):
    """Return the images, and the loss (summed over classes) of every iteration."""
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

    if settings.initialisation == "real":
        many = settings.factor**2
        chosen = torch.cat(draw(ipc * many, "initialisation")).split(many)
        images = torch.stack([begin(own, settings.factor) for own in chosen])
    else:
        images = torch.randn(shape, generator=random["initialisation"], dtype=dtype).to(device)
    images.requires_grad_()
    optimizer = torch.optim.SGD([images], lr=settings.lr_img, momentum=settings.momentum_img)
    losses = []
    for _ in range(iterations):
        with global_seed(random.seed("networks"), torch.device(device)):
            model = networks.build(network, shape[1], shape[2:], classes).to(device, dtype)
        model.train().requires_grad_(False)
        real = draw(settings.real_batch, "real batches")
        moves = [([], None)] * classes
        if settings.augmentation:
            drawn = dsa.draw(classes, 1, settings.augmentation, random["siamese"])
            moves = [
                ([kind for kind, used in zip(dsa.KINDS, applied, strict=True) if used], u)
                for applied, u in zip(
                    drawn["applied"].tolist(), drawn["uniform"].tolist(), strict=True
                )
            ]
        by_class = images.detach().reshape(classes, ipc, *shape[1:])
        loss, gradient = match(model, real, by_class, moves, settings.factor, (0.5 - mean) / std)
        losses.append(float(loss))
        images.grad = gradient.reshape(shape)
        optimizer.step()
    return images.detach(), losses
