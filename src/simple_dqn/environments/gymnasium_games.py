"""GymEnvironment: any Gymnasium environment with discrete actions, in N lanes."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from operator import itemgetter
from typing import Any

import ale_py
import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, Space, Text
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import FilterObservation, FlattenObservation, TransformObservation
from numpy.typing import NDArray

from simple_dqn.environment import Environment, NotRepeatableError, Step, lane_seeds
from simple_dqn.environments.atari import shrink
from simple_dqn.environments.pictures import as_picture
from simple_dqn.errors import UsageError
from simple_dqn.storage.states import conform, typed

gymnasium.register_envs(ale_py)  # the ids ALE/...
gymnasium.logger.min_level = gymnasium.logger.ERROR  # its warnings are for an environment's author

SMALLEST_SCREEN = 24  # pixels a side; less is a board of numbers


class GymEnvironment(Environment):
    """A Gymnasium environment: screens become grey and small, all else a vector.

    The lanes step through Gymnasium's own vector API, without its autoreset. What is no screen is
    flattened by Gymnasium: vectors stay as they are, a discrete observation becomes one-hot, of a
    Dict or a Tuple all parts are joined; but of a Dict with one screen only that is seen, and texts
    are not.
    ``terminated`` and ``truncated`` are taken over; frame skip, no-op starts and the like are the
    environment's own affair.

    Args:
        env_id: a Gymnasium id, ``module:id`` to import a module first.
        num_envs: N, the number of lanes.
        seed: of the first reset of each lane, see ``lane_seeds``; later games go on from there.
        resize, screen_width, screen_height: of a screen's observation, see ``shrink``.
        render: whether there is a ``screen``; a step is a frame.

    Raises:
        UsageError: there is no such environment, its actions are not discrete, its observations
            cannot be flattened, or it cannot draw and is to be rendered. Also later, from any
            method, if the environment itself fails.
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
        drawing: dict[str, Any] = {"render_mode": "rgb_array"} if render else {}
        try:
            self.games: Any = gymnasium.make_vec(
                env_id, num_envs, "sync", {"autoreset_mode": AutoresetMode.DISABLED}, [plain],
                **drawing,
            )  # fmt: skip
        except Exception as error:  # its module is the user's and may raise anything
            unknown = ":" not in env_id and isinstance(error, gymnasium.error.UnregisteredEnv)
            hint = " (another package's is named module:id)" if unknown else ""
            raise UsageError(f"'{env_id}' cannot be made by Gymnasium{hint}: {error}") from error
        self.env_id = env_id
        self.num_envs = num_envs
        games: Any = self.games
        game = games.envs[0]
        self.frames_per_second = float(game.metadata.get("render_fps") or 30)
        self.resize = resize
        self.seeds: list[int] | None = [
            int(lane_seed.generate_state(1)[0] >> 1) for lane_seed in lane_seeds(seed, num_envs)
        ]

        if render and "rgb_array" not in (game.metadata.get("render_modes") or ()):
            raise UsageError(f"'{env_id}' cannot be shown: it draws no pictures (rgb_array)")
        actions, observations = game.action_space, game.observation_space
        if not isinstance(actions, Discrete):
            raise UsageError(f"'{env_id}' has the action space {actions}; DQN needs a Discrete one")
        self.first_action = int(actions.start)
        meanings = getattr(game.unwrapped, "get_action_meanings", lambda: None)()
        numbers = list(map(str, range(int(actions.n))))
        self.action_meanings = list(meanings or numbers)
        if len(self.action_meanings) != len(numbers):  # a wrapper has changed them
            self.action_meanings = numbers

        screen = is_screen(observations)
        if not screen and not (isinstance(observations, Box) and len(observations.shape) == 1):
            raise UsageError(
                f"'{env_id}' has the observation space {observations}; supported are one screen, "
                f"uint8 [h, w], [h, w, 1 or 3] or [1 or 3, h, w], and what Gymnasium can flatten"
            )
        self.observation_shape = (screen_height, screen_width) if screen else observations.shape
        self.observation_dtype = np.dtype(np.uint8 if screen else np.float32)
        # What each lane's game came from, its seed or its generator, and what was done in it since.
        self.origins: list[Any] = [None] * num_envs
        self.done: list[list[int]] = [[] for _ in range(num_envs)]
        self.waiting = np.zeros(num_envs, np.bool_)  # for a restart
        self.ended = np.zeros(num_envs, np.bool_)  # Gymnasium would not step these
        self.last = np.zeros((num_envs, *self.observation_shape), self.observation_dtype)

    def restart(self, lanes: NDArray[np.intp] | None = None) -> NDArray[Any]:
        """See Environment."""
        chosen = np.zeros(self.num_envs, np.bool_)
        chosen[slice(None) if lanes is None else lanes] = True
        self._reset(chosen)
        self.waiting[chosen] = False
        self._tell(chosen[0])
        return self.last.copy() if lanes is None else self.last[lanes]

    def act(self, actions: NDArray[np.integer[Any]]) -> Step:
        """See Environment."""
        if self.ended.any():  # lanes that wait go on unseen
            self._reset(self.ended.copy(), keep=True)
        with self._blaming("step"):
            observations, rewards, terminateds, truncateds, _ = self.games.step(
                actions + self.first_action
            )
        if not np.isfinite(rewards).all():
            raise UsageError(f"'{self.env_id}' gave the reward {rewards[~np.isfinite(rewards)][0]}")
        for done, action in zip(self.done, actions, strict=True):
            done.append(int(action))
        playing = ~self.waiting
        self.ended = terminateds | truncateds
        self._observe(observations, playing)
        terminals, truncateds = terminateds & playing, truncateds & ~terminateds & playing
        self.waiting |= terminals | truncateds
        self._tell(bool(playing[0]))
        rewards = np.where(playing, rewards, 0).astype(np.float32)
        return Step(self.last.copy(), rewards, terminals, truncateds, terminals.copy())

    def _reset(self, chosen: NDArray[np.bool_], keep: bool = False) -> None:
        """Reset the games of the ``chosen`` [N] lanes; keep: but not what they show to us."""
        for lane in map(int, np.flatnonzero(chosen)):
            self.origins[lane] = self.seeds[lane] if self.seeds else self._generator(lane)
            self.done[lane] = []
        with self._blaming("reset"):
            observations, _ = self.games.reset(seed=self.seeds, options={"reset_mask": chosen})
        self.seeds = None  # once: seeding every game would replay the same one
        self.ended[chosen] = False
        if not keep:
            self._observe(observations, chosen)

    def _generator(self, lane: int) -> dict[str, Any] | None:
        """Return the state of the generator that a lane's game draws from; None if it is hidden."""
        rng = self.games.envs[lane].unwrapped.np_random
        return dict(rng.bit_generator.state) if isinstance(rng, np.random.Generator) else None

    def state_dict(self) -> dict[str, Any] | None:
        """See Environment. Gymnasium's games cannot be saved, but played again from their reset."""
        if None in self.origins:
            return None
        lanes = [
            dict(
                origin=copy.deepcopy(self.origins[lane]),
                done=np.array(self.done[lane], np.int64),
                waiting=bool(self.waiting[lane]),
                ended=bool(self.ended[lane]),
            )
            for lane in range(self.num_envs)
        ]
        return dict(lanes=lanes, observations=self.last.copy())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See Environment: play again what was played, and compare what it comes to."""
        empty = dict(origin=None, done=np.zeros(0, np.int64), waiting=False, ended=False)
        state = conform(state, dict(lanes=[empty] * self.num_envs, observations=self.last))
        self._reset(np.ones(self.num_envs, np.bool_))  # only then there are generators
        for lane, own in enumerate(state["lanes"]):
            game, origin = self.games.envs[lane], own["origin"]
            actions = own["done"].tolist()
            if not set(actions) <= set(range(len(self.action_meanings))):
                raise ValueError("no such action")
            with self._blaming("reset"):
                if isinstance(origin, dict):
                    game.unwrapped.np_random.bit_generator.state = origin
                    observation, _ = game.reset()
                else:
                    observation, _ = game.reset(seed=typed(origin, int))
            with self._blaming("step"):
                for action in actions:
                    observation, *_ = game.step(action + self.first_action)
            self.origins[lane], self.done[lane] = origin, actions
            self.waiting[lane] = own["waiting"]
            self.ended[lane] = own["ended"]
            if not self.waiting[lane]:
                every = np.broadcast_to(observation, (self.num_envs, *np.shape(observation)))
                self._observe(every, np.arange(self.num_envs) == lane)
                if not np.array_equal(self.last[lane], state["observations"][lane]):
                    raise NotRepeatableError(f"'{self.env_id}' does not repeat its games")
        self.last[...] = state["observations"]

    def _observe(self, observations: NDArray[Any], lanes: NDArray[np.bool_]) -> None:
        """Turn what Gymnasium shows in some lanes into our observations."""
        if self.observation_dtype == np.float32:
            self.last[lanes] = observations[lanes]
            if not np.isfinite(self.last[lanes]).all():
                raise UsageError(f"'{self.env_id}' gave an observation that is not finite")
        else:
            height, width = self.observation_shape
            for lane in np.flatnonzero(lanes):
                picture = observations[lane]
                grey = picture[:, :, 0] if picture.shape[2:] == (1,) else picture
                self.last[lane] = shrink(grey, width, height, self.resize)

    def screen(self) -> NDArray[np.uint8]:
        """See Environment."""
        with self._blaming("render"):
            drawn = self.games.envs[0].render()
        return as_picture(drawn, self.env_id)

    def _tell(self, first: bool) -> None:
        """Tell the listeners that the first game has gone on, if it has."""
        for listener in self.on_frame if first else ():
            listener(self)

    def close(self) -> None:
        """Close the games; one that fails at that has nothing more to lose."""
        with contextlib.suppress(Exception):
            self.games.close()

    @contextlib.contextmanager
    def _blaming(self, method: str) -> Iterator[None]:
        """Say whose fault it is if the environment fails."""
        try:
            yield
        except Exception as error:
            raise UsageError(
                f"'{self.env_id}' itself failed in {method}: {type(error).__name__}: {error}"
            ) from error


def is_screen(space: Space[Any]) -> bool:
    """Whether observations are screens: uint8 [h, w], [h, w, 1] or [h, w, 3]."""
    shape = space.shape or ()
    grey_or_rgb = len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3))
    return space.dtype == np.uint8 and grey_or_rgb and min(shape[:2]) >= SMALLEST_SCREEN


def flattens(space: Space[Any]) -> bool:
    """Whether observations can become a vector."""
    try:
        return space.is_np_flattenable and not isinstance(space, Text)
    except NotImplementedError:  # a space of somebody's own
        return False


def plain(game: gymnasium.Env[Any, Any]) -> Any:
    """Wrap a game so that it shows a screen or a vector, if that can be done."""
    space: Any = game.observation_space
    if isinstance(space, Dict):
        screens = [name for name, part in space.items() if is_screen(part)]
        if len(screens) == 1:
            return TransformObservation(game, itemgetter(screens[0]), space[screens[0]])
        vectors = [name for name, part in space.items() if flattens(part)]
        if screens or not vectors:
            return game  # refused: which screen to see is not ours to say
        game = FilterObservation(game, vectors)
        space = game.observation_space
    shape: tuple[int, ...] = space.shape or ()
    pixels = space.dtype == np.uint8 and len(shape) > 1 and sorted(shape)[-2] >= SMALLEST_SCREEN
    if pixels and len(shape) == 3 and shape[0] in (1, 3):
        low, high = (np.moveaxis(bound, 0, -1) for bound in (space.low, space.high))
        channels_last = Box(low, high, dtype=np.uint8)
        return TransformObservation(game, lambda screen: np.moveaxis(screen, 0, -1), channels_last)
    numbers = isinstance(space, Box) and len(shape) == 1
    return game if pixels or numbers or not flattens(space) else FlattenObservation(game)
