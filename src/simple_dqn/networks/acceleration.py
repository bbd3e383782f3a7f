"""Acceleration: faster updates that compute the same result.

``torch.compile`` fuses the many passes of RMSProp over the weights into one. On a CUDA GPU, a
prediction is one CUDA graph, and so are all updates of a round, from the batches to the new
weights: a single launch instead of some hundred per update. Both wrap a function once, when its
owner is built.

Without a compiler, or with layers that cannot be captured, the plain function runs and the log says
so.
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
import functools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from simple_dqn.errors import UsageError

logger = logging.getLogger(__name__)

# With fewer, the optimiser is not compiled: that takes seconds, the first time half a minute, and
# saves 2 to 3 ms per update.
LEAST_UPDATES = 25_000
# Calls before the capture, in which cuDNN and the optimiser allocate what they keep.
WARM_UP = 3
MOST_GRAPHS = 8  # of a function, one for each shape of its arguments

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt

Update = Callable[..., Tensor]


def choose_device(backend: str, device_id: int) -> torch.device:
    """Return the device for ``--backend cpu|gpu|auto`` and ``--device_id``.

    Raises:
        UsageError: a GPU was requested and there is none with that number.
    """
    gpus = torch.cuda.device_count() if backend != "cpu" and torch.cuda.is_available() else 0
    if backend == "cpu" or (backend == "auto" and gpus == 0):
        return torch.device("cpu")
    if device_id >= gpus:
        there = f"there are {gpus} CUDA GPUs, numbered from 0" if gpus else "there is no CUDA GPU"
        raise UsageError(f"--backend {backend} --device_id {device_id}: {there}; try --backend cpu")
    torch.cuda.set_device(device_id)  # streams and graphs belong to the current device
    return torch.device("cuda", device_id)


@functools.cache
def has_bfloat16() -> bool:
    """Whether the CPU has instructions for bfloat16; without them it is many times slower."""
    try:
        words = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:  # not Linux
        return False
    return bool(words & {"avx512_bf16", "amx_bf16"})


def choose_datatype(datatype: str, device: torch.device) -> str:
    """Return the datatype for ``--datatype``, see there for "auto"."""
    if datatype == "auto":
        return "bfloat16" if device.type == "cpu" and has_bfloat16() else "float32"
    return datatype


def keep_freed_memory() -> None:
    """Let the C library reuse freed memory of up to 32 MB at a time for the next update.

    By default glibc returns it to the system, which hands out new pages one fault at a time.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        for setting in (M_MMAP_THRESHOLD, 32 << 20), (M_TRIM_THRESHOLD, 256 << 20):
            mallopt(*setting)


def can_be_captured(optimizer: str, noisy: bool) -> bool:
    """Whether an update can be a CUDA graph; if not, the log says why.

    Args:
        optimizer: its name.
        noisy: whether there are noisy layers. Acting between two updates needs the noise of the
            last one, which is internal to a graph.
    """
    if noisy:
        logger.info("updates run without a CUDA graph: noisy layers cannot be captured")
        return False
    if optimizer not in ("rmsprop", "adam"):
        logger.info("updates run without a CUDA graph: their optimiser cannot be captured")
        return False
    return True


class Compiled:
    """A function compiled for the arguments of its first call, or as it is without a compiler.

    Args:
        function: takes tensors, which it changes in place, and constants, which are compiled in.
    """

    def __init__(self, function: Callable[..., None]) -> None:
        self.function = function
        self.chosen: Callable[..., None] | None = None

    def __call__(self, *arguments: Any) -> None:
        """Call the function, compiled if possible."""
        if self.chosen:
            self.chosen(*arguments)
            return
        try:
            fast: Callable[..., None] = torch.compile(self.function, dynamic=False)
            fast(*arguments)
            self.chosen = fast
            logger.info("the optimiser is compiled")
        except Exception as error:  # torch documents none; a missing compiler raises several
            logger.info("the optimiser runs uncompiled: %s", first_line(error))
            self.chosen = self.function
            self.function(*arguments)


