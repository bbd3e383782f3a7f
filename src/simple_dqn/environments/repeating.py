"""Repeating a Gymnasium game: how a resumed run gets back to where the game was interrupted.

A Gymnasium environment cannot be saved. But it can be played again from its last reset, if all
that is random in it is known: its seed, and the state of every generator that can be found in it.
Whether that is all, is tried: ``is_repeatable`` compares two copies with different pasts.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium.spaces import Space
from numpy.typing import NDArray

from simple_dqn.environment import NotRepeatableError

logger = logging.getLogger(__name__)

MOST_OBJECTS = 2_000  # of an environment that are searched for generators
PROBE_STEPS, PROBE_ENDS, PROBE_SECONDS = 1_000, 2, 10.0  # whatever comes first ends a comparison
MOST_STEPS = 1_000_000  # of a game that are remembered
TIMED_STEPS, ANNOUNCED_SECONDS, MOST_SECONDS = 200, 5.0, 600.0
# A space draws only for those who sample it.
PLAIN = (str, bytes, int, float, bool, np.ndarray, type(None), type, Space)
NP_RANDOM = "np_random"  # the place of the one that Gymnasium seeds
GENERATORS = (np.random.Generator, np.random.RandomState, random.Random)


@dataclass
class Played:
    """What a game came from and what was done in it since.

    Attributes:
        seed: that the game was reset with; None if it was not seeded.
        generators: {place: state} of every generator before that reset.
        actions: of each step since; None once there are too many.
        rewards: of each step since; None where the first version did not keep it.
    """

    seed: int | None = None
    generators: dict[str, Any] = field(default_factory=dict)
    actions: list[int] | None = field(default_factory=list)
    rewards: list[float | None] = field(default_factory=list)

    def add(self, action: int, reward: float) -> None:
        """Remember a step."""
        if self.actions is not None and len(self.actions) < MOST_STEPS:
            self.actions.append(action)
            self.rewards.append(reward)
        else:
            self.actions, self.rewards = None, []


def begin(game: Any, seed: int | None) -> Played:
    """Return what the game that the next reset begins will have come from."""
    found = generators(game)
    if seed is not None:
        found.pop(NP_RANDOM, None)  # the reset seeds it
    return Played(seed, {place: _state(generator) for place, generator in found.items()})


def repeat(game: Any, played: Played, first: int, ended: bool, name: str) -> Any:
    """Play a game again in a fresh environment and return the last observation.

    Args:
        game: the environment, which has been reset once, so that its generators exist.
        played: what to repeat.
        first: the environment's number of the first action.
        ended: whether the last step ended it.
        name: of the environment, for messages.

    Raises:
        NotRepeatableError: it does not come to the same rewards and ends, or would take too long.
    """
    assert played.actions is not None
    _set_generators(game, played.generators)
    observation, _ = game.reset(seed=played.seed)
    steps, start = len(played.actions), time.perf_counter()
    for number, (action, reward) in enumerate(zip(played.actions, played.rewards, strict=True), 1):
        observation, again, terminated, truncated, _ = game.step(action + first)
        if (terminated or truncated) != (ended and number == steps) or reward not in (None, again):
            raise NotRepeatableError(f"'{name}' does not repeat its games")
        if number == TIMED_STEPS:
            seconds = (time.perf_counter() - start) / number * steps
            if seconds > MOST_SECONDS:
                raise NotRepeatableError(f"repeating {steps} steps takes {seconds / 60:.0f} min")
            if seconds > ANNOUNCED_SECONDS:
                logger.info("repeating %d steps of a game, about %.0f s", steps, seconds)
    return observation


def is_repeatable(make: Callable[[], Any]) -> bool:
    """Whether the generators that can be found are all that is random in an environment.

    Two copies get different pasts; then one is given the other's generators, and both are played
    alike. What is hidden, such as an emulator's generator, a global one or a count of the games so
    far, makes them differ.
    """
    one, other = make(), make()
    try:
        actions = np.random.default_rng(0)
        one.reset(seed=1)
        other.reset(seed=2)
        for _ in range(PROBE_STEPS // 4):
            if _step(one, actions)[1]:
                one.reset()
        places = {place: _state(generator) for place, generator in generators(one).items()}
        _set_generators(other, places)
        return _play_alike(one, other, actions)
    finally:
        one.close()
        other.close()


def _play_alike(one: Any, other: Any, actions: np.random.Generator) -> bool:
    """Play two copies with the same actions from a reset on; return whether they agree."""
    if not _equal(one.reset()[0], other.reset()[0]):
        return False
    ends, start = 0, time.perf_counter()
    for _ in range(PROBE_STEPS):
        action = int(one.action_space.start + actions.integers(one.action_space.n))
        seen, again = one.step(action), other.step(action)
        if not _equal(seen[0], again[0]) or seen[1:4] != again[1:4]:
            return False
        if seen[2] or seen[3]:
            ends += 1
            if not _equal(one.reset()[0], other.reset()[0]):
                return False
        if ends >= PROBE_ENDS or time.perf_counter() - start > PROBE_SECONDS:
            break
    return True


def _step(game: Any, actions: np.random.Generator) -> tuple[Any, bool]:
    action = int(game.action_space.start + actions.integers(game.action_space.n))
    observation, _, terminated, truncated, _ = game.step(action)
    return observation, bool(terminated or truncated)


def _equal(a: Any, b: Any) -> bool:
    return bool(np.array_equal(np.asarray(a), np.asarray(b)))


def generators(game: Any) -> dict[str, Any]:
    """Return {place: generator} of all random generators in an environment and its wrappers."""
    own = game.unwrapped.np_random  # which Gymnasium makes when it is first asked for
    found: dict[str, Any] = {NP_RANDOM: own} if isinstance(own, GENERATORS) else {}
    seen: set[int] = {id(own)}
    waiting: list[tuple[str, Any]] = [("", game)]
    while waiting and len(seen) < MOST_OBJECTS:
        place, thing = waiting.pop(0)
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, GENERATORS):
            found[place] = thing
        else:
            waiting += [(f"{place}.{name}", part) for name, part in _parts(thing)]
    return found


def _parts(thing: Any) -> Iterator[tuple[str, Any]]:
    """Yield (name, part) of what an object consists of, without what cannot hold a generator."""
    if isinstance(thing, dict):
        items: Any = thing.items()
    elif isinstance(thing, list | tuple):
        items = enumerate(thing)
    else:
        items = getattr(thing, "__dict__", {}).items()
    for name, part in items:
        plain = isinstance(part, PLAIN)
        if (not plain and not callable(part)) or isinstance(part, GENERATORS):
            yield str(name), part


def _state(generator: Any) -> dict[str, Any]:
    """Return the state of a generator, of numbers, texts and int64 arrays only."""
    if isinstance(generator, random.Random):
        version, words, gauss = generator.getstate()
        return dict(version=version, words=np.array(words, np.int64), gauss=gauss)
    if isinstance(generator, np.random.RandomState):
        state: Any = generator.get_state(legacy=False)
        key = np.array(state["state"]["key"], np.int64)
        return {**state, "state": {**state["state"], "key": key}}
    return dict(generator.bit_generator.state)


def _set_generators(game: Any, states: dict[str, Any]) -> None:
    """Set the generators at the places of ``states``.

    Raises:
        NotRepeatableError: there is none at one of the places.
    """
    own = generators(game)
    for place, state in states.items():
        generator = own.get(place)
        if generator is None:
            raise NotRepeatableError(f"there is no generator {place}")
        if isinstance(generator, random.Random):
            words: NDArray[np.int64] = state["words"]
            generator.setstate((state["version"], tuple(words.tolist()), state["gauss"]))
        elif isinstance(generator, np.random.RandomState):
            key = state["state"]["key"].astype(np.uint32)
            generator.set_state({**state, "state": {**state["state"], "key": key}})
        else:
            generator.bit_generator.state = state
