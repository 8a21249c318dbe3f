"""The loop that every iterative computation shares.

It reports progress, traces the loss, keeps a checkpoint, resumes from it and leaves one behind when
it is interrupted. A resumed computation gives the same bytes as an uninterrupted one: a checkpoint
holds everything that changes between two steps, the states of all random streams included.
"""

import contextlib
import dataclasses
import logging
import math
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor
from tqdm.auto import tqdm

from dclib import provenance
from dclib.errors import InputError, one_line
from dclib.seeding import Streams
from dclib.tensors import read_sealed, write_sealed

log = logging.getLogger(__name__)

LOG_SECONDS = 30.0
READ_SECONDS = 1.0  # between two looks at losses, for which a GPU has to have finished
COPYING = 20  # a state is copied when it took this many times longer to get there

# Scalars; `loss` goes into the trace, and `steps` says of how many steps at once this was the work.
Metrics = Mapping[str, Tensor]


@runtime_checkable
class Resumable(Protocol):
    """What changes from one step to the next. `random` is kept by the runner."""

    random: Streams

    def state_dict(self) -> dict[str, Tensor]:
        """Return every tensor that changes; the runner copies them."""
        ...

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Go back to where `state_dict` was called."""
        ...


State = TypeVar("State", bound=Resumable)
Result = TypeVar("Result", covariant=True)


@runtime_checkable
class Iterative(Protocol[State, Result]):
    """A computation in steps: a method, the training of a teacher, an evaluation."""

    @property
    def iterations(self) -> int:
        """How many steps there are."""
        ...

    @property
    def identity(self) -> Any:
        """What a checkpoint has to fit, like JSON: network, settings, the data's fingerprint."""
        ...

    def start(self, random: Streams) -> State:
        """Return the state before the first step."""
        ...

    def step(self, state: State) -> Metrics:
        """Do one step, in place, or several that are worth more together."""
        ...

    def result(self, state: State) -> Result:
        """Return what the state after the last step stands for."""
        ...


class Interrupted(SystemExit):
    """A signal has ended the computation; a checkpoint was left. The exit code is 128 + signal."""


@dataclasses.dataclass
class Progress:
    """How far a computation has come.

    Attributes:
        iteration: steps that are done.
        losses: the loss of every one of them, if the steps report any.
        seconds: computing time, that before an interruption included.
        resumed_from: the iterations at which it was taken up again.
    """

    iteration: int = 0
    losses: list[float] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    resumed_from: list[int] = dataclasses.field(default_factory=list)

    def read(self, unread: "_Unread") -> "_Unread":
        """Add losses that are still where they were computed; it may be broken off and repeated.

        Raises:
            InputError: one of them is not finite.
        """
        if unread.losses:
            self.losses[unread.begin :] = torch.stack(unread.losses).tolist()
            for i in range(unread.begin, len(self.losses)):
                if not math.isfinite(self.losses[i]):
                    raise InputError(
                        f"the loss is {self.losses[i]} in iteration {i + 1}: a learning rate is too"
                        " large"
                    )
        return _Unread(len(self.losses))

    def trace(self) -> str:
        """Return the losses as CSV."""
        rows = [f"{i},{loss!r}\n" for i, loss in enumerate(self.losses, start=1)]
        return "iteration,loss\n" + "".join(rows)


@dataclasses.dataclass
class _Unread:
    """Losses of the last steps, which follow after `begin` others."""

    begin: int
    losses: list[Tensor] = dataclasses.field(default_factory=list)


