"""Training fresh networks on a set, and testing them."""
