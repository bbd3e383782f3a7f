"""GymEnvironment: any Gymnasium environment with discrete actions, in N lanes."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any

import ale_py
import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from simple_dqn.environment import Environment, NotRepeatableError, Step, lane_seeds
from simple_dqn.environments.atari import shrink
from simple_dqn.environments.observations import LARGEST_BOARD, plain, with_time
from simple_dqn.environments.pictures import as_picture
from simple_dqn.environments.repeating import (
    NP_RANDOM,
    Played,
    begin,
    is_repeatable,
    repeat,
)
from simple_dqn.errors import UsageError
from simple_dqn.storage.states import conform, typed

UNKNOWN = "unknown"  # rewards in a checkpoint of the first version

gymnasium.register_envs(ale_py)  # the ids ALE/...
gymnasium.logger.min_level = gymnasium.logger.ERROR  # its warnings are for an environment's author


def is_registered(env_id: str) -> bool:
    """Whether Gymnasium knows an id; an installed package that offers it is asked to register it.

    Packages such as minatar name their function in the entry points of the group gymnasium.envs,
    which Gymnasium itself no longer loads.
    """
    namespace = env_id.rpartition("/")[0]
    if env_id not in gymnasium.registry and namespace and ":" not in env_id:
        for entry in entry_points(group="gymnasium.envs", name=namespace):
            entry.load()()
    return env_id in gymnasium.registry


class GymEnvironment(Environment):
    """A Gymnasium environment; ``observations`` says what is seen of it.

    The lanes step through Gymnasium's own vector API, without its autoreset. ``terminated`` and
    ``truncated`` are passed on; frame skip, no-op starts and the like are left to the environment.

    Args:
        env_id: a Gymnasium id, ``module:id`` to import a module first.
        num_envs: N, the number of lanes.
        seed: of the first reset of each lane, see ``lane_seeds``; later games continue from there.
        resize, screen_width, screen_height: of a screen's observation, see ``shrink``.
        observe_time: see ``observations.with_time``.
        render: whether ``screen`` is available; a step is a frame.

    Raises:
        UsageError: there is no such environment, its actions are not discrete, its observations
            cannot be flattened, or it must be rendered and cannot. Also raised by any method
            if the environment itself fails.
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
        observe_time: bool = False,
        render: bool = False,
    ) -> None:
        is_registered(env_id)
        self.wrap = with_time if observe_time else plain
        drawing: dict[str, Any] = {"render_mode": "rgb_array"} if render else {}
        try:
            games: Any = gymnasium.make_vec(
                env_id, num_envs, "sync", {"autoreset_mode": AutoresetMode.DISABLED}, [self.wrap],
                **drawing,
            )  # fmt: skip
        except Exception as error:  # the environment's module can raise anything
            unknown = ":" not in env_id and isinstance(error, gymnasium.error.UnregisteredEnv)
            hint = " (for another package, give module:id)" if unknown else ""
            raise UsageError(f"'{env_id}' cannot be made by Gymnasium{hint}: {error}") from error
        self.games = games
        self.env_id = env_id
        self.num_envs = num_envs
        game: Any = self.games.envs[0]
        with self._naming_environment("its description"):
            self._describe(game, render)
        self.resize = resize
        self.seeds: list[int] | None = [
            int(lane_seed.generate_state(1)[0] >> 1) for lane_seed in lane_seeds(seed, num_envs)
        ]

        observations = game.observation_space
        shape = observations.shape if isinstance(observations, Box) else ()
        if not np.prod(shape):
            raise UsageError(f"'{env_id}' has observations of no numbers: {observations}")
        if len(shape) not in (1, 2, 3) or (len(shape) == 3 and max(shape[1:]) > LARGEST_BOARD):
            raise UsageError(
                f"'{env_id}' has the observation space {observations}; supported are one screen or "
                f"board, [h, w], [h, w, channels] or [channels, h, w], and what can be flattened"
            )
        self.shrinks = len(shape) == 2
        self.observation_shape = (screen_height, screen_width) if self.shrinks else shape
        self.observation_dtype = np.dtype(observations.dtype if len(shape) > 1 else np.float32)
        self.played = [Played() for _ in range(num_envs)]
        self.waiting = np.zeros(num_envs, np.bool_)  # for a restart
        self.ended = np.zeros(num_envs, np.bool_)  # Gymnasium would not step these
        self.last = np.zeros((num_envs, *self.observation_shape), self.observation_dtype)

    def _describe(self, game: Any, render: bool) -> None:
        """Read what the environment says of itself."""
        rate = game.metadata.get("render_fps")
        self.frames_per_second = float(rate) if isinstance(rate, int | float) and rate > 0 else 30.0
        if render and "rgb_array" not in (game.metadata.get("render_modes") or ()):
            raise UsageError(f"'{self.env_id}' cannot be shown: it draws no pictures (rgb_array)")
        actions = game.action_space
        if not isinstance(actions, Discrete):
            raise UsageError(
                f"'{self.env_id}' has the action space {actions}; DQN needs a Discrete one"
            )
        self.first_action = int(actions.start)
        meanings = getattr(game.unwrapped, "get_action_meanings", None)
        self.action_meanings = action_names(meanings, int(actions.n))

    def restart(self, lanes: NDArray[np.intp] | None = None) -> NDArray[Any]:
        """See Environment."""
        chosen = np.zeros(self.num_envs, np.bool_)
        chosen[slice(None) if lanes is None else lanes] = True
        self._reset(chosen)
        self.waiting[chosen] = False
        self._notify(chosen[0])
        return self.last.copy() if lanes is None else self.last[lanes]

    def act(self, actions: NDArray[np.integer[Any]]) -> Step:
        """See Environment."""
        if self.ended.any():  # lanes that wait continue unseen
            self._reset(self.ended.copy(), keep=True)
        with self._naming_environment("step"):
            observations, rewards, terminateds, truncateds, _ = self.games.step(
                actions + self.first_action
            )
        if not np.isfinite(rewards).all():
            raise UsageError(
                f"'{self.env_id}' returned the reward {rewards[~np.isfinite(rewards)][0]}"
            )
        for played, action, reward in zip(self.played, actions, rewards, strict=True):
            played.add(int(action), float(reward))
        playing = ~self.waiting
        self.ended = terminateds | truncateds
        self._observe(observations, playing)
        terminals, truncateds = terminateds & playing, truncateds & ~terminateds & playing
        self.waiting |= terminals | truncateds
        self._notify(bool(playing[0]))
        rewards = np.where(playing, rewards, 0).astype(np.float64)
        return Step(self.last.copy(), rewards, terminals, truncateds, terminals.copy())

    def _reset(self, chosen: NDArray[np.bool_], keep: bool = False) -> None:
        """Reset the games of the ``chosen`` [N] lanes; keep: leave their last observations."""
        for lane in map(int, np.flatnonzero(chosen)):
            seed = self.seeds[lane] if self.seeds else None
            self.played[lane] = begin(self.games.envs[lane], seed)
        with self._naming_environment("reset"):
            observations, _ = self.games.reset(seed=self.seeds, options={"reset_mask": chosen})
        self.seeds = None  # only once: seeding every game would repeat the same one
        self.ended[chosen] = False
        if not keep:
            self._observe(observations, chosen)

    def state_dict(self) -> dict[str, Any] | None:
        """See Environment. Gymnasium cannot save a game, but it can be replayed from its reset."""
        if self.seeds or any(played.actions is None for played in self.played):
            return None  # nothing was played yet, or too much
        lanes = [
            dict(
                origin=played.seed,
                generators=copy.deepcopy(played.generators),
                done=np.array(played.actions, np.int64),
                rewards=UNKNOWN if None in played.rewards else np.array(played.rewards, np.float64),
                waiting=bool(self.waiting[lane]),
                ended=bool(self.ended[lane]),
            )
            for lane, played in enumerate(self.played)
        ]
        return dict(lanes=lanes, observations=self.last.copy())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See Environment: replay the actions and compare what the games return."""
        lanes = [_of_this_version(lane) for lane in typed(state["lanes"], list)]
        own = [_empty(lane["rewards"]) for lane in lanes[: self.num_envs]]
        state = conform({**state, "lanes": lanes}, dict(lanes=own, observations=self.last))
        if len(lanes) != self.num_envs:
            raise ValueError(f"{len(lanes)} lanes, not {self.num_envs}")
        with self._naming_environment("reset or step"):
            if not is_repeatable(lambda: self.wrap(gymnasium.make(self.env_id))):
                raise NotRepeatableError(f"'{self.env_id}' has randomness that cannot be seen")
        self._reset(np.ones(self.num_envs, np.bool_))  # only then there are generators
        for lane, saved in enumerate(state["lanes"]):
            self._repeat(lane, saved, state["observations"][lane])
        self.last[...] = state["observations"]

    def _repeat(self, lane: int, saved: dict[str, Any], last: NDArray[Any]) -> None:
        """Play the game of a lane again, up to its ``last`` observation."""
        actions, seed = saved["done"].tolist(), saved["origin"]
        if not set(actions) <= set(range(len(self.action_meanings))):
            raise ValueError("no such action")
        known = not isinstance(saved["rewards"], str)
        rewards = saved["rewards"].tolist() if known else [None] * len(actions)
        if len(rewards) != len(actions):
            raise ValueError("not a reward for each action")
        seed = None if seed is None else typed(seed, int)
        played = Played(seed, typed(saved["generators"], dict), actions, rewards)
        game = self.games.envs[lane]
        with self._naming_environment("reset or step"):
            observation = repeat(game, played, self.first_action, saved["ended"], self.env_id)
        self.played[lane] = played
        self.waiting[lane], self.ended[lane] = saved["waiting"], saved["ended"]
        if not self.waiting[lane]:
            every = np.broadcast_to(observation, (self.num_envs, *np.shape(observation)))
            self._observe(every, np.arange(self.num_envs) == lane)
            if not np.array_equal(self.last[lane], last):
                raise NotRepeatableError(f"'{self.env_id}' does not repeat its games")

    def _observe(self, observations: NDArray[Any], lanes: NDArray[np.bool_]) -> None:
        """Convert Gymnasium's observations in some lanes into ours."""
        if not self.shrinks:
            self.last[lanes] = observations[lanes]
            if self.last.dtype == np.float32 and not np.isfinite(self.last[lanes]).all():
                raise UsageError(f"'{self.env_id}' returned an observation that is not finite")
            return
        height, width = self.observation_shape
        for lane in np.flatnonzero(lanes):
            self.last[lane] = shrink(observations[lane], width, height, self.resize)

    def screen(self) -> NDArray[np.uint8]:
        """See Environment."""
        with self._naming_environment("render"):
            drawn = self.games.envs[0].render()
        return as_picture(drawn, self.env_id)

    def _notify(self, first: bool) -> None:
        """Notify the listeners if the first game has advanced."""
        for listener in self.on_frame if first else ():
            listener(self)

    def close(self) -> None:
        """Close the games; errors in closing are ignored."""
        with contextlib.suppress(Exception):
            self.games.close()

    @contextlib.contextmanager
    def _naming_environment(self, method: str) -> Iterator[None]:
        """Report an exception of the environment as an error of the environment."""
        try:
            yield
        except (UsageError, NotRepeatableError):
            raise
        except Exception as error:
            raise UsageError(
                f"'{self.env_id}' itself failed in {method}: {type(error).__name__}: {error}"
            ) from error


