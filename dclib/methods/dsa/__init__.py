"""Dataset condensation with differentiable siamese augmentation."""
