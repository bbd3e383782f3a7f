"""GymEnvironment: any Gymnasium environment with discrete actions, in N lanes."""

from __future__ import annotations

from typing import Any

import ale_py
import gymnasium
import numpy as np
from numpy.typing import NDArray

from simple_dqn.environment import Environment, shrink
from simple_dqn.errors import UsageError
from simple_dqn.structures import Step

gymnasium.register_envs(ale_py)  # the ids ALE/...


class GymEnvironment(Environment):
    """A Gymnasium environment: screens become grey and small, vectors stay as they are.

    Gymnasium's own ``terminated`` and ``truncated`` are taken over as they are. Frame skip, no-op
    starts and the like are the environment's own affair.

    Args:
        env_id: a Gymnasium id, ``module:id`` to import a module first.
        num_envs: N, the number of lanes.
        seed: of the first reset of each lane; later games go on from there.
        resize, screen_width, screen_height: of a screen's observation, see ``shrink``.
        render: whether there is a ``screen``; a step is a frame.

    Raises:
        UsageError: there is no such environment, its actions are not discrete, its observations
            are neither screens nor vectors, or it cannot draw and is to be rendered.
    """

    def __init__(
        self,
        env_id: str,
        *,
        num_envs: int,
        seed: np.random.SeedSequence,
        resize: str,
        screen_width: int,
        screen_height: int,
        render: bool = False,
    ) -> None:
        drawing: dict[str, Any] = {"render_mode": "rgb_array"}
        try:
            self.games = [
                gymnasium.make(env_id, **(drawing if render and lane == 0 else {}))
                for lane in range(num_envs)
            ]
        except Exception as error:  # its module is the user's and may raise anything
            raise UsageError(f"'{env_id}' cannot be made by Gymnasium: {error}") from None
        self.num_envs = num_envs
        self.frames_per_second = float(self.games[0].metadata.get("render_fps") or 30)
        self.resize = resize
        self.seeds: list[int | None] = [int(s) for s in seed.generate_state(num_envs) >> 1]

        if render and "rgb_array" not in (self.games[0].metadata.get("render_modes") or ()):
            raise UsageError(f"'{env_id}' cannot be shown: it draws no pictures (rgb_array)")
        actions, observations = self.games[0].action_space, self.games[0].observation_space
        if not isinstance(actions, gymnasium.spaces.Discrete):
            raise UsageError(f"'{env_id}' has the action space {actions}; DQN needs a Discrete one")
        self.first_action = int(actions.start)
        unwrapped: Any = self.games[0].unwrapped
        meanings = getattr(unwrapped, "get_action_meanings", lambda: None)()
        self.action_meanings = list(meanings or map(str, range(int(actions.n))))

        shape = observations.shape or ()
        screen = observations.dtype == np.uint8 and (
            len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3))
        )
        vector = isinstance(observations, gymnasium.spaces.Box) and len(shape) == 1
        if not (screen or vector):
            raise UsageError(
                f"'{env_id}' has the observation space {observations}; supported are screens, "
                f"uint8 [h, w], [h, w, 1] or [h, w, 3], and vectors"
            )
        self.observation_shape = (screen_height, screen_width) if screen else shape
        self.observation_dtype = np.dtype(np.uint8 if screen else np.float32)
        self.waiting = [False] * num_envs
        self.last = np.zeros((num_envs, *self.observation_shape), self.observation_dtype)

    def restart(self, lanes: NDArray[np.intp] | None = None) -> NDArray[Any]:
        """See Environment."""
        for lane in range(self.num_envs) if lanes is None else lanes:
            observation, _ = self.games[lane].reset(seed=self.seeds[lane])
            self.seeds[lane] = None  # once: seeding every game would replay the same one
            self.waiting[lane] = False
            self.last[lane] = self._observe(observation)
            self._tell(lane)
        return self.last.copy() if lanes is None else self.last[lanes]

    def act(self, actions: NDArray[np.integer[Any]]) -> Step:
        """See Environment."""
        n = self.num_envs
        rewards = np.zeros(n, np.float32)
        terminals, truncateds = np.zeros((2, n), np.bool_)
        for lane in range(n):
            if self.waiting[lane]:
                continue
            action = self.first_action + int(actions[lane])
            observation, reward, terminated, truncated, _ = self.games[lane].step(action)
            rewards[lane] = reward
            terminals[lane] = terminated
            truncateds[lane] = truncated and not terminated
            self.waiting[lane] = terminated or truncated
            self.last[lane] = self._observe(observation)
            self._tell(lane)
        return Step(self.last.copy(), rewards, terminals, truncateds, terminals.copy())

    def screen(self) -> NDArray[np.uint8]:
        """See Environment."""
        screen: Any = self.games[0].render()
        return np.array(screen, np.uint8)

    def _tell(self, lane: int) -> None:
        """Tell the listeners that the first game has gone on."""
        if lane == 0:
            for listener in self.on_frame:
                listener(self)

    def _observe(self, observation: NDArray[Any]) -> NDArray[Any]:
        """Turn what Gymnasium shows into an observation."""
        if self.observation_dtype == np.float32:
            return observation.astype(np.float32)
        height, width = self.observation_shape
        if observation.ndim == 3 and observation.shape[2] == 1:
            observation = observation[:, :, 0]
        return shrink(observation, width, height, self.resize)

    def close(self) -> None:
        """Close the games."""
        for game in self.games:
            game.close()
