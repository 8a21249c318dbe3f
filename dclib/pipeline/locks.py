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

from dclib.errors import InputError

NAME = ".lock"
_RUN, _JOBS = 0, 1  # which byte of the file stands for what
_OPENED = os.O_NOFOLLOW | os.O_NONBLOCK  # what is no file in its place is not waited for


def hold_run(folder: str | Path, patience_seconds: float = 60.0) -> None:
    """Let no other run work in `folder` until this process ends.

    Jobs that a killed run left behind end by themselves; they are waited for.

    Raises:
        InputError: another run, or a job of a killed one, is at work; the folder is unwritable; or
            something else than a file is in the lock's place.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        path = Path(folder, NAME)
        if os.path.lexists(path) and (path.is_symlink() or not path.is_file()):
            raise InputError(f"{path}: not a file of its own, as a lock has to be; remove it")
        file = os.open(path, os.O_RDWR | os.O_CREAT | _OPENED, 0o666)
        if not _lock(file, fcntl.LOCK_EX, _RUN, patience_seconds=1):  # `started` looks in a moment
            raise InputError(
                f"{folder}: another run is at work there ({os.read(file, 200).decode().strip()}): "
                "wait for its end; `make status` shows how far it is"
            )
        if not _lock(file, fcntl.LOCK_EX, _JOBS, patience_seconds):
            raise InputError(
                f"{folder}: jobs of an earlier run are still at work there: wait for their end, or "
                "end them"
            )
        fcntl.lockf(file, fcntl.LOCK_UN, 1, _JOBS)
        os.ftruncate(file, 0)
        os.write(file, f"process {os.getpid()} on {platform.node()}, {time.ctime()}\n".encode())
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from error


def hold_job(folder: str | Path) -> None:
    """Show the next run that this process is still at work, until it ends."""
    with contextlib.suppress(OSError):  # no run holds it, or no locks are to be had
        fcntl.lockf(os.open(Path(folder, NAME), os.O_RDONLY | _OPENED), fcntl.LOCK_SH, 1, _JOBS)


def this_process() -> str:
    """Return what tells this process from all others of its machine, for `is_gone`."""
    return f"{os.getpid()} {_namespace()}"


def is_gone(process: str) -> bool:
    """Whether a process has ended; False where it cannot be seen, as from within a container."""
    number, _, namespace = process.partition(" ")
    if namespace != _namespace():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def _namespace() -> str:
    """The numbers of processes have a meaning within it; empty where there is only one."""
    with contextlib.suppress(OSError):
        return str(Path("/proc/self/ns/pid").readlink())
    return ""


def started(folder: str | Path) -> float | None:
    """Return when the run that is at work in `folder` began, or None if none is."""
    try:
        file = os.open(Path(folder, NAME), os.O_RDONLY | _OPENED)
    except OSError:
        return None
    try:
        return None if _lock(file, fcntl.LOCK_SH, _RUN) else os.fstat(file).st_mtime
    finally:
        os.close(file)


def _lock(file: int, kind: int, byte: int, patience_seconds: float = 0) -> bool:
    """Try to lock a byte; True also where the file system knows no locks."""
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            fcntl.lockf(file, kind | fcntl.LOCK_NB, 1, byte)
        except (BlockingIOError, PermissionError):
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.1)
        except OSError:
            return True
        else:
            return True
