"""The setting of methods whose images may hold several small ones, and what may be wrong in it."""

from typing import Any

from dclib.data import checks
from dclib.data.checks import Facts
from dclib.fields import Count, settings
from dclib.networks.names import Spec


@settings
class Formation:
    """Several small images in one."""

    factor: Count = 1
    """a stored image holds factor x factor small ones, which networks see enlarged (IDC's
    multi-formation); images per class counts stored ones"""


def fault(settings: Any, network: Spec, ipc: int, what: str, facts: Facts) -> str:
    """Return what is wrong with a method's settings on a data set, or nothing; see `Face.fault`.

    Args:
        settings: with `factor` and `initialisation`.
        what: the data set, for messages.
    """
    real = ipc * settings.factor**2
    if settings.initialisation == "real" and real > facts.smallest_class:
        several = f" of factor {settings.factor}" if settings.factor > 1 else ""
        return (
            f"{ipc} images per class{several} begin as {real} real ones, but the smallest class of "
            f"'{what}' has {facts.smallest_class}"
        )
    return checks.factor_fault(what, facts, settings.factor)
