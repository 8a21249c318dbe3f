"""What every script does first: log to the rule's log file, and say a user's fault in one line."""

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from dclib.errors import InputError
from dclib.pipeline import locks


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
    logging.raiseExceptions = False  # a log on a full disk is no reason to stop
    locks.hold_job(Path(snakemake.config["results_dir"]).expanduser())
    threading.Thread(target=_end_with_snakemake, daemon=True).start()
    try:
        yield
    except InputError as error:
        logging.error("%s", error)
        sys.exit(1)
    except (torch.AcceleratorError, torch.OutOfMemoryError) as error:
        reason = str(error).strip().splitlines()[0]
        logging.error("the device failed (%s); the next call goes on from the checkpoint", reason)
        sys.exit(1)
    except Exception:
        logging.exception("rule %s failed", snakemake.rule)
        sys.exit(1)


def _end_with_snakemake(every_seconds: float = 0.2) -> None:
    """End this job, with a checkpoint, once the Snakemake that started it was killed.

    It would go on beside the job that the next call starts for the same cell.
    """
    while not locks.is_gone(os.environ["DCLIB_SNAKEMAKE"]):
        time.sleep(every_seconds)
    logging.warning("Snakemake is gone")
    os.kill(os.getpid(), signal.SIGTERM)
