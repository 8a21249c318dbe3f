"""What planning has to know of the selection `herding`."""

from dclib.methods import Face, NoSettings

FACE = Face(NoSettings, "selected", teachers=("reference",), seeded=False)
