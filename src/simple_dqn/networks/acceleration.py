"""Acceleration: what makes learning faster and leaves what it computes as it is.

On the CPU the many passes of RMSProp over the weights become one, compiled by ``torch.compile``. On
a CUDA GPU a whole update, from the batch to the new weights, is one CUDA graph: a single launch
instead of some hundred. Both wrap a function once, when its owner is built.

Where that cannot be (no compiler, layers that cannot be captured) the plain function runs, and one
line of the log says so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from simple_dqn.errors import UsageError

logger = logging.getLogger(__name__)

# Compiling takes seconds each time and half a minute the first; an update gains 2 to 3 ms.
LEAST_UPDATES = 25_000
# Updates done one by one before one is captured: they make what cuDNN and the optimiser keep.
WARM_UP = 3

Update = Callable[..., Tensor]


def choose_device(backend: str, device_id: int) -> torch.device:
    """Return the device for ``--backend cpu|gpu|auto`` and ``--device_id``.

    Raises:
        UsageError: a GPU was asked for and there is none of that number.
    """
    gpus = torch.cuda.device_count() if backend != "cpu" and torch.cuda.is_available() else 0
    if backend == "cpu" or (backend == "auto" and gpus == 0):
        return torch.device("cpu")
    if device_id >= gpus:
        there = f"there are {gpus} CUDA GPUs, numbered from 0" if gpus else "there is no CUDA GPU"
        raise UsageError(f"--backend {backend} --device_id {device_id}: {there}; try --backend cpu")
    torch.cuda.set_device(device_id)  # for streams and graphs, which belong to the current device
    return torch.device("cuda", device_id)


def is_worthwhile(device: torch.device, updates: int) -> bool:
    """Whether a run of so many ``updates`` gains more by acceleration than it costs."""
    return updates > 0 and (device.type == "cuda" or updates >= LEAST_UPDATES)


def can_be_captured(optimizer: str, noisy: bool) -> bool:
    """Whether a CUDA graph can hold an update; if it cannot, a line of the log says why.

    Args:
        optimizer: its name.
        noisy: whether there are noisy layers. To act between two updates takes the noise of the
            last one, which a graph keeps to itself.
    """
    if noisy:
        logger.info("updates run without a CUDA graph: noisy layers cannot be captured")
        return False
    if optimizer not in ("rmsprop", "adam"):
        logger.info("updates run without a CUDA graph: there is none for their optimiser")
        return False
    return True


class Compiled:
    """A function compiled for the arguments of its first call; without a compiler, as it is.

    Args:
        function: of tensors, which it changes in place, and of constants, which become constants
            of the compiled code.
    """

    def __init__(self, function: Callable[..., None]) -> None:
        self.function = function
        self.chosen: Callable[..., None] | None = None

    def __call__(self, *arguments: Any) -> None:
        """Call the function, compiled if that can be."""
        if self.chosen:
            self.chosen(*arguments)
            return
        try:
            fast: Callable[..., None] = torch.compile(self.function, dynamic=False)
            fast(*arguments)
            self.chosen = fast
            logger.info("the optimiser is compiled")
        except Exception as error:  # torch documents none; a missing compiler has several
            logger.info("the optimiser runs uncompiled: %s", first_line(error))
            self.chosen = self.function
            self.function(*arguments)


def first_line(error: Exception) -> str:
    """Return what an error says, on one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class CudaGraph:
    """An update as a CUDA graph: a fixed sequence of kernels, launched at once.

    A graph reads and writes the same memory each time. So a batch is copied into tensors of its
    own, and the errors that it returns are overwritten by the next update. Where capturing fails
    the plain updates go on.

    Args:
        update: takes the tensors of a batch, all on the device, and returns one.
    """

    def __init__(self, update: Update) -> None:
        self.update = update
        self.inputs: list[Tensor] = []
        self.errors = torch.zeros(0)
        self.done = 0
        self.graph: Any = None
        self.failed = False

    def __call__(self, *batch: Tensor) -> Tensor:
        """Do an update."""
        if self.failed:
            return self.update(*batch)
        if [t.shape for t in batch] != [t.shape for t in self.inputs]:
            self.inputs, self.done, self.graph = [torch.empty_like(t) for t in batch], 0, None
        for own, tensor in zip(self.inputs, batch, strict=True):
            own.copy_(tensor, non_blocking=True)
        self.done += 1
        if self.done <= WARM_UP:
            return self._beside()
        if self.graph is None and not self._capture():
            self.failed = True
            return self.update(*batch)
        self.graph.replay()
        return self.errors

    def _capture(self) -> bool:
        """Record an update without doing it; return whether that was possible."""
        stream = torch.cuda.current_stream()
        try:
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.errors = self.update(*self.inputs)
        except RuntimeError as error:
            # What went wrong first is the context of the failure to end the capture, which also
            # leaves its stream the current one.
            cause = error.__context__ if isinstance(error.__context__, Exception) else error
            logger.info("updates run without a CUDA graph: %s", first_line(cause))
            torch.cuda.set_stream(stream)
            return False
        return True

    def _beside(self) -> Tensor:
        """Do an update on a stream of its own, as capturing requires of those before it."""
        current, stream = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            errors = self.update(*self.inputs)
        current.wait_stream(stream)
        return errors
