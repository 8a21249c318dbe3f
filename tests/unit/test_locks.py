"""Whether a process is gone; what locks do is tested with the real Snakemake."""

import os
import subprocess
import sys

import pytest

from dclib.errors import InputError
from dclib.pipeline import locks


def test_a_process_that_ended_is_gone():
    code = "from dclib.pipeline import locks; print(locks.this_process())"
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True)
    assert locks.is_gone(done.stdout.strip())
    assert not locks.is_gone(locks.this_process())


def test_nothing_is_known_of_processes_in_another_namespace():
    number, namespace = locks.this_process().split(" ", 1)
    assert int(number) == os.getpid()
    assert not locks.is_gone(f"{2**22} {namespace}0")


@pytest.mark.parametrize(
    "put",
    [lambda path: path.symlink_to(path.parent / "target"), os.mkfifo, os.mkdir],
    ids=["link", "pipe", "folder"],
)
def test_only_a_file_of_its_own_is_taken_for_the_lock(put, tmp_path):
    """A link is not followed, and nothing is waited for."""
    put(tmp_path / locks.NAME)
    with pytest.raises(InputError, match=f"{locks.NAME}: not a file of its own"):
        locks.hold_run(tmp_path)
    locks.hold_job(tmp_path)
    assert locks.started(tmp_path) is None
    assert [path.name for path in tmp_path.iterdir()] == [locks.NAME]
