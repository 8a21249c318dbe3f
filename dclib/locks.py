"""One run at a time in a results folder, and no job of a killed run beside those of the next.

Both are record locks on one file, which the system drops when their process ends, however it ends:
unlike a file that stands for a lock, they never have to be removed by hand.
"""

import contextlib
import fcntl
import os
import platform
import time
from pathlib import Path
from typing import IO

from dclib.errors import InputError

NAME = ".lock"
_RUN, _JOBS = 0, 1  # which byte of the file stands for what
_held: list[IO[str]] = []  # closing a file would drop its locks


def hold_run(folder: str | Path, patience_seconds: float = 60.0) -> None:
    """Let no other run work in `folder` until this process ends.

    Jobs that a killed run left behind end by themselves; they are waited for.

    Raises:
        InputError: another run, or a job of a killed one, is at work; or the folder is unwritable.
    """
    path = Path(folder, NAME)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("a+")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from error
    if not _lock(stream, fcntl.LOCK_EX, _RUN, patience_seconds=1):  # `started` looks for an instant
        stream.seek(0)
        raise InputError(
            f"{folder}: another run is at work there ({stream.read().strip()}): wait for its end; "
            "`make status` shows how far it is"
        )
    _held.append(stream)
    if not _lock(stream, fcntl.LOCK_EX, _JOBS, patience_seconds):
        raise InputError(
            f"{folder}: jobs of an earlier run are still at work there: wait for their end, or end "
            "them"
        )
    fcntl.lockf(stream, fcntl.LOCK_UN, 1, _JOBS)
    try:
        stream.truncate(0)
        stream.write(f"process {os.getpid()} on {platform.node()}, since {time.ctime()}\n")
        stream.flush()
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error


def hold_job(folder: str | Path) -> None:
    """Show the next run that this process is still at work, until it ends."""
    with contextlib.suppress(OSError):  # nothing holds the folder, or it lies where nothing can
        stream = Path(folder, NAME).open()
        _held.append(stream)
        fcntl.lockf(stream, fcntl.LOCK_SH, 1, _JOBS)


def started(folder: str | Path) -> float | None:
    """Return when the run that is at work in `folder` began, or None if none is."""
    try:
        with Path(folder, NAME).open() as stream:
            if _lock(stream, fcntl.LOCK_SH, _RUN):
                return None
            return os.fstat(stream.fileno()).st_mtime
    except OSError:
        return None


def _lock(stream: IO[str], kind: int, byte: int, patience_seconds: float = 0) -> bool:
    """Try to lock a byte; True also where the file system knows no locks."""
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            fcntl.lockf(stream, kind | fcntl.LOCK_NB, 1, byte)
        except (BlockingIOError, PermissionError):
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.1)
        except OSError:
            return True
        else:
            return True
