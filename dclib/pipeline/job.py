"""What surrounds the work of every job: its log, its faults in one line, and its record.

What needs PyTorch is imported where it is asked for, which a job that draws up a table does not.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from dclib import codebase, files, methods, provenance
from dclib.errors import Damaged, InputError
from dclib.pipeline import locks
from dclib.pipeline.description import DIGESTS, MADE_FROM, Job

if TYPE_CHECKING:
    import torch

    from dclib import runner
    from dclib.data.synthetic import SyntheticSet
    from dclib.data.whitening import Whitening
    from dclib.teachers.reference.teacher import Reference


class Running:
    """A job at work.

    Attributes:
        job: its description.
        notes: what the record shall say besides; the script adds to it.
    """

    def __init__(self, snakemake: Any) -> None:
        self.job: Job = snakemake.params.job
        self._execution: Mapping[str, Any] = snakemake.config["execution"]
        self._threads: int = snakemake.threads
        self._gpu = bool(snakemake.resources.get("gpu"))
        self.notes: dict[str, Any] = {}
        self._started = time.monotonic()
        self._check_code(snakemake)
        self._inputs = self.job.inputs_mark(files.sha256)

    @functools.cached_property
    def device(self) -> torch.device:
        """The device that the config asks for, which is the job's own from now on."""
        from dclib import devices

        return devices.choose(
            self._execution["device"] if self._gpu else "cpu",
            self._threads,
            self._execution["gpu_jobs_per_device"],
        )

    @property
    def method(self) -> ModuleType:
        """The module that makes the sets of the cell's method."""
        return methods.body(self.job.method)

    @property
    def settings(self) -> Any:
        """The settings of the cell's method."""
        return methods.face(self.job.method).settings(**self.job.settings)

    @functools.cached_property
    def teachers(self) -> dict[str, Reference]:
        """The networks trained on real images that the job looks at, by the name of their kind."""
        from dclib.teachers.reference.teacher import Reference

        path = self.input("reference")
        return {"reference": Reference.load(path, self.device)} if path else {}

    @functools.cached_property
    def whitening(self) -> Whitening | None:
        """What whitens images of the data set, where the job has to do with such."""
        from dclib.data.whitening import Whitening

        path = self.input("whitening")
        return Whitening.load(path) if path else None

    @property
    def data(self) -> Path:
        """The prepared data set."""
        return Path(self.job.inputs["data"][0])

    def input(self, name: str) -> Path | None:
        """Return the path of an input, or None where the job has none of that name."""
        return Path(self.job.inputs[name][0]) if name in self.job.inputs else None

    def output(self, name: str) -> Path:
        """Return the path of an output."""
        return Path(self.job.files.outputs[name])

    @property
    def resumable(self) -> dict[str, Any]:
        """The arguments of `dclib.runner.run` that say how it is taken up again."""
        return {
            "checkpoint": Path(self.job.files.checkpoint),
            "kept": Path(self.job.files.kept) if self.job.grows else None,
            "earlier": [Path(path) for path in self.job.earlier],
            "digest": provenance.digest(self.job.begun, self._inputs),
            "checkpoint_seconds": self._execution["checkpoint_seconds"],
            "description": self.job.title,
        }

    def write_set(self, made: SyntheticSet) -> None:
        """Write the set of the cell and its picture."""
        made = made.with_metadata(
            **self._cell(),
            settings=dict(self.job.settings),
            versions=provenance.versions(),
            made_from={**self.job.mark, "inputs": self._inputs},
        )
        made.save_png(self.output("png"))
        made.save(self.output("set"))

    def note_progress(self, progress: runner.Progress) -> None:
        """Say in the record how long it took and from where it was taken up again."""
        self.notes |= {
            "seconds": round(progress.seconds, 3),
            "iterations": progress.iteration,
            "resumed_from": progress.resumed_from,
        }

    def finish(self) -> None:
        """Write the record, once the outputs are safe, and delete the checkpoint."""
        outputs = {name: path for name, path in self.job.files.outputs.items() if name != "record"}
        record = {
            **self._cell(),
            "settings": dict(self.job.settings),
            "seconds": round(time.monotonic() - self._started, 3),
            "versions": provenance.versions(),
            "commit": provenance.commit(),
            **self.notes,
            MADE_FROM: {**self.job.mark, "inputs": self._inputs},
            DIGESTS: {name: files.sha256(path) for name, path in outputs.items()},
        }
        if "device" in self.__dict__:  # it was asked for
            from dclib import devices

            record["device"] = devices.describe(self.device)
            record["peak_memory_mib"] = round(devices.peak_memory_mib(self.device), 1)
        files.write_json(self.job.files.record, record)
        Path(self.job.files.checkpoint).unlink(missing_ok=True)

    def _cell(self) -> dict[str, Any]:
        """What the job is part of, with a number of images per class."""
        ipc = self.job.cell.get("ipc", "all")
        return {**self.job.cell, **({} if ipc == "all" else {"ipc": int(ipc)})}

    def _check_code(self, snakemake: Any) -> None:
        """Refuse to work if the code is not the one that the run was planned with."""
        for module in self.job.modules:
            importlib.import_module(module)
        script = Path(snakemake.scriptdir, self.job.script)
        if not (
            codebase.unchanged(self.job.sources)
            or codebase.digest(script, *self.job.modules) == self.job.code
        ):
            raise InputError(
                f"{self.job.title}: the code of {script.name} or of {', '.join(self.job.modules)} "
                "was edited after this run was planned: call again, once it is as it shall be"
            )


@contextlib.contextmanager
def job(snakemake: Any) -> Iterator[Running]:
    """Log to the rule's file; end with one line on wrong input, with a traceback on a defect."""
    warnings = logging.StreamHandler()
    warnings.setLevel(logging.WARNING)
    try:
        log = logging.FileHandler(snakemake.log[0], encoding="utf-8")
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
        running = Running(snakemake)
        yield running
        running.finish()
    except InputError as error:
        logging.error("%s", error)
        if isinstance(error, Damaged):
            # A change that the system notes, so that the next call looks at the bytes anew.
            with contextlib.suppress(OSError):
                os.utime(error.path)
        sys.exit(1)
    except Exception as error:
        if _of_device(error):
            reason = str(error).strip().splitlines()[0]
            log_line = "the device failed (%s); the next call goes on from the checkpoint"
            logging.error(log_line, reason)
        else:
            logging.exception("rule %s failed", snakemake.rule)
        sys.exit(1)


def _of_device(error: Exception) -> bool:
    """Whether a GPU has failed, or has no memory left."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(error, (torch.AcceleratorError, torch.OutOfMemoryError))


def _end_with_snakemake(every_seconds: float = 0.2) -> None:
    """End this job, with a checkpoint, once the Snakemake that started it was killed.

    It would go on beside the job that the next call starts for the same cell.
    """
    while not locks.is_gone(os.environ["DCLIB_SNAKEMAKE"]):
        time.sleep(every_seconds)
    logging.warning("Snakemake is gone")
    os.kill(os.getpid(), signal.SIGTERM)
