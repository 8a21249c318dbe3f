"""What planning has to know of the whole training split."""

from dclib.methods import Face, NoSettings

FACE = Face(NoSettings, "whole", seeded=False)
