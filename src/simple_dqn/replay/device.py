"""A replay memory and current states whose screens are stored on the training device."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simple_dqn.replay.prioritized import PrioritizedReplayMemory
from simple_dqn.replay.state_buffer import StateBuffer
from simple_dqn.replay_memory import ReplayMemory

logger = logging.getLogger(__name__)

SHARE = 0.8  # of the device's free memory that the replay memory can take


def to_device(array: NDArray[Any], device: torch.device) -> Tensor:
    """Return an array as a tensor on a device; nothing waits for the copy."""
    tensor = torch.as_tensor(array)
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


class Upload:
    """Copies arrays to a device through pinned memory, without waiting.

    The last one is kept: memory and states get the same observations, which are copied once.

    Args:
        device: that they are copied to.
        stream: that copies, and that the current states belong to; None: the default stream.
    """

    def __init__(self, device: torch.device, stream: Any = None) -> None:
        self.device, self.stream = device, stream
        self._last: tuple[Any, Tensor] = None, torch.empty(0)

    def __call__(self, array: NDArray[Any]) -> Tensor:
        """Return the array, which is not changed later, as a tensor on the device."""
        if array is not self._last[0]:
            with torch.cuda.stream(self.stream):
                self._last = array, to_device(array, self.device)
        return self._last[1]

    def for_memory(self, array: NDArray[Any]) -> Tensor:
        """Return the same for use on the default stream, which waits until it is copied."""
        tensor = self(array)
        if self.stream:
            default = torch.cuda.default_stream(self.device)
            default.wait_stream(self.stream)
            tensor.record_stream(default)
        return tensor


class DeviceStateBuffer(StateBuffer):
    """The current states of all lanes, in main memory and on a device.

    Args:
        num_envs, history_length, shape: see StateBuffer; screens of uint8.
        upload: copies to the device.
    """

    _inputs: Tensor

    def __init__(
        self, num_envs: int, history_length: int, shape: tuple[int, ...], upload: Upload
    ) -> None:
        super().__init__(num_envs, history_length, shape, np.uint8)
        self.upload = upload
        self.load(self.states)

    @property
    def inputs(self) -> Tensor:
        """The states as the network takes them, uint8 [N, H, *shape] on the device."""
        return self._inputs

    def restart(self, lanes: NDArray[np.intp] | None, observations: NDArray[Any]) -> None:
        """See StateBuffer."""
        super().restart(lanes, observations)
        every = np.arange(len(self._inputs)) if lanes is None else lanes
        with torch.cuda.stream(self.upload.stream):
            rows = to_device(every, self.upload.device)
            self._inputs[rows] = 0
            self._inputs[rows, -1] = self.upload(observations)

    def add(self, observations: NDArray[Any]) -> None:
        """See StateBuffer."""
        super().add(observations)
        with torch.cuda.stream(self.upload.stream):
            newest = self.upload(observations)[:, None]
            self._inputs = torch.cat([self._inputs[:, 1:], newest], dim=1)

    def load(self, states: NDArray[Any]) -> None:
        """See StateBuffer."""
        super().load(states)
        with torch.cuda.stream(self.upload.stream):
            self._inputs = torch.tensor(np.ascontiguousarray(states), device=self.upload.device)


class DeviceScreens:
    """Screens in the memory of a device, read and written like an array [N, T, *shape].

    Memory layout: uint8 [N · T + 1, pixels], lane by lane. The last row stays zero: it stands
    for the screens from before an episode's start.

    Args:
        num_envs: N.
        slots: T, per lane.
        shape: of a screen.
        upload: copies to the device that stores them.
    """

    def __init__(self, num_envs: int, slots: int, shape: tuple[int, ...], upload: Upload) -> None:
        self.slots, self.shape, self.upload = slots, shape, upload
        self.device = device = upload.device
        self.rows = torch.zeros(
            (num_envs * slots + 1, int(np.prod(shape))), dtype=torch.uint8, device=device
        )

    def __setitem__(self, at: tuple[Any, Any], screens: NDArray[np.uint8]) -> None:
        """Write ``screens`` [n, *shape] to (lanes [n], slots [n])."""
        lanes, slots = at
        rows = to_device(lanes * self.slots + slots, self.device)
        self.rows[rows] = self.upload.for_memory(screens).reshape(len(rows), -1)

    def __getitem__(self, at: tuple[Any, Any]) -> NDArray[np.uint8]:
        """Return the screens at (lanes, slots), broadcast together: uint8 [..., *shape]."""
        lanes, slots = np.broadcast_arrays(*at)
        rows = to_device(lanes * self.slots + slots, self.device)
        return self.rows[rows].cpu().numpy().reshape(*lanes.shape, *self.shape)

    def gather(self, numbers: NDArray[np.int64]) -> Tensor:
        """Return the screens with ``numbers`` [B, H]: lane · T + slot, or −1 for a zero screen.

        Returns:
            uint8 [B, H, *shape], on the device.
        """
        rows = to_device(np.where(numbers >= 0, numbers, len(self.rows) - 1), self.device)
        states = self.rows[rows]
        return states.reshape(*numbers.shape, *self.shape)


class DeviceReplayMemory(ReplayMemory):
    """A uniform replay memory on a device, where the states of a batch are tensors.

    Args:
        upload: copies to the device that stores the screens.
        args, kwargs: see ReplayMemory.
    """

    def __init__(self, *args: Any, upload: Upload, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.screens = DeviceScreens(self.num_envs, self.slots, self.shape, upload)

    def _batch_states(self, lanes: NDArray[np.int64], ages: NDArray[np.int64]) -> Tensor:
        slots, _, kept = self._history(lanes, ages)
        screens: DeviceScreens = self.screens
        return screens.gather(np.where(kept, lanes[:, None] * self.slots + slots, -1))


class DevicePrioritizedReplayMemory(DeviceReplayMemory, PrioritizedReplayMemory):
    """A prioritized replay memory on a device."""


def fits_on_device(size: int, shape: tuple[int, ...], device: torch.device) -> bool:
    """Whether ``size`` screens fit on a CUDA GPU; a GPU that is too small is logged."""
    if device.type != "cuda":
        return False
    needed = (size + 1) * int(np.prod(shape))
    free, _ = torch.cuda.mem_get_info(device)
    if needed > SHARE * free:
        logger.info(
            "the replay memory stays in main memory: its %.1f GB do not fit in the %.1f GB free on "
            "the GPU", needed / 1e9, free / 1e9,
        )  # fmt: skip
    return needed <= SHARE * free
