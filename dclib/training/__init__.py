"""How networks are trained on a set."""
