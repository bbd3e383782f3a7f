"""Repeating Gymnasium games: what is random in them is found, or it is found out that it is not."""

from __future__ import annotations

import itertools
import random

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from simple_dqn.environment import NotRepeatableError
from simple_dqn.environments import repeating
from simple_dqn.environments.gymnasium_games import GymEnvironment
from simple_dqn.environments.repeating import generators, is_repeatable


class Draws(gymnasium.Env):
    """Observations show the step; the reward that ends a game of 15 steps is drawn somewhere."""

    observation_space = Box(0, 1, (1,), np.float32)
    action_space = Discrete(2)

    def __init__(self, render_mode=None):
        self.make()

    def make(self):
        pass

    def begin(self, seed):
        pass

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.begin(seed)
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.t += 1
        over = self.t == 15
        return (
            np.array([self.t / 15], np.float32),
            float(self.draw()) if over else 0.0,
            over,
            False,
            {},
        )


class Own(Draws):
    def draw(self):
        return self.np_random.integers(1000)


class Hidden(Draws):
    """A generator of its own, seeded by the first reset."""

    hidden = None

    def begin(self, seed):
        if seed is not None or self.hidden is None:
            self.hidden = np.random.default_rng(seed)

    def draw(self):
        return self.hidden.integers(1000)


class Python(Draws):
    def make(self):
        self.parts = {"dice": [random.Random(5)]}

    def draw(self):
        return self.parts["dice"][0].randrange(1000)


class Legacy(Draws):
    def make(self):
        self.game = type("Game", (), {})()
        self.game.rng = np.random.RandomState(3)

    def draw(self):
        return self.game.rng.randint(1000)


class Global(Draws):
    def draw(self):
        return np.random.randint(1000)  # noqa: NPY002


class Closure(Draws):
    """As in a module of C: no attribute shows it."""

    def make(self):
        counter = itertools.count()
        self.draw = lambda: 7 * next(counter) % 1000


class Counts(Draws):
    """Every game is harder than the one before."""

    games = 0

    def begin(self, seed):
        self.games += 1

    def draw(self):
        return self.games


KNOWN, UNKNOWN = (Own, Hidden, Python, Legacy), (Global, Closure, Counts)


@pytest.fixture(autouse=True)
def _registered():
    before = set(gymnasium.registry)
    for kind in (*KNOWN, *UNKNOWN):
        gymnasium.register(f"{kind.__name__}-v0", kind)
    yield
    for name in [i for i in gymnasium.registry if i not in before]:
        del gymnasium.registry[name]


def make(name, seed=1):
    return GymEnvironment(
        name, num_envs=2, seed=np.random.SeedSequence(seed), resize="area", screen_width=84,
        screen_height=84,
    )  # fmt: skip


def play(env, steps, restarted=False):
    """Return the rewards of so many steps; every game that ends is restarted at once."""
    rewards = []
    if not restarted:
        env.restart()
    for t in range(steps):
        step = env.act(np.array([t % 2, 0]))
        rewards.append(step.rewards.tolist())
        lanes = np.flatnonzero(step.terminals)
        if len(lanes):
            env.restart(lanes)
    return rewards


@pytest.mark.parametrize("kind", KNOWN)
@pytest.mark.parametrize("moment", [7, 15, 37, 53])
def test_game_continues_as_if_it_had_not_been_interrupted(kind, moment):
    """In the first game, just after an end, and in later games."""
    env = make(f"{kind.__name__}-v0")
    play(env, moment)
    state = env.state_dict()
    other = make(f"{kind.__name__}-v0", seed=9)
    other.load_state_dict(state)
    assert play(other, 80, restarted=True) == play(env, 80, restarted=True)


@pytest.mark.parametrize("kind", UNKNOWN)
def test_randomness_that_cannot_be_seen_is_found_out(kind):
    env = make(f"{kind.__name__}-v0")
    play(env, 37)
    with pytest.raises(NotRepeatableError, match=f"'{kind.__name__}-v0' has randomness that"):
        make(f"{kind.__name__}-v0").load_state_dict(env.state_dict())


def test_rewards_and_ends_are_compared():
    env = make("Own-v0")
    play(env, 20)
    for change in ("rewards", "ended"):
        state = env.state_dict()
        if change == "rewards":
            state["lanes"][1]["rewards"][2] = 1
        else:
            state["lanes"][1]["ended"] = True
        with pytest.raises(NotRepeatableError, match="'Own-v0' does not repeat its games"):
            make("Own-v0").load_state_dict(state)


def test_state_of_the_first_version_is_restored():
    """It has the generator as the origin, and no rewards."""
    for moment in (7, 20):
        env = make("Own-v0")
        play(env, moment)
        state = env.state_dict()
        for lane in state["lanes"]:
            own = lane.pop("generators")
            lane["origin"] = own["np_random"] if own else lane["origin"]
            del lane["rewards"]
        other = make("Own-v0", seed=9)
        other.load_state_dict(state)
        assert play(other, 50, restarted=True) == play(env, 50, restarted=True)
        again = other.state_dict()  # and saved again
        third = make("Own-v0", seed=9)
        third.load_state_dict(again)
        assert play(third, 50, restarted=True) == play(env, 50, restarted=True)


def test_long_game_is_announced_and_a_longer_one_is_not_repeated(monkeypatch, caplog):
    monkeypatch.setattr(repeating, "TIMED_STEPS", 5)
    env = make("Own-v0")
    play(env, 12)
    monkeypatch.setattr(repeating, "ANNOUNCED_SECONDS", 0.0)
    with caplog.at_level("INFO"):
        make("Own-v0").load_state_dict(env.state_dict())
    assert "repeating 12 steps of a game, about 0 s" in caplog.text
    monkeypatch.setattr(repeating, "MOST_SECONDS", 0.0)
    with pytest.raises(NotRepeatableError, match="repeating 12 steps takes"):
        make("Own-v0").load_state_dict(env.state_dict())
    monkeypatch.setattr(repeating, "MOST_STEPS", 10)
    play(env, 12, restarted=True)
    env = make("Own-v0")
    play(env, 12)
    assert env.state_dict() is None


def test_generators_are_found_where_they_are():
    assert list(generators(gymnasium.make("Own-v0"))) == ["np_random"]
    (_, place) = generators(gymnasium.make("Python-v0"))
    assert place.endswith(".parts.dice.0")
    (_, place) = generators(gymnasium.make("Legacy-v0"))
    assert place.endswith(".game.rng")


@pytest.mark.parametrize("name", ["CartPole-v1", "Taxi-v4", "CliffWalking-v1", "Blackjack-v1"])
def test_gymnasiums_own_games_are_repeatable(name):
    assert is_repeatable(lambda: gymnasium.make(name))


def test_an_emulator_with_sticky_actions_is_not():
    assert not is_repeatable(lambda: gymnasium.make("ALE/Breakout-v5"))