def run(
    work: Iterative[State, Result],
    random: Streams,
    *,
    checkpoint: str | Path,
    digest: str = "",
    checkpoint_seconds: float = 60.0,
    description: str = "",
    kept: str | Path | None = None,
    earlier: Sequence[str | Path] = (),
    replaces: bool = True,
    first_of_more: bool = False,
) -> tuple[Result, Progress]:
    """Do all steps of `work`, going on from a checkpoint if one fits; return its result.

    A step may be shorter than it takes to copy its state or to wait for its loss: losses are read
    once a second, and a state is copied where that takes less than a twentieth of the time, and
    where it is written. What an interruption undoes is what came after the last copy.

    The checkpoint is written every `checkpoint_seconds`, by rename, and when a signal (SIGTERM or
    SIGINT) or an error ends the loop. Where that is not possible, on a full disk or from a GPU that
    has failed, the one before it stays. It is left behind when the work is done: delete it once the
    result is safe.

    Args:
        checkpoint: its path.
        digest: what the result depends on besides what `work` says of itself, as its code.
        description: what progress is reported under.
        kept: where the state after the last step is left as well, for a work that differs in
            nothing but more steps to go on from.
        earlier: where runs of fewer steps have left their states, the latest first.
        replaces: whether the checkpoint may be written over another file.
        first_of_more: whether the result of few steps can be told from the state after more.

    Raises:
        Interrupted: a signal came; a checkpoint was left.
        InputError: the work refuses its data or settings, the loss is not finite, or the checkpoint
            is damaged or may not be written.
    """
    checkpoint, iterations = Path(checkpoint), work.iterations
    digest = provenance.digest(digest, work.identity, random.key)
    if not replaces and checkpoint.exists() and _fitting(checkpoint, digest, logging.DEBUG) is None:
        raise InputError(
            f"{checkpoint}: is there, and is no checkpoint of this computation, with these "
            "settings, code and data; allowed is another file, or delete it"
        )
    last = None if first_of_more else iterations
    state = work.start(random)
    found = _furthest(checkpoint, [Path(p) for p in (kept, *earlier) if p], digest, last)
    progress = _resume(*found, state) if found else Progress()
    if progress.iteration >= iterations:
        progress.resumed_from.pop()  # nothing is done after it
    began = time.monotonic()
    snapshot = _snapshot(state, progress)
    cost = time.monotonic() - began
    saved, first = snapshot, True
    unread = _Unread(len(progress.losses))
    started, before, begun = time.monotonic(), progress.seconds, progress.iteration
    last_save = last_line = last_read = last_copy = started
    bar = tqdm(
        total=iterations,
        initial=progress.iteration,
        desc=description or None,
        disable=not (sys.stderr.isatty() or _in_notebook()),
        leave=False,
    )
    with bar, _signals() as came:
        try:
            while progress.iteration < iterations:
                if came:  # where an exception is lost, as in a destructor
                    raise Interrupted(128 + came[0])
                metrics = work.step(state)
                if "loss" in metrics:
                    unread.losses.append(metrics["loss"].detach().clone())
                done = int(metrics.get("steps", 1))
                progress.iteration += done
                over, now = progress.iteration >= iterations, time.monotonic()
                save = now - last_save >= checkpoint_seconds and not over
                line = now - last_line >= LOG_SECONDS or first or over
                if save or line or now - last_read >= READ_SECONDS:
                    unread = progress.read(unread)
                    last_read = now = time.monotonic()
                    if progress.losses:
                        bar.set_postfix(loss=f"{progress.losses[-1]:.4g}")
                progress.seconds = before + now - started
                if save or over or first or now - last_copy >= COPYING * cost:
                    snapshot = _snapshot(state, progress)
                    last_copy = time.monotonic()
                    cost = min(cost, last_copy - now)
                first = False
                bar.update(done)
                if save:
                    try:
                        _save(checkpoint, digest, snapshot)
                        saved = snapshot
                    except InputError as error:
                        log.warning("no checkpoint, going on without: %s", error)
                    last_save = now
                if line:
                    # The pace of this process: the ones before may have been on other machines.
                    each = (now - started) / (progress.iteration - begun)
                    log.info("%s", _line(description, progress, iterations, each))
                    last_line = now
            there = None if kept is None else _fitting(Path(kept), digest, logging.DEBUG)
            if kept is not None and _iteration(there) < progress.iteration:
                try:
                    _save(Path(kept), digest, snapshot)
                except InputError as error:
                    log.warning("no state that more iterations could go on from: %s", error)
        except BaseException:
            _ignore_signals()
            if snapshot is not saved:
                try:
                    progress.read(unread)
                    _save(checkpoint, digest, snapshot)
                except Exception as error:  # InputError, or what PyTorch says of a dead GPU
                    log.warning("no checkpoint, the one before stays: %s", error)
            log.info("stopped after iteration %d of %d", snapshot[1].iteration, iterations)
            raise
    done = min(progress.iteration, iterations)
    return work.result(state), dataclasses.replace(progress, iteration=done)


Snapshot = tuple[dict[str, Tensor], Progress]


def _snapshot(state: Resumable, progress: Progress) -> Snapshot:
    """Copy everything that a resume needs."""
    tensors = {f"state/{name}": value.clone() for name, value in state.state_dict().items()}
    streams = {f"random/{name}": value for name, value in state.random.state_dict().items()}
    return {**tensors, **streams}, dataclasses.replace(progress)


