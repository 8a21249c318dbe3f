"""Training one network on a set and testing it, as plainly as it reads. Never optimised."""

import torch
import torch.nn.functional as F


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
