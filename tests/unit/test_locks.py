"""Whether a process is gone; what locks do is tested with the real Snakemake."""

import os
import subprocess
import sys

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
