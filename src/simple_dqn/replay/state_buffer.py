"""StateBuffer: the current state of each lane, kept apart from the replay memory.

It is separate because testing and playing need a current state without storing transitions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


class StateBuffer:
    """The last ``history_length`` observations of each lane, oldest first.

    Attributes:
        states: [N, H, *shape]; observations from before an episode's start are zero.
    """

    def __init__(
        self, num_envs: int, history_length: int, shape: tuple[int, ...], dtype: DTypeLike
    ) -> None:
        self.states: NDArray[Any] = np.zeros((num_envs, history_length, *shape), dtype)

    def restart(self, lanes: NDArray[np.intp] | None, observations: NDArray[Any]) -> None:
        """Start an episode in ``lanes`` (None: all) with ``observations`` [len(lanes), *shape]."""
        where = slice(None) if lanes is None else lanes
        self.states[where] = 0
        self.states[where, -1] = observations

    def add(self, observations: NDArray[Any]) -> None:
        """Append ``observations`` [N, *shape], one to each lane."""
        self.states[:, :-1] = self.states[:, 1:]
        self.states[:, -1] = observations