def _save(path: Path, digest: str, snapshot: Snapshot) -> None:
    tensors, progress = snapshot
    done = dataclasses.replace(progress, losses=progress.losses[: progress.iteration])
    write_sealed(path, tensors, {"digest": digest, "progress": dataclasses.asdict(done)})
    log.info("checkpoint after iteration %d", progress.iteration)


Left = tuple[Path, dict[str, Tensor], dict[str, Any]]  # a file, what is in it, its metadata


def _furthest(
    checkpoint: Path, others: Sequence[Path], digest: str, last: int | None
) -> Left | None:
    """Return the file that is after the most iterations, of those that fit.

    Args:
        others: those that finished computations have left; one that does not fit is nothing to
            warn of.
        last: the iteration beyond which it must not be; None for any.
    """
    best, most = None, 0
    for path in (checkpoint, *others):
        left = _fitting(path, digest, logging.WARNING if path == checkpoint else logging.INFO)
        iteration = _iteration(left)
        if last is not None and iteration > last:
            log.info("starting afresh, the checkpoint is after iteration %d", iteration)
        elif left and (best is None or iteration > most):
            best, most = left, iteration
    return best


def _fitting(path: Path, digest: str, level: int) -> Left | None:
    """Return a file with what is in it, if it is there and of this computation.

    Args:
        level: at which it is logged why it does not fit.
    """
    if not path.exists():
        return None
    try:
        tensors, metadata = read_sealed(path)
    except InputError as error:
        log.log(level, "starting afresh, the checkpoint cannot be read: %s", error)
        return None
    if metadata.get("digest") != digest:
        log.log(level, "starting afresh, the checkpoint was made by other settings, code or data")
        return None
    return path, tensors, metadata


def _iteration(left: Left | None) -> int:
    """After which iteration a file was written; 0 if there is none, or it does not say so."""
    try:
        return int(left[2]["progress"]["iteration"]) if left else 0
    except (KeyError, TypeError, ValueError):
        return 0


def _resume(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any], state: Resumable
) -> Progress:
    """Put `state` back to where a checkpoint was taken."""
    groups: dict[str, dict[str, Tensor]] = {"state": {}, "random": {}}
    try:
        saved = metadata["progress"]
        progress = Progress(
            int(saved["iteration"]),
            [float(loss) for loss in saved["losses"]],
            float(saved["seconds"]),
            [*map(int, saved["resumed_from"]), int(saved["iteration"])],
        )
        for name, tensor in tensors.items():
            group, _, rest = name.partition("/")
            groups[group][rest] = tensor.clone()
        state.load_state_dict(groups["state"])
        state.random.load_state_dict(groups["random"])
    except Exception as error:  # half of the state may be loaded: there is no starting afresh
        raise InputError(
            f"{path}: a damaged checkpoint ({type(error).__name__}: {one_line(error)}); delete it"
        ) from error
    log.info("going on from the checkpoint after iteration %d", progress.iteration)
    return progress


def _line(description: str, progress: Progress, iterations: int, each: float) -> str:
    text = f"{description} iteration {progress.iteration}/{iterations}".strip()
    if progress.losses:
        text += f" loss {progress.losses[-1]:.6g}"
    return f"{text} {each:.3g} s each, {each * (iterations - progress.iteration):.0f} s left"


def _in_notebook() -> bool:
    """Whether what is written to standard error is shown in a notebook."""
    return type(sys.stderr).__module__.startswith("ipykernel.")


_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Turn the first SIGTERM or SIGINT into Interrupted, and ignore more until the end.

    A scheduler and what it has started send one each. Only a main thread can. What is yielded
    holds the signal that came.
    """
    came: list[int] = []

    def interrupt(number: int, frame: object) -> None:
        _ignore_signals()
        came.append(number)
        raise Interrupted(128 + number)

    previous = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        _handle_signals(interrupt)
        yield came
    finally:
        for number, old in previous.items():
            _handle_signals(old, number)


def _ignore_signals() -> None:
    _handle_signals(signal.SIG_IGN)


def _handle_signals(handler: Any, *numbers: int) -> None:
    if threading.current_thread() is threading.main_thread():
        for number in numbers or _SIGNALS:
            signal.signal(number, handler)
