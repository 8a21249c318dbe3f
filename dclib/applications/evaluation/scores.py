"""Scores of DD-Ranking (Li et al. 2025): what a set is worth beyond its labels and its training.

Accuracies are fractions from 0 to 1. The authors' own code takes them in percent, where the
exponential of `_scaled` runs out of its range; the formulas, and the published scores, want
fractions.
"""

import math


def hard_label_recovery(whole: float, condensed: float) -> float:
    """Return HLR: how far a set's hard labels stay behind those of all images. Less is better."""
    return whole - condensed


def improvement_over_random(condensed: float, random: float) -> float:
    """Return IOR: how far a set is above as many random images that are trained on alike."""
    return condensed - random


def label_robust(improvement: float, recovery: float, weight: float = 0.5) -> float:
    """Return LRS, from 0 to 1, of an IOR and an HLR."""
    return _scaled(weight * improvement - (1 - weight) * recovery)


def augmentation_robust(augmented: float, plain: float, weight: float = 0.5) -> float:
    """Return ARS, from 0 to 1, of an IOR with augmentation and one without."""
    return _scaled(weight * augmented + (1 - weight) * plain)


def _scaled(value: float) -> float:
    """From -1..1 to 0..1."""
    lowest = math.exp(-1)
    return (math.exp(value) - lowest) / (math.e - lowest)
