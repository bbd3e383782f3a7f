"""Environment: N games side by side behind one small interface, and Step, what it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class NotRepeatableError(Exception):
    """A game cannot be restored to where it stood when its state was saved."""


class Step(NamedTuple):
    """What one action in each lane led to."""

    observations: NDArray[Any]  # [N, *shape] what the game shows after the action
    rewards: NDArray[np.float32]  # [N] raw, summed over the frame skip
    terminals: NDArray[np.bool_]  # [N] no bootstrapping beyond: game over, or a lost life
    truncateds: NDArray[np.bool_]  # [N] cut off by a limit: bootstrapping continues
    game_overs: NDArray[np.bool_]  # [N] the game itself ended (a lost life doesn't end it)


class Environment(ABC):
    """N games side by side (lanes). One step is one action in each of them.

    Restarts are explicit: ``act`` never starts a new game, so the last observation of an episode
    is what ``act`` returned. A lane whose episode has ended waits until ``restart`` names it; until
    then its actions are ignored and it reports reward 0 and no flag.

    Attributes:
        num_envs: N, the number of lanes.
        action_meanings: the name of each action, in the order of their numbers.
        observation_shape: shape of one observation, without lane and history.
        observation_dtype: uint8 for screens, float32 for vectors.
        training: whether this is training; else a frame cap holds. The agent sets it at the start
            of a phase.
        remembered: whether what happens is learnt from, so that a lost life is a terminal. The
            agent sets it, too.
        on_frame: called with the environment after each frame of the first game, also those
            inside a frame skip; what it shows and sounds like then is ``screen`` and ``sound``.
        frames_per_second: how fast the game runs in real time.
        frame_skip: frames that a step has; 1 where each step is one picture.
        is_console: whether frames are those of a console, which draws some objects in every
            other frame only.
        sound_rate: samples of sound a second; 0 for a silent game.
        pixel_aspect: width of a pixel over its height, as the game was meant to be seen.
        lives: lives left in each lane; empty where games have none.
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
    pixel_aspect: float = 1
    lives: Sequence[int] = ()

    @abstractmethod
    def restart(self, lanes: NDArray[np.intp] | None = None) -> NDArray[Any]:
        """Begin the next episode in some lanes and return their first observations.

        Args:
            lanes: numbers of the lanes whose episode has ended; None for a new game in every
                lane, wherever it stands.

        Returns:
            observations, observation_dtype [len(lanes), *observation_shape].
        """

    @abstractmethod
    def act(self, actions: NDArray[np.integer[Any]]) -> Step:
        """Take ``actions`` [N] and return what they led to; the arrays are the caller's to keep."""

    @property
    def groups(self) -> Sequence[slice]:
        """The lanes by groups: while the games of one group go on, the next can be sent actions."""
        return (slice(0, self.num_envs),)

    def send(self, lanes: slice, actions: NDArray[np.int64]) -> None:
        """Start taking ``actions`` [n] in the ``lanes`` of one group, or of all; do not wait."""
        self._sent = actions

    def receive(self) -> Step:
        """Wait until the actions sent to all groups are done; return what they led to."""
        return self.act(self._sent)

    def screen(self) -> NDArray[np.uint8]:
        """Return what the first game shows now, RGB [height, width, 3], the caller's to keep."""
        raise NotImplementedError("this environment draws no pictures")

    def sound(self) -> NDArray[np.uint8]:
        """Return the samples of the first game's last frame, around 128; none if it is silent."""
        return np.empty(0, np.uint8)

    def state_dict(self) -> dict[str, Any] | None:
        """Return all that the games depend on from here, see ``storage.states``; None if unknown.

        With it, an environment made with the same arguments continues exactly where this one
        stands. Without it, a run that is resumed from a checkpoint begins new games.

        Returns:
            lanes: a list with a dict for each lane; observations: the last ones, [N, ...].
        """
        return None

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned.

        Raises:
            NotRepeatableError: the games could not be restored: restart them all.
        """
        raise NotImplementedError

    def close(self) -> None:  # noqa: B027 (not every environment holds something)
        """Free what the environment holds: emulators, windows, processes."""


def lane_seeds(seed: np.random.SeedSequence, num_envs: int) -> list[np.random.SeedSequence]:
    """Return a seed for each lane; that of a single lane is ``seed`` itself."""
    return [seed] if num_envs == 1 else seed.spawn(num_envs)
