"""Work that is done often on the same tensors, recorded once where the device can replay it."""

import functools
import gc
import logging
from collections.abc import Callable
from typing import Any

import torch

from dclib import memory

log = logging.getLogger(__name__)

WARM_CALLS = 2  # launched one by one before the recording: libraries set themselves up in them


class Repeated:
    """A function that is called often, always on the same tensors, in place.

    On a GPU its kernels are recorded as a CUDA graph after two calls and replayed from then on,
    which spares the launches. The function takes nothing and returns nothing; it may not wait for
    the GPU, and the shapes in it may not change. What it leaves behind in tensors of its own making
    lies where it is until the next call, of this or any other recording: they share their memory.

    Attributes:
        recorded: whether calls replay a recording.
    """

    def __init__(self, function: Callable[[], None], device: torch.device) -> None:
        self._function, self._device = function, device
        self._warm, self._tries = WARM_CALLS, 2
        self._graph: torch.cuda.CUDAGraph | None = None

    @property
    def recorded(self) -> bool:
        return self._graph is not None

    def __call__(self) -> None:
        """Do it once.

        Raises:
            RuntimeError: what the function raises.
        """
        if self._device.type == "cpu":
            self._function()
            return
        if self._graph is None:
            # Autograd remembers the stream on which a parameter was first used, and would draw it
            # into a recording on another one.
            stream, pool = _stream_and_pool(self._device)
            outside = torch.cuda.current_stream(self._device)
            stream.wait_stream(outside)
            try:
                with torch.cuda.device(self._device):
                    if self._warm == 0 and self._tries > 0 and not self._record(stream, pool):
                        _free_unused()
                    if self._graph is None:
                        with torch.cuda.stream(stream):
                            self._function()
                        self._warm = max(0, self._warm - 1)
            finally:
                outside.wait_stream(stream)
        if self._graph is not None:
            self._graph.replay()

    def _record(self, stream: torch.cuda.Stream, pool: Any) -> bool:
        """Record it, or say why that cannot be; running out of memory is tried again once."""
        _free_unused()
        graph, cause = torch.cuda.CUDAGraph(), None
        self._tries -= 1
        try:
            with torch.cuda.graph(graph, pool=pool, stream=stream):
                try:
                    self._function()
                except BaseException as error:
                    cause = error
                    raise
        except RuntimeError as error:
            if cause is not None and not isinstance(cause, Exception):
                raise cause from None  # an interruption, after which the recording could not end
            if memory.ran_out(cause or error) and self._tries:
                self._warm = WARM_CALLS
                return False
            self._tries = 0
            log.warning("no CUDA graph, kernels are launched one by one: %s", error)
            return False
        finally:
            cause = None  # it holds this call, and with it all that the function had in memory
        self._graph = graph
        return True


def _free_unused() -> None:
    """Give back what is held by graphs that are no longer used, and by calls that have failed."""
    gc.collect()
    torch.cuda.empty_cache()


@functools.cache
def _stream_and_pool(device: torch.device) -> tuple[torch.cuda.Stream, Any]:
    """Return the stream and the memory of all recordings; they are replayed one at a time."""
    return torch.cuda.Stream(device), torch.cuda.graph_pool_handle()
