"""A network trained on the whole training split."""
