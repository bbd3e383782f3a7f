"""Environment: N games side by side behind one small interface, and Atari 2600 games by ALE."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simple_dqn.state import State

Policy = Callable[[slice], NDArray[np.int64]]  # tells the actions of some lanes


class Step(NamedTuple):
    """What one action in each lane led to."""

    observations: NDArray[Any]  # [N, *shape] what the game shows after the action
    rewards: NDArray[np.float32]  # [N] raw, summed over the frame skip
    terminals: NDArray[np.bool_]  # [N] no bootstrapping beyond: game over, or a lost life
    truncateds: NDArray[np.bool_]  # [N] cut off by a limit: bootstrapping goes on
    game_overs: NDArray[np.bool_]  # [N] the game itself ended (a lost life doesn't end it)


class Environment(ABC):
    """N games side by side (lanes). One step is one action in each of them.

    Restarts are explicit: ``act`` never starts a new game, so the last observation of an episode
    is what ``act`` returned. A lane whose episode has ended waits until ``restart`` names it; till
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
        """Do ``actions`` [N] and return what they led to; the arrays are the caller's to keep."""

    def follow(self, policy: Policy) -> tuple[NDArray[np.int64], Step]:
        """Do what ``policy`` tells for each lane; return those actions [N] and what came of them.

        It is asked once for all lanes, but where games can go on in the meantime: there in turns.
        """
        actions = policy(slice(0, self.num_envs))
        return actions, self.act(actions)

    def screen(self) -> NDArray[np.uint8]:
        """Return what the first game shows now, RGB [height, width, 3], the caller's to keep."""
        raise NotImplementedError("this environment draws no pictures")

    def sound(self) -> NDArray[np.uint8]:
        """Return the samples of the first game's last frame, around 128; none if it is silent."""
        return np.empty(0, np.uint8)

    def state_dict(self) -> State | None:
        """Return what the games' future depends on, see ``state``; None if that is unknown.

        With it, an environment made with the same arguments goes on exactly where this one stands.
        Without, a run that goes on from a checkpoint begins new games.

        Returns:
            lanes: a list with a dict for each lane; observations: the last ones, [N, ...].
        """
        return None

    def load_state_dict(self, state: State) -> None:
        """Take in what ``state_dict`` returned.

        Raises:
            NotRepeatableError: the games do not stand where they stood then: restart them all.
        """
        raise NotImplementedError

    def close(self) -> None:  # noqa: B027 (not every environment holds something)
        """Free what the environment holds: emulators, windows, processes."""


def lane_seeds(seed: np.random.SeedSequence, num_envs: int) -> list[np.random.SeedSequence]:
    """Return a seed for each lane; that of a single lane is ``seed`` itself."""
    return [seed] if num_envs == 1 else seed.spawn(num_envs)
