"""The real images that a network forgets most often in training."""
