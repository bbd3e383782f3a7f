"""CustomEnvironment: the place where what a custom environment returns is checked and converted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simple_dqn.environment import Environment, NotRepeatableError, Step
from simple_dqn.environments.pictures import as_picture
from simple_dqn.errors import UsageError

NEEDED = ("num_envs", "action_meanings", "observation_shape", "observation_dtype")


class CustomEnvironment(Environment):
    """A custom environment, checked: it fails in one line that names it.

    Args:
        own: the custom environment.
        name: module:Class, for messages.

    Raises:
        UsageError: an attribute is missing or invalid. Also later, from any method, if the
            environment fails or returns something of another type or shape.
    """

    def __init__(self, own: Environment, name: str) -> None:
        self.own, self.name = own, name
        if lacks := [attribute for attribute in NEEDED if not hasattr(own, attribute)]:
            raise UsageError(f"{name} lacks the attribute {' and '.join(lacks)}")
        with self._naming_environment("its attributes"):
            self.num_envs = int(own.num_envs)
            self.action_meanings = [str(meaning) for meaning in own.action_meanings]
            self.observation_shape = tuple(int(side) for side in own.observation_shape)
            self.observation_dtype = np.dtype(own.observation_dtype)
            self.frames_per_second = float(own.frames_per_second)
            self.pixel_aspect, self.sound_rate = float(own.pixel_aspect), int(own.sound_rate)
        if self.observation_dtype not in (np.uint8, np.float32):
            dtype = self.observation_dtype
            raise UsageError(f"{name}: observation_dtype must be uint8 or float32, not {dtype}")
        if len(self.observation_shape) not in (1, 2, 3) or min(self.observation_shape) < 1:
            raise UsageError(
                f"{name}: observation_shape must be (d,), (height, width) or (channels, rows, "
                f"columns), not {self.observation_shape}"
            )
        if not self.action_meanings or self.num_envs < 1 or self.frames_per_second <= 0:
            raise UsageError(f"{name} needs at least one action, one game and one frame a second")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["own"], name)

    @property
    def training(self) -> bool:
        """See Environment."""
        return self.own.training

    @training.setter
    def training(self, value: bool) -> None:
        self.own.training = value

    @property
    def remembered(self) -> bool:
        """See Environment."""
        return self.own.remembered

    @remembered.setter
    def remembered(self, value: bool) -> None:
        self.own.remembered = value

    @property
    def on_frame(self) -> tuple[Callable[[Environment], None], ...]:
        """See Environment."""
        return self.own.on_frame

    @on_frame.setter
    def on_frame(self, value: tuple[Callable[[Environment], None], ...]) -> None:
        self.own.on_frame = value

    @property
    def lives(self) -> Sequence[int]:  # type: ignore[override]
        """See Environment."""
        return self.own.lives

    @property
    def groups(self) -> Sequence[slice]:
        """See Environment."""
        return self.own.groups

    def restart(self, lanes: NDArray[np.intp] | None = None) -> NDArray[Any]:
        """See Environment."""
        with self._naming_environment("restart"):
            count = self.num_envs if lanes is None else len(lanes)
            return self._observations(self.own.restart(lanes), count)

    def send(self, lanes: slice, actions: NDArray[np.int64]) -> None:
        """See Environment."""
        with self._naming_environment("send"):
            self.own.send(lanes, actions)

    def receive(self) -> Step:
        """See Environment."""
        with self._naming_environment("act"):
            return self._step(self.own.receive())

    def act(self, actions: NDArray[np.integer[Any]]) -> Step:
        """See Environment."""
        with self._naming_environment("act"):
            return self._step(self.own.act(actions))

    def screen(self) -> NDArray[np.uint8]:
        """See Environment."""
        with self._naming_environment("screen"):
            return as_picture(self.own.screen(), self.name)

    def sound(self) -> NDArray[np.uint8]:
        """See Environment."""
        with self._naming_environment("sound"):
            return self.own.sound()

    def state_dict(self) -> dict[str, Any] | None:
        """See Environment."""
        with self._naming_environment("state_dict"):
            return self.own.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See Environment. The caller reports a damaged state."""
        self.own.load_state_dict(state)

    def close(self) -> None:
        """Close the environment; an exception in it has no further effect."""
        with contextlib.suppress(Exception):
            self.own.close()

    def _step(self, step: Any) -> Step:
        observations, rewards, *flags = step
        sums = np.asarray(rewards, np.float64)
        if not np.isfinite(sums).all():
            raise UsageError(f"{self.name} returned the reward {sums[~np.isfinite(sums)].flat[0]}")
        columns: list[Any] = [sums, *(np.asarray(flag, np.bool_) for flag in flags)]
        if len(flags) != 3 or any(column.shape != (self.num_envs,) for column in columns):
            raise ValueError(f"a Step has an entry for each of {self.num_envs} lanes")
        return Step(self._observations(observations, self.num_envs), *columns)

    def _observations(self, observations: Any, count: int) -> NDArray[Any]:
        array = np.asarray(observations)
        if array.shape != (count, *self.observation_shape):
            raise ValueError(
                f"observations of the shape {array.shape}, not {(count, *self.observation_shape)}"
            )
        if array.dtype == np.float32 and not np.isfinite(array).all():
            raise UsageError(f"{self.name} returned an observation that is not finite")
        return array.astype(self.observation_dtype, casting="same_kind", copy=False)

    @contextlib.contextmanager
    def _naming_environment(self, method: str) -> Iterator[None]:
        """Report an exception of the environment as an error of the environment."""
        try:
            yield
        except (UsageError, NotRepeatableError, ChildProcessError):
            raise
        except Exception as error:
            raise UsageError(
                f"{self.name} itself failed in {method}: {type(error).__name__}: {error}"
            ) from error
