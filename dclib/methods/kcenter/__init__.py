"""Real images that leave no image of their class far from all of them."""
