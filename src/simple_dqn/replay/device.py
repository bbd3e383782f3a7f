"""DeviceReplayMemory: a replay memory whose screens are on the device that learns from them."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simple_dqn.replay.prioritized import PrioritizedReplayMemory
from simple_dqn.replay_memory import ReplayMemory

logger = logging.getLogger(__name__)

SHARE = 0.8  # of the device's free memory that the replay memory may take


class DeviceScreens:
    """Screens in the memory of a device, read and written like an array [N, T, *shape].

    Memory layout: uint8 [N · T + 1, pixels], lane after lane; the last row stays zero: it is the
    screen of a state from before its episode began.

    Args:
        num_envs: N.
        slots: T, of each lane.
        shape: of a screen.
        device: where.
    """

    def __init__(
        self, num_envs: int, slots: int, shape: tuple[int, ...], device: torch.device
    ) -> None:
        self.slots, self.shape, self.device = slots, shape, device
        self.rows = torch.zeros(
            (num_envs * slots + 1, int(np.prod(shape))), dtype=torch.uint8, device=device
        )

    def __setitem__(self, at: tuple[Any, Any], screens: NDArray[np.uint8]) -> None:
        """Write ``screens`` [n, *shape] to (lanes [n], slots [n])."""
        lanes, slots = at
        rows = torch.as_tensor(lanes * self.slots + slots).to(self.device)
        self.rows[rows] = torch.as_tensor(screens).reshape(len(rows), -1).to(self.device)

    def __getitem__(self, at: tuple[Any, Any]) -> NDArray[np.uint8]:
        """Return the screens at (lanes, slots), which are broadcast: uint8 [..., *shape]."""
        lanes, slots = np.broadcast_arrays(*at)
        rows = torch.as_tensor(lanes * self.slots + slots).to(self.device)
        return self.rows[rows].cpu().numpy().reshape(*lanes.shape, *self.shape)

    def gather(self, numbers: NDArray[np.int64]) -> Tensor:
        """Return the screens of ``numbers`` [B, H], lane · T + slot, or −1 for a zero screen.

        Returns:
            uint8 [B, H, *shape], on the device.
        """
        rows = np.where(numbers >= 0, numbers, len(self.rows) - 1)
        states = self.rows[torch.as_tensor(rows).to(self.device, non_blocking=True)]
        return states.reshape(*numbers.shape, *self.shape)


class DeviceReplayMemory(ReplayMemory):
    """A uniform replay memory of screens on a device: the states of a batch are tensors there.

    Args:
        device: where.
        args, kwargs: see ReplayMemory.
    """

    def __init__(self, *args: Any, device: torch.device, **kwargs: Any) -> None:
        self.device = device
        super().__init__(*args, **kwargs)

    def _allocate_screens(self) -> DeviceScreens:
        return DeviceScreens(self.num_envs, self.slots, self.shape, self.device)

    def _batch_states(self, lanes: NDArray[np.int64], ages: NDArray[np.int64]) -> Tensor:
        slots, _, kept = self._history(lanes, ages)
        screens: DeviceScreens = self.screens
        return screens.gather(np.where(kept, lanes[:, None] * self.slots + slots, -1))


class DevicePrioritizedReplayMemory(DeviceReplayMemory, PrioritizedReplayMemory):
    """A prioritized replay memory of screens on a device."""


def fits_on_device(size: int, shape: tuple[int, ...], device: torch.device) -> bool:
    """Whether ``size`` screens fit on a CUDA GPU; where they do not, a line of the log says so."""
    if device.type != "cuda":
        return False
    needed = (size + 1) * int(np.prod(shape))
    free, _ = torch.cuda.mem_get_info(device)
    if needed > SHARE * free:
        logger.info(
            "the replay memory stays in the computer's memory: its %.1f GB are too much for the "
            "%.1f GB that are free on the GPU", needed / 1e9, free / 1e9,
        )  # fmt: skip
    return needed <= SHARE * free
