"""The screens of a replay memory in the memory of a GPU."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

logger = logging.getLogger(__name__)


# Of the device's free memory the replay memory may take this much.
SHARE = 0.8


class DeviceScreens:
    """The screens of a replay memory, in the memory of the device that learns from them.

    Memory layout: uint8 [N · T + 1, pixels], lane after lane; the last row stays zero and is what
    a state has where its episode had not begun.

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

    def lookup(self, numbers: Tensor) -> Tensor:
        """Return the states made of the slots ``numbers`` [B, H], −1 for none: [B, H, *shape]."""
        states = self.rows[torch.where(numbers >= 0, numbers, len(self.rows) - 1)]
        return states.reshape(*numbers.shape, *self.shape)


def device_screens(
    num_envs: int, slots: int, shape: tuple[int, ...], device: torch.device
) -> DeviceScreens | None:
    """Return a place for screens on a CUDA GPU; None, and a line in the log, if it does not fit."""
    if device.type != "cuda":
        return None
    needed = (num_envs * slots + 1) * int(np.prod(shape))
    free, _ = torch.cuda.mem_get_info(device)
    if needed > SHARE * free:
        logger.info(
            "the replay memory stays in the computer's memory: its %.1f GB are too much for the "
            "%.1f GB that are free on the GPU", needed / 1e9, free / 1e9,
        )  # fmt: skip
        return None
    return DeviceScreens(num_envs, slots, shape, device)
