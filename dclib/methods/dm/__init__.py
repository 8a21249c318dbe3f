"""Dataset condensation with distribution matching."""
