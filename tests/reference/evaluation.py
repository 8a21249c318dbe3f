"""Training one network on a set and testing it, as plainly as it reads. Never optimised.

Random numbers are drawn by dclib, what is made of them is not.
"""

import torch
import torch.nn.functional as F

from dclib.training import augmentation, mixing
from dclib.training.augmentation import dc, dsa
from reference import siamese


def train(network, images, labels, settings, random, lr=None, teacher=None):
    """Train `network` by a protocol, one image after another where they are changed.

    Args:
        settings: `dclib.applications.evaluation.settings.Settings`.
        random: a stream for each kind of random number, as the recipe takes them.
        lr: what the learning rate begins with, if it is not that of the settings.
        teacher: what labels the images of every batch, if `labels` do not count.
    """
    lr, dropped = lr or settings.lr, 0
    drops = [int(settings.epochs * part) for part in settings.lr_drops]
    velocity = [torch.zeros_like(p) for p in network.parameters()]
    for epoch in range(settings.epochs):
        if epoch in drops:
            dropped += 1
            if settings.restart_momentum:
                velocity = [torch.zeros_like(p) for p in network.parameters()]
        rate = float(torch.tensor(lr * settings.lr_drop_factor**dropped))  # in float32
        order = torch.randperm(len(labels), generator=random["order"])
        changes = mixes = None
        if settings.augmentation:
            way = augmentation.way(settings.augmentation_way)
            changes = way.draw(
                len(labels), settings.batch, settings.augmentation, random["augmentation"]
            )
        if settings.cutmix:
            mixes = mixing.draw(len(labels), settings.batch, settings.cutmix, random["mixing"])
        for begin in range(0, len(labels), settings.batch):
            batch = order[begin : begin + settings.batch]
            rows = range(begin, begin + len(batch))
            pictures, targets = images[batch], labels[batch]
            if settings.augmentation_way in ("dsa", "idc") and changes:
                changed = [
                    _changed(picture, changes["applied"][row], changes["uniform"][row])
                    for picture, row in zip(pictures, rows, strict=True)
                ]
                pictures = torch.stack(changed)
            elif changes:
                moves = {name: value[begin : begin + len(batch)] for name, value in changes.items()}
                pictures = dc.transform(pictures, **moves)
            other, share = targets, torch.zeros(len(batch))
            if mixes:
                partner, box = mixes["partner"][begin:], mixes["box"][begin]
                pictures, other, share = _mixed(pictures, targets, partner, box)
            logits = network(pictures)
            if teacher is not None:
                with torch.no_grad():
                    targets = F.softmax(teacher(pictures) / settings.temperature, dim=1)
                logits, share = logits / settings.temperature, torch.zeros(len(batch))
                other = targets
            losses = (1 - share) * F.cross_entropy(logits, targets, reduction="none")
            losses = losses + share * F.cross_entropy(logits, other, reduction="none")
            gradients = torch.autograd.grad(losses.mean(), list(network.parameters()))
            with torch.no_grad():
                for p, g, v in zip(network.parameters(), gradients, velocity, strict=True):
                    v.mul_(settings.momentum).add_(g + settings.weight_decay * p)
                    p.sub_(rate * v)


def _changed(picture, applied, uniform):
    """One image, changed by every kind that is applied, one after another."""
    picture = picture.tolist()
    for kind, chosen in zip(dsa.KINDS, applied.tolist(), strict=True):
        if chosen:
            picture = siamese.change(picture, kind, uniform.tolist())
    return torch.tensor(picture, dtype=torch.float64)


def _mixed(pictures, targets, partner, box):
    """Images with a box of another one in each, the labels of the others, and the box's share."""
    height, width = pictures.shape[-2:]
    top, bottom = round(float(box[0]) * height), round(float(box[1]) * height)
    left, right = round(float(box[2]) * width), round(float(box[3]) * width)
    mixed = pictures.clone()
    for i in range(len(pictures)):
        mixed[i, :, top:bottom, left:right] = pictures[partner[i], :, top:bottom, left:right]
    share = (bottom - top) * (right - left) / (height * width)
    return mixed, targets[partner[: len(targets)]], torch.full((len(targets),), share).double()


def evaluate(network, images, labels, test_images, test_labels, settings, order):
    """Train `network` and return its test accuracy in percent; `order` shuffles the epochs."""
    for epoch in range(settings.epochs):
        if epoch in (0, settings.epochs // 2):
            lr = settings.lr if epoch == 0 else 0.1 * settings.lr
            optimizer = torch.optim.SGD(
                network.parameters(),
                lr=lr,
                momentum=settings.momentum,
                weight_decay=settings.weight_decay,
            )
        network.train()
        for batch in (
            torch.randperm(len(labels), generator=order).to(labels.device).split(settings.batch)
        ):
            optimizer.zero_grad()
            F.cross_entropy(network(images[batch]), labels[batch]).backward()
            optimizer.step()
    network.eval()
    correct = 0
    with torch.no_grad():
        for some, targets in zip(test_images.split(256), test_labels.split(256), strict=True):
            correct += int((network(some).argmax(1) == targets).sum())
    return 100 * correct / len(test_labels)
