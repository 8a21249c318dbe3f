"""What planning has to know of the random selection."""

from dclib.methods import Face, NoSettings

FACE = Face(NoSettings, "selected", takes_real=lambda settings: True)