def first_line(error: Exception) -> str:
    """Return the message of an error on one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class CudaGraph:
    """A function as a CUDA graph: a fixed sequence of kernels in a single launch.

    A graph reads and writes the same memory each time. So the arguments are copied into fixed input
    tensors, and the next call overwrites the result. There is a graph for every shape of the
    arguments. If capturing fails, the plain function continues.

    Args:
        function: takes tensors, all on the device, and returns a tensor.
    """

    def __init__(self, function: Update) -> None:
        self.function = function
        self.captures: dict[tuple[Any, ...], Capture] = {}
        self.failed = False

    def __call__(self, *arguments: Tensor) -> Tensor:
        """Call the function."""
        shapes = tuple(t.shape for t in arguments)
        if self.failed or (shapes not in self.captures and len(self.captures) == MOST_GRAPHS):
            return self.function(*arguments)
        if shapes not in self.captures:
            self.captures[shapes] = Capture(self.function, arguments)
        result = self.captures[shapes].call(arguments)
        if result is None:
            self.failed = True
            self.captures.clear()
            return self.function(*arguments)
        return result


class Capture:
    """The graph of a function for arguments of one shape, recorded after WARM_UP calls.

    Args:
        function: see CudaGraph.
        arguments: tensors like those of each call.
    """

    def __init__(self, function: Update, arguments: tuple[Tensor, ...]) -> None:
        self.function = function
        self.inputs = [torch.empty(t.shape, dtype=t.dtype, device=t.device) for t in arguments]
        self.result = torch.zeros(0)
        self.done = 0
        self.graph: Any = None

    def call(self, arguments: tuple[Tensor, ...]) -> Tensor | None:
        """Call the function; None, without having called it, if it cannot be recorded."""
        for own, tensor in zip(self.inputs, arguments, strict=True):
            own.copy_(tensor, non_blocking=True)
        self.done += 1
        if self.done <= WARM_UP:
            return self._warm_up()
        if self.graph is None and not self._record():
            return None
        self.graph.replay()
        return self.result

    def _record(self) -> bool:
        """Record the function without running it; return whether that succeeded."""
        stream = torch.cuda.current_stream()
        try:
            self.graph = torch.cuda.CUDAGraph()
            # On another stream than the last graph: they would share the workspaces of libraries.
            with torch.cuda.graph(self.graph, stream=torch.cuda.Stream()):  # type: ignore[no-untyped-call]
                self.result = self.function(*self.inputs)
        except RuntimeError as error:
            # The original error is the context of the failure to end the capture, which also leaves
            # the capture's stream current.
            cause = error.__context__ if isinstance(error.__context__, Exception) else error
            logger.info("running without a CUDA graph: %s", first_line(cause))
            torch.cuda.set_stream(stream)
            return False
        return True

    def _warm_up(self) -> Tensor:
        """Call the function on a side stream, as CUDA requires of warm-up before a capture."""
        current, stream = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            result = self.function(*self.inputs)
        current.wait_stream(stream)
        return result


def make_acting_stream(device: torch.device) -> Any:
    """Return the stream on which a GPU acts while it learns on the default one; None on a CPU.

    Its short work has priority, since the games wait for it.
    """
    return torch.cuda.Stream(priority=-1) if device.type == "cuda" else None  # type: ignore[no-untyped-call]


class ActingCopy:
    """A copy of the Q-network that acts on a stream of its own, while the updates of a round run.

    It has the weights of before these updates, as in the concurrent training of Daley and Amato
    (2021), where θ⁻ acts.

    Args:
        network: the Q-network.
        stream: where it acts; everything else runs on the default stream.
        captured: whether a prediction is a CUDA graph.
    """

    def __init__(self, network: torch.nn.Module, stream: Any, captured: bool) -> None:
        self.network = copy.deepcopy(network)
        self.stream = stream
        self.forward = CudaGraph(self.network) if captured else self.network
        states = self.network.state_dict(), network.state_dict()
        self.pairs = list(zip(*(state.values() for state in states), strict=True))
        self.refresh()

    def refresh(self) -> None:
        """Take over the weights as they are after all updates so far, once those are done."""
        self.wait()  # for the last action by the old ones
        for own, theirs in self.pairs:
            own.copy_(theirs)
        self.ready = torch.cuda.current_stream().record_event()

    def wait(self) -> None:
        """Let the current stream wait for the acting stream."""
        torch.cuda.current_stream().wait_stream(self.stream)

    @contextlib.contextmanager
    def acting(self) -> Iterator[None]:
        """In this context, work is for the acting stream, and ``forward`` has its weights."""
        with torch.cuda.stream(self.stream):
            self.stream.wait_event(self.ready)
            yield
