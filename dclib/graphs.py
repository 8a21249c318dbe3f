"""Work that is done often on the same tensors, recorded once where the device can replay it."""

import gc
import logging
from collections.abc import Callable

import torch

log = logging.getLogger(__name__)


class Repeated:
    """A function that is called often, always on the same tensors, in place.

    On a GPU its kernels are recorded as a CUDA graph after two calls and replayed from then on,
    which spares the launches. The function takes nothing and returns nothing; it may not wait for
    the GPU, and the shapes in it may not change.
    """

    def __init__(self, function: Callable[[], None], device: torch.device) -> None:
        self._function, self._device = function, device
        self._calls_before_recording = 2 if device.type == "cuda" else -1
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        if self._graph is None and self._calls_before_recording == 0:
            self._record()
        if self._graph is not None:
            self._graph.replay()
        else:
            self._calls_before_recording -= 1
            self._function()

    def _record(self) -> None:
        gc.collect()  # graphs that are no longer used hold memory
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream(self._device)
        try:
            with torch.cuda.device(self._device), torch.cuda.graph(graph, stream=stream):
                self._function()
        except RuntimeError as error:
            log.warning("no CUDA graph, kernels are launched one by one: %s", error)
        else:
            self._graph = graph