def action_names(get_meanings: Any, count: int) -> list[str]:
    """Return a text for each action: what an environment calls it, or else its number.

    Args:
        get_meanings: the environment's method, which may return anything; None if it has none.
        count: the number of actions.
    """
    numbers = list(map(str, range(count)))
    with contextlib.suppress(Exception):
        meanings = get_meanings()
        if isinstance(meanings, Mapping):
            meanings = [meanings[number] for number in range(count)]
        names = [str(getattr(name, "name", name)) for name in meanings]
        if len(names) == count and not isinstance(meanings, str):  # a wrapper may change them
            return names
    return numbers


def _of_this_version(lane: Any) -> Any:
    """Return a lane's state as this version keeps it, which the first did without rewards."""
    if not isinstance(lane, dict) or {"rewards", "generators"} & lane.keys():
        return lane
    generator = isinstance(lane["origin"], dict)
    return {
        **lane,
        "origin": None if generator else lane["origin"],
        "generators": {NP_RANDOM: lane["origin"]} if generator else {},
        "rewards": UNKNOWN,
    }


def _empty(rewards: Any) -> dict[str, Any]:
    """Return what a lane's state looks like, with known ``rewards`` or not."""
    known = UNKNOWN if isinstance(rewards, str) and rewards == UNKNOWN else np.zeros(0)
    done = np.zeros(0, np.int64)
    return dict(origin=None, generators=None, done=done, rewards=known, waiting=False, ended=False)
