"""Networks trained on real images, which methods look at."""
