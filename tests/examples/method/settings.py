"""The settings of the method, and what planning has to know of it."""

from dclib.fields import Count, Rate, settings
from dclib.methods import Face


@settings
class Settings:
    """Images that drift to the mean of their class."""

    iterations: Count = 10
    """steps"""
    lr: Rate = 0.5
    """part of the way that an image goes in a step"""


FACE = Face(Settings, "learnt")
