"""What planning has to know of the selection `herding`."""

from dclib.methods import Face, NoSettings

FACE = Face(
    NoSettings, "selected", takes_real=lambda settings: True, teachers=("reference",), seeded=False
)
