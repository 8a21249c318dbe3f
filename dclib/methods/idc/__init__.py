"""Dataset condensation via efficient parameterization."""
