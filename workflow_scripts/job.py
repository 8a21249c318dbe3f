"""What every script does first: log to the rule's log file, and say a user's fault in one line."""

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import Any

from dclib.errors import InputError


@contextlib.contextmanager
def job(snakemake: Any) -> Iterator[None]:
    """Log to the rule's file; end with one line on wrong input, with a traceback on a defect."""
    warnings = logging.StreamHandler()
    warnings.setLevel(logging.WARNING)
    try:
        log = logging.FileHandler(snakemake.log[0])
    except OSError as error:
        sys.exit(f"error: the log {snakemake.log[0]} cannot be written ({error.strerror})")
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        handlers=[log, warnings],
    )
    logging.captureWarnings(True)
    try:
        yield
    except InputError as error:
        logging.error("%s", error)
        sys.exit(1)
    except Exception:
        logging.exception("rule %s failed", snakemake.rule)
        sys.exit(1)
