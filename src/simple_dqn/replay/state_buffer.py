"""StateBuffer: the current state of each lane, kept apart from the replay memory.

It is separate because testing and playing need a current state without storing transitions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from simple_dqn.replay_memory import as_states


class StateBuffer:
    """The last ``history_length`` observations of each lane.

    Attributes:
        screens: [H, N, *shape], a ring; observations from before an episode's start are zero.
        newest: the index of the last observations.
    """

    def __init__(
        self, num_envs: int, history_length: int, shape: tuple[int, ...], dtype: DTypeLike
    ) -> None:
        self.screens: NDArray[Any] = np.zeros((history_length, num_envs, *shape), dtype)
        self.newest = 0
        self._states: NDArray[Any] | None = None

    def restart(self, lanes: NDArray[np.intp] | None, observations: NDArray[Any]) -> None:
        """Start an episode in ``lanes`` (None: all) with ``observations`` [len(lanes), *shape]."""
        where = slice(None) if lanes is None else lanes
        self.screens[:, where] = 0
        self.screens[self.newest, where] = observations
        self._states = None

    def add(self, observations: NDArray[Any]) -> None:
        """Append ``observations`` [N, *shape], one to each lane."""
        self.newest = (self.newest + 1) % len(self.screens)
        self.screens[self.newest] = observations
        self._states = None

    @property
    def states(self) -> NDArray[Any]:
        """The state of each lane, [N, H, *shape], oldest observation first; not to be changed."""
        if self._states is None:
            oldest = self.newest + 1
            self._states = as_states([*self.screens[oldest:], *self.screens[:oldest]])
        return self._states

    @property
    def inputs(self) -> Any:
        """The states as the network takes them; on a device, a tensor there."""
        return self.states

    def load(self, states: NDArray[Any]) -> None:
        """Restore what ``states`` returned."""
        self.screens[...] = np.swapaxes(states, 0, 1)
        self.newest = len(self.screens) - 1
        self._states = None
