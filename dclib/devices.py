"""Which device computes, how exactly, and how it is set up to give the same bytes every time."""

import contextlib
import ctypes
import functools
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_args

import filelock
import torch

from dclib.errors import InputError
from dclib.fields import Precision

log = logging.getLogger(__name__)

PRECISIONS = get_args(Precision)

_claimed: dict[int, filelock.FileLock] = {}  # the GPUs that this process holds until it ends


def choose(
    request: str | torch.device = "auto",
    threads: int | None = None,
    jobs_per_device: int = 1,
) -> torch.device:
    """Return the device that `request` names, set up for repeatable results.

    A GPU is the process's own until it ends, as far as other processes of this user ask for theirs
    here: a free card is taken, and if there is none, one is waited for.

    Args:
        request: `auto` (a GPU if there is one), `cpu`, `cuda` or `cuda:N`, or a torch.device
            that is called so.
        threads: CPU threads that PyTorch may use; None leaves its own choice.
        jobs_per_device: how many processes may share a GPU, each with its part of the memory; all
            that run at a time have to agree on it.

    Raises:
        InputError: the name is none of these, or there is no such GPU.
    """
    request = str(request)
    if threads is not None:
        torch.set_num_threads(threads)
    if request == "auto":
        request = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, index = request.partition(":")
    if kind not in ("cpu", "cuda") or (index and not (kind == "cuda" and index.isdecimal())):
        raise InputError(f"device: '{request}' is not one of auto, cpu, cuda, cuda:N")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise InputError(f"device: '{request}', but PyTorch sees {torch.cuda.device_count()} GPUs")
    if kind == "cuda":
        # cuBLAS is repeatable only with a fixed workspace; cuDNN only with deterministic kernels.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        allowed = [int(index)] if index else list(range(torch.cuda.device_count()))
        held = [card for card in allowed if card in _claimed]
        if not held:
            names = [str(torch.cuda.get_device_properties(card).uuid) for card in allowed]
            chosen, lock = claim(names, jobs_per_device)
            held = [allowed[chosen]]
            _claimed[held[0]] = lock
        card = held[0]
        torch.cuda.set_device(card)
        torch.cuda.set_per_process_memory_fraction(1 / jobs_per_device, card)
        return torch.device("cuda", card)
    _keep_freed_memory()
    return torch.device("cpu")


def claim(
    cards: Sequence[str], jobs_per_card: int = 1, folder: Path | None = None, wait: float = 1.0
) -> tuple[int, filelock.FileLock]:
    """Return the index of a card with a free place, and the lock on it, waiting until there is one.

    Cards fill up evenly. The system frees a lock when its process ends, however it ends.

    Args:
        cards: names that tell the cards of this machine apart.
        jobs_per_card: places on each card.
        folder: where the lock files are; None for one of this user's in the temporary folder.
        wait: seconds between two looks.
    """
    folder = folder or Path(tempfile.gettempdir(), f"dclib-gpus-{os.getuid()}")
    waiting = False
    while True:
        for place in range(jobs_per_card):
            for index, card in enumerate(cards):
                lock = filelock.FileLock(folder / f"{card}-{place}.lock")
                try:
                    folder.mkdir(parents=True, exist_ok=True)
                    lock.acquire(timeout=0)
                except filelock.Timeout:
                    continue
                except OSError as error:
                    raise InputError(
                        f"{folder}: cannot be written ({error.strerror}); $TMPDIR may name another "
                        "folder than this"
                    ) from error
                return index, lock
        if not waiting:
            log.info("waiting for a GPU: all %d places are taken", jobs_per_card * len(cards))
            waiting = True
        time.sleep(wait)


@contextlib.contextmanager
def precision(device: torch.device, name: str) -> Iterator[None]:
    """Compute in the precision `name` within the context.

    `fp32`: float32 throughout. `tf32`: convolutions multiply in TensorFloat-32 on a GPU that has
    it, as is PyTorch's default; elsewhere the same as fp32. `bf16`: convolutions and all but the
    last linear layer in bfloat16 by autocast, and what lies between them is kept so, norms with
    statistics in float32; parameters, images, their gradients and distances stay in float32.

    Raises:
        InputError: `name` is none of these.
    """
    if name not in PRECISIONS:
        raise InputError(f"precision: '{name}' is not one of {', '.join(PRECISIONS)}")
    before = torch.backends.cudnn.allow_tf32  # setting it by kind of layer makes this unreadable
    torch.backends.cudnn.allow_tf32 = name != "fp32"
    half = name == "bf16"
    if half and device.type == "cpu" and not fast_bfloat16():
        _warn_of_bfloat16()
    try:  # parameters change within the context, so autocast must not remember them
        with torch.autocast(device.type, torch.bfloat16, enabled=half, cache_enabled=False):
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def fast_bfloat16() -> bool:
    """Whether this processor's convolutions have kernels in bfloat16; on x86 they need AVX-512."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@functools.cache  # once is enough
def _warn_of_bfloat16() -> None:
    log.warning(
        "precision: bf16 has no kernels on this processor and may be some 70 times slower than fp32"
    )


def _keep_freed_memory() -> None:
    """Let glibc reuse the memory of freed tensors instead of giving it back to the system.

    Otherwise every layer asks for new pages: training a small ConvNet takes 1.8 times as long.
    """
    trim_threshold, mmap_threshold = -1, -3  # malloc.h
    with contextlib.suppress(OSError, AttributeError):  # another C library
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_threshold, 1 << 30)
        libc.mallopt(trim_threshold, (1 << 31) - 1)


def describe(device: torch.device) -> str:
    """Return the name of the GPU, or `cpu` and the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu, {torch.get_num_threads()} threads"


def peak_memory_mib(device: torch.device) -> float:
    """Return the peak memory in MiB: allocated on the GPU, or resident in this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    # Not the usage that the system reports of a process, which begins with its parent's.
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**10
    import resource  # POSIX only; kilobytes on Linux, bytes on macOS

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
