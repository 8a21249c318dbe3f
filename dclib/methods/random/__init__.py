"""Random training images of every class."""
