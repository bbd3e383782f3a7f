"""The records that travel between the rooms: Step, Batch and Experience.

N is the number of lanes (games side by side), B the batch size, H the history length and *shape
that of one observation: (84, 84) uint8 for a screen, (d,) float32 for a vector.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Step(NamedTuple):
    """What one action in each lane led to."""

    observations: NDArray[Any]  # [N, *shape] what the game shows after the action
    rewards: NDArray[np.float32]  # [N] raw, summed over the frame skip
    terminals: NDArray[np.bool_]  # [N] no bootstrapping beyond: game over, or a lost life
    truncateds: NDArray[np.bool_]  # [N] cut off by a limit: bootstrapping goes on
    game_overs: NDArray[np.bool_]  # [N] the game itself ended (a lost life doesn't end it)


class Batch(NamedTuple):
    """Transitions sampled from the replay memory."""

    states: NDArray[Any]  # [B, H, *shape]; slots [B, H] if the memory keeps screens on a device
    actions: NDArray[np.int64]  # [B]
    returns: NDArray[np.float32]  # [B] clipped rewards, summed with γ from the action on
    discounts: NDArray[np.float32]  # [B] γᵏ for the k rewards summed; 0 after a terminal
    poststates: NDArray[Any]  # likewise: the states that the returns lead up to
    indices: NDArray[np.int64]  # [B] where in the memory: lane · slots per lane + slot
    weights: NDArray[np.float32]  # [B] importance weights; all 1 for uniform sampling


class Experience(NamedTuple):
    """What was played, in time: n slots of a replay memory, whose docstring tells what they hold.

    The first slot is a start, except in the parts that ``cut`` and ReplayMemory.read return; what a
    start slot says of action, reward and end counts for nothing.
    """

    screens: NDArray[Any]  # [n, *shape]
    actions: NDArray[np.int32]  # [n]
    rewards: NDArray[np.float32]  # [n] raw
    terminals: NDArray[np.bool_]  # [n]
    starts: NDArray[np.bool_]  # [n]

    def cut(self, part: slice) -> Experience:
        """Return some of the slots."""
        arrays: Any = (array[part] for array in self)
        return Experience(*arrays)

    @staticmethod
    def join(parts: list[Experience]) -> Experience:
        """Return the slots of all ``parts`` in a row."""
        arrays: Any = map(np.concatenate, zip(*parts, strict=True))
        return Experience(*arrays)
