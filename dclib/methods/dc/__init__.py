"""Dataset condensation with gradient matching."""
