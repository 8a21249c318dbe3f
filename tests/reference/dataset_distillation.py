"""Dataset distillation of Wang et al. (2018), written down as plainly as it reads. Never optimised.

This is the oracle of the tests: one graph through all steps, autograd for everything and PyTorch's
own Adam. It shares with dclib the networks and the random streams, and none of the arithmetic.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from dclib.networks import plans as networks
from dclib.seeding import global_seed


def initialise(network):
    """Xavier-normal matrices and kernels, biases zero, the scales of norms one."""
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            with torch.no_grad():
                if name == "bias":
                    parameter.zero_()
                elif isinstance(module, nn.GroupNorm | nn.LayerNorm):
                    parameter.fill_(1.0)
                else:
                    nn.init.xavier_normal_(parameter, gain=1.0)


def unroll(network, images, labels, rates):
    """The weights after all steps, `images` [steps, batch, channels, height, width] in turn."""
    weights = dict(network.named_parameters())
    for i in range(len(rates)):
        batch = images[i % len(images)]
        loss = F.cross_entropy(functional_call(network, weights, batch), labels)
        gradient = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        weights = {
            name: weight - rates[i] * g
            for (name, weight), g in zip(weights.items(), gradient, strict=True)
        }
    return weights


def objective(network, images, labels, rates, real, real_labels):
    weights = unroll(network, images, labels, rates)
    return F.cross_entropy(functional_call(network, weights, real), real_labels)


def crop_and_flip(image, down, right, flip):
    """One window of one image [channels, height, width] padded by 4 pixels."""
    height, width = image.shape[1:]
    image = F.pad(image[None], (4, 4, 4, 4), mode="reflect")[0]
    image = image[:, down : down + height, right : right + width]
    return image.flip(2) if flip else image


def distill(data, ipc, settings, random, *, network, dtype):
    """Return the images, the learning rates, and the objective of every iteration."""
    classes = len(data.class_names)
    mean = torch.tensor(data.mean, dtype=dtype).reshape(-1, 1, 1)
    std = torch.tensor(data.std, dtype=dtype).reshape(-1, 1, 1)
    pixels = (data.train_images.to(dtype) / 255 - mean) / std
    shape = data.train_images.shape[1:]
    images = torch.randn((classes * ipc, *shape), generator=random["initialisation"], dtype=dtype)
    raw = torch.full((settings.epochs * ipc,), math.log(math.exp(settings.lr_net) - 1), dtype=dtype)
    images.requires_grad_()
    raw.requires_grad_()
    optimizer = torch.optim.Adam(
        [images, raw], lr=settings.lr_img, betas=(settings.beta1, settings.beta2)
    )
    schedule = torch.optim.lr_scheduler.StepLR(
        optimizer, settings.iterations // settings.lr_halvings, gamma=0.5
    )
    losses = []
    for _ in range(settings.iterations):
        with global_seed(random.seed("networks"), torch.device("cpu")):
            model = networks.build(network, shape[0], tuple(shape[1:]), classes)
            initialise(model)
        model = model.to(dtype)
        order = torch.randperm(len(pixels), generator=random["real batches"])
        chosen = order[: settings.real_batch]
        real = pixels[chosen]
        if settings.augment_real:
            stream = random["real augmentation"]
            down, right = torch.randint(9, (2, len(real), 1), generator=stream)
            flip = torch.rand(len(real), 1, generator=stream) < 0.5
            moved = zip(real, down, right, flip, strict=True)
            real = torch.stack([crop_and_flip(x, int(d), int(r), bool(f)) for x, d, r, f in moved])
        # Step s takes image s of every class.
        steps = torch.stack([images[s::ipc] for s in range(ipc)])
        loss = objective(
            model, steps, torch.arange(classes), F.softplus(raw), real, data.train_labels[chosen]
        )
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return images.detach(), F.softplus(raw).detach(), losses
