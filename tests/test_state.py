"""What a checkpoint keeps: an object that takes in a state goes on as the one it came from."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from simple_dqn.environments.games import find_game, make_environment
from simple_dqn.options.resolve import resolve
from simple_dqn.state import (
    MISFITS,
    NotRepeatableError,
    fill,
    generator_state,
    load_generator_state,
)


def make(name, num_envs=3, workers=0, seed=5, **options):
    kind, game, rom = find_game(name, "auto")
    config = resolve({"environment": kind, "random_seed": 0, **options})
    seeds = np.random.SeedSequence(seed)
    return make_environment(config, game, rom, num_envs, seeds, workers=workers)


def play(env, steps, rng):
    """Play at random; return all that was seen. Not every lane that ended restarts at once."""
    seen = []
    for t in range(steps):
        step = env.act(rng.integers(len(env.action_meanings), size=env.num_envs))
        seen += list(step)
        waiting[id(env)] |= step.terminals | step.truncateds
        if t % 3 == 0 and waiting[id(env)].any():
            seen.append(env.restart(np.flatnonzero(waiting[id(env)])))
            waiting[id(env)][:] = False
    return seen


waiting: dict[int, np.ndarray] = {}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("breakout", {"repeat_action_probability": 0.25, "test_frame_cap": 300}),
        ("seaquest", {"color_averaging": True}),
        ("CartPole-v1", {}),
        ("Taxi-v4", {}),
    ],
)
@pytest.mark.parametrize("workers", [(0, 0), (2, 0), (0, 2)])
def test_an_environment_goes_on_where_its_state_was_taken(name, options, workers):
    """Also from processes into one, and back."""
    env = make(name, workers=workers[0], **options)
    env.training = False
    env.restart()
    waiting[id(env)] = np.zeros(3, np.bool_)
    play(env, 100, np.random.default_rng(1))
    state = copy.deepcopy(env.state_dict())
    other = make(name, workers=workers[1], **options)
    other.training = False
    other.load_state_dict(state)
    waiting[id(other)] = waiting[id(env)].copy()
    for ours, theirs in zip(
        play(env, 150, np.random.default_rng(2)),
        play(other, 150, np.random.default_rng(2)),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)
    env.close()
    other.close()


def test_a_game_with_hidden_chances_is_found_out():
    """ALE/... of Gymnasium keeps its sticky actions' generator to itself."""
    env = make("ALE/Breakout-v5", num_envs=1)
    for _ in range(2):  # the second game no longer begins with a seed
        env.restart()
        for t in range(60):
            env.act(np.array([t % 4]))
    other = make("ALE/Breakout-v5", num_envs=1)
    with pytest.raises(NotRepeatableError, match=r"ALE/Breakout-v5.*does not repeat"):
        other.load_state_dict(env.state_dict())
    other.restart()  # and plays all the same
    env.close()
    other.close()


@pytest.mark.parametrize("name", ["breakout", "CartPole-v1"])
def test_a_state_that_does_not_fit_raises_what_is_caught(name):
    env = make(name, num_envs=2)
    env.restart()
    env.act(np.array([1, 1]))
    state = env.state_dict()
    for change in damages(state):
        with pytest.raises((*MISFITS, NotRepeatableError)):
            env.load_state_dict(change)
    env.load_state_dict(state)
    env.close()


def damages(state):
    """Yield copies of a state, each with one leaf missing or of another type."""
    for path in leaves(state):
        for value in (..., None, "text", np.zeros(3)):
            damaged = copy.deepcopy(state)
            *parents, last = path
            place = damaged
            for key in parents:
                place = place[key]
            if value is ...:
                del place[last]
            else:
                place[last] = value
            yield damaged


def leaves(tree, path=()):
    """Yield the path of each leaf of a state, and of each branch."""
    if path:
        yield path
    if isinstance(tree, dict | list):
        for key, branch in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from leaves(branch, (*path, key))


def test_generators_go_on():
    rng, other = np.random.default_rng(1), np.random.default_rng(2)
    rng.random(7)
    rng.integers(5, dtype=np.int32)  # leaves half a draw behind
    state = generator_state(rng)
    expected = rng.integers(1000, size=5, dtype=np.int32)
    load_generator_state(other, state)
    assert (other.integers(1000, size=5, dtype=np.int32) == expected).all()


def test_fill_wants_the_same_shape_and_type():
    own = np.zeros((2, 3), np.float32)
    for theirs in (np.zeros((3, 2), np.float32), np.zeros((2, 3)), [[0.0] * 3] * 2, None):
        with pytest.raises(ValueError, match="no array float32"):
            fill(own, theirs)
