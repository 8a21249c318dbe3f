"""What type checkers see of the face; `__init__.py` imports it when it is asked for."""

from dclib.face import *  # noqa: F403

__version__: str
