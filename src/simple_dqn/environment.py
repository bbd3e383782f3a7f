"""Environment: the interface to N games played side by side. Step: the result of an action."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# In place of an action: the best one by the Q-network that the environment itself has a copy of.
GREEDY = -1


class NotRepeatableError(Exception):
    """A game cannot be restored to its saved state."""


class Step(NamedTuple):
    """The result of one action in each lane."""

    observations: NDArray[Any]  # [N, *shape] after the action
    rewards: NDArray[np.float64]  # [N] raw, summed over the frame skip
    terminals: NDArray[np.bool_]  # [N] no bootstrapping: game over, or a lost life
    truncateds: NDArray[np.bool_]  # [N] cut off by a limit: still bootstraps
    game_overs: NDArray[np.bool_]  # [N] the game itself ended (a lost life does not end it)


class Environment(ABC):
    """N games side by side (lanes). One step is one action in each of them.

    Restarts are explicit: ``act`` never starts a new game, so the last observation of an episode
    is what ``act`` returned. A lane whose episode has ended waits for ``restart``; until then
    its actions are ignored, its rewards are 0 and its flags are False.

    Attributes:
        num_envs: N, the number of lanes.
        action_meanings: the name of each action, in the order of their numbers.
        observation_shape: shape of one observation, without lane and history.
        observation_dtype: uint8 for screens, float32 for vectors.
        training: whether this is a training phase; otherwise the frame cap applies. Set by the
            agent at the start of a phase.
        remembered: whether the steps are stored for learning, where a lost life is a terminal.
            Set by the agent, too.
        on_frame: called with the environment after each frame of the first game, including those
            within a frame skip; ``screen`` and ``sound`` then return that frame.
        frames_per_second: the game's speed in real time.
        frame_skip: frames per step; 1 where each step is one picture.
        is_console: whether frames are those of a console, which draws some objects only in every
            other frame.
        sound_rate: audio samples per second; 0 for a silent game.
        chooses: whether ``GREEDY`` can be sent in place of an action.
        pixel_aspect: width of a pixel over its height on the original display.
        lives: lives left in each lane; empty if the game has none.
    """

    num_envs: int
    action_meanings: list[str]
    observation_shape: tuple[int, ...]
    observation_dtype: np.dtype[Any]
    training: bool = True
    remembered: bool = True
    on_frame: tuple[Callable[[Environment], None], ...] = ()
    frames_per_second: float = 60
    frame_skip: int = 1
    is_console: bool = False
    sound_rate: int = 0
    chooses: bool = False
    pixel_aspect: float = 1
    lives: Sequence[int] = ()

    @abstractmethod
    def restart(self, lanes: NDArray[np.intp] | None = None) -> NDArray[Any]:
        """Start the next episode in some lanes and return their first observations.

        Args:
            lanes: numbers of the lanes whose episode has ended; None: a new game in every
                lane, finished or not.

        Returns:
            observations, observation_dtype [len(lanes), *observation_shape], an array that is not
            reused.
        """

    @abstractmethod
    def act(self, actions: NDArray[np.integer[Any]]) -> Step:
        """Take ``actions`` [N] and return the result, in arrays that are not reused."""

    @property
    def groups(self) -> Sequence[slice]:
        """Groups of lanes: while the games of one group run, actions can be sent to the next."""
        return (slice(0, self.num_envs),)

    def send(self, lanes: slice, actions: NDArray[np.int64]) -> None:
        """Start taking ``actions`` [n] in ``lanes``, one group or all of them, without waiting."""
        self._sent = actions

    def receive(self) -> Step:
        """Wait for the actions sent to all groups and return their result."""
        return self.act(self._sent)

    def screen(self) -> NDArray[np.uint8]:
        """Return the current screen of the first game, a new RGB array [height, width, 3]."""
        raise NotImplementedError("this environment does not draw a screen")

    def sound(self) -> NDArray[np.uint8]:
        """Return the audio of the first game's last frame, centred on 128; empty if silent."""
        return np.empty(0, np.uint8)

    def state_dict(self) -> dict[str, Any] | None:
        """Return the complete state of the games, see ``storage.states``; None if unsupported.

        With it, an environment made with the same arguments continues exactly from here. Without
        it, a run resumed from a checkpoint starts new games.

        Returns:
            lanes: a list with a dict for each lane; observations: the last ones, [N, ...].
        """
        return None

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned.

        Raises:
            NotRepeatableError: the games cannot be restored; all must be restarted.
        """
        raise NotImplementedError

    def close(self) -> None:  # noqa: B027 (not every environment holds resources)
        """Free the resources of the environment: emulators, windows, processes."""


def lane_seeds(seed: np.random.SeedSequence, num_envs: int) -> list[np.random.SeedSequence]:
    """Return a seed for each lane; a single lane gets ``seed`` itself."""
    return [seed] if num_envs == 1 else seed.spawn(num_envs)
