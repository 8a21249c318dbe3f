"""Which device computes, and how it is set up to give the same bytes every time."""

import contextlib
import ctypes
import os

import torch

from dclib.errors import InputError

# Images that go through a network at once, which bounds the memory of their activations.
MICRO_BATCH = {"cpu": 128, "cuda": 1024}


def choose(request: str = "auto", threads: int | None = None) -> torch.device:
    """Return the device that `request` names, set up for repeatable results.

    Args:
        request: `auto` (the GPU if there is one), `cpu`, `cuda` or `cuda:N`.
        threads: CPU threads that PyTorch may use; None leaves its own choice.

    Raises:
        InputError: the name is none of these, or there is no such GPU.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    if request == "auto":
        request = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, index = request.partition(":")
    if kind not in ("cpu", "cuda") or (index and not (kind == "cuda" and index.isdigit())):
        raise InputError(f"device: '{request}' is not one of auto, cpu, cuda, cuda:N")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise InputError(f"device: '{request}', but PyTorch sees {torch.cuda.device_count()} GPUs")
    if kind == "cuda":
        # cuBLAS is repeatable only with a fixed workspace; cuDNN only with deterministic kernels.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False
    else:
        _keep_freed_memory()
    return torch.device(request)


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
    import resource  # POSIX only; kilobytes on Linux

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
