"""Acceleration: what makes learning and acting faster and leaves what they compute as it is.

On the CPU the many passes of RMSProp over the weights become one, compiled by ``torch.compile``. On
a CUDA GPU the replay memory's screens live on the device, and a whole update, from the numbers of
the slots to the new weights, is one CUDA graph: a single launch in the place of some hundred.

Where that cannot be (no compiler, no room, an optimiser that cannot be captured) the plain path
goes on, and one line of the log says so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from simple_dqn.deep_q_network import DeepQNetwork
from simple_dqn.networks.rmsprop import RMSProp
from simple_dqn.replay_memory import Batch

logger = logging.getLogger(__name__)

# Compiling takes seconds each time and half a minute the first; an update gains 2 to 3 ms.
LEAST_UPDATES = 25_000
# Updates done one by one before one is captured: they make what cuDNN and the optimiser keep.
WARM_UP = 3


def accelerate(network: DeepQNetwork, updates: int) -> None:
    """Make ``network.train`` faster.

    Args:
        network: at its beginning, or as a checkpoint left it; nothing of it changes.
        updates: that the run is going to do.
    """
    if network.device.type == "cuda":
        capture(network)
    elif isinstance(network.optimizer, RMSProp) and updates >= LEAST_UPDATES:
        compile_optimizer(network.optimizer)


def compile_optimizer(optimizer: RMSProp) -> None:
    """Compile the update of RMSProp, if there is a compiler.

    ε, ρ and the shapes become constants of the compiled code. The step size, which a schedule may
    move, becomes a tensor.
    """
    plain = optimizer.update
    lr_to_tensor(optimizer, torch.device("cpu"))
    for group in optimizer.param_groups:
        for param in group["params"]:
            param.grad = torch.zeros_like(param)
    slots = [slot for slots in optimizer.state.values() for slot in slots.values()]
    before = [slot.clone() for slot in slots]
    try:
        optimizer.update = torch.compile(plain, dynamic=False)
        optimizer.step()  # gradients of zero leave the weights, but not the means, as they are
        logger.info("the optimiser is compiled")
    except Exception as error:  # torch documents none; a missing compiler has several
        optimizer.update = plain
        logger.info("the optimiser runs uncompiled: %s", first_line(error))
    torch._foreach_copy_(slots, before)
    optimizer.zero_grad(set_to_none=True)


def first_line(error: Exception) -> str:
    """Return what an error says, on one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def lr_to_tensor(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Keep the step size in a tensor, where compiled or captured code reads it."""
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(float(group["lr"]), device=device)


def capture(network: DeepQNetwork) -> None:
    """Have ``network.train`` done by a CUDA graph, if its optimiser and its layers allow."""
    if network.network.noisy_layers:
        # Acting between two updates is by the noise of the last; a graph keeps it to itself.
        logger.info("updates run without a CUDA graph: noisy layers cannot be captured")
        return
    if isinstance(network.optimizer, torch.optim.Adam):
        for group in network.optimizer.param_groups:
            group["capturable"] = True
    elif not isinstance(network.optimizer, RMSProp):
        logger.info("updates run without a CUDA graph: there is none for their optimiser")
        return
    lr_to_tensor(network.optimizer, network.device)
    network.train = GraphedTrain(network)  # type: ignore[method-assign]


class GraphedTrain:
    """``DeepQNetwork.train`` as a CUDA graph (a fixed sequence of kernels, launched at once).

    A graph reads and writes the same memory each time. So a batch is copied into tensors of its
    own, and the errors that it returns are overwritten by the next update. Nothing here waits for
    the GPU, but for the copies of the last batch. Where capturing fails the plain updates go on.
    """

    def __init__(self, network: DeepQNetwork) -> None:
        self.network = network
        self.plain: Callable[[Batch], Tensor] = network.train
        self.done = 0
        self.graph: Any = None
        self.staging: list[Tensor] = []  # a batch in pinned memory, from where copies do not wait
        self.inputs: list[Tensor] = []  # the same on the device
        self.copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self.errors = torch.zeros(0)

    def __call__(self, batch: Batch) -> Tensor:
        """See ``DeepQNetwork.train``."""
        tensors = [torch.as_tensor(array) for array in batch]
        if [t.shape for t in tensors] != [t.shape for t in self.inputs]:
            self.staging = [torch.empty_like(t).pin_memory() for t in tensors]
            self.inputs = [torch.empty_like(t, device=self.network.device) for t in tensors]
            self.done, self.graph = 0, None
        self.copied.synchronize()
        for tensor, staged, on_device in zip(tensors, self.staging, self.inputs, strict=True):
            staged.copy_(tensor)
            on_device.copy_(staged, non_blocking=True)
        self.copied.record()

        self.done += 1
        if self.done <= WARM_UP:
            return self._beside(self.plain)
        if self.graph is None:  # capturing counts the update, but only the replay does it
            self.network.optimizer.zero_grad(set_to_none=True)  # the graph makes its own
            counts = self.network.weight_updates, self.network._cost_updates
            stream = torch.cuda.current_stream()
            try:
                self.graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(self.graph):
                    self.errors = self.plain(self._batch())
            except RuntimeError as error:
                # What went wrong first is behind the failure to end the capture, which also leaves
                # its stream the current one.
                cause = error.__context__ if isinstance(error.__context__, Exception) else error
                logger.info("updates run without a CUDA graph: %s", first_line(cause))
                torch.cuda.set_stream(stream)
                self.network.weight_updates, self.network._cost_updates = counts
                self.network.optimizer.zero_grad(set_to_none=True)
                self.network.train = self.plain  # type: ignore[method-assign, assignment]
                return self.plain(batch)
        else:
            self.network.weight_updates += 1
            self.network._cost_updates += 1
        self.graph.replay()
        return self.errors

    def _batch(self) -> Batch:
        fields: list[Any] = list(self.inputs)
        return Batch(*fields)

    def _beside(self, train: Callable[[Batch], Tensor]) -> Tensor:
        """Do an update on a stream of its own, as capturing wants for those before it."""
        current, stream = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            errors = train(self._batch())
        current.wait_stream(stream)
        return errors
