"""What planning has to know of the random selection."""

from dclib.methods import Face, NoSettings

FACE = Face(NoSettings, "selected")
