"""How a set says that it wants to be trained on, one module a recipe."""
