"""State in checkpoints: an object that loads a state continues exactly like its origin."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from simple_dqn.environment import NotRepeatableError
from simple_dqn.environments.games import find_game, make_environment
from simple_dqn.options.resolve import resolve
from simple_dqn.storage.states import MISFITS, conform, typed


def make(name, num_envs=3, workers=0, seed=5, **options):
    kind, game, rom = find_game(name, "auto")
    config = resolve({"environment": kind, "random_seed": 0, **options})
    seeds = np.random.SeedSequence(seed)
    return make_environment(config, game, rom, num_envs, seeds, workers=workers)


def play(env, steps, rng):
    """Play at random; return all observations. Some ended lanes wait before they restart."""
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
def test_environment_resumes_from_its_state(name, options, workers):
    """Also from worker processes into a single process, and back."""
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


def test_game_with_hidden_randomness_is_detected():
    """Gymnasium's ALE/... does not expose the generator of its sticky actions."""
    env = make("ALE/Breakout-v5", num_envs=1)
    for _ in range(2):  # the second game is not seeded
        env.restart()
        for t in range(60):
            env.act(np.array([t % 4]))
    other = make("ALE/Breakout-v5", num_envs=1)
    with pytest.raises(NotRepeatableError, match=r"ALE/Breakout-v5.*cannot be seen"):
        other.load_state_dict(env.state_dict())
    other.restart()  # it can still be played
    env.close()
    other.close()


@pytest.mark.parametrize("name", ["breakout", "CartPole-v1"])
def test_mismatched_state_raises_an_expected_error(name):
    env = make(name, num_envs=2)
    env.restart()
    env.act(np.array([1, 1]))
    state = env.state_dict()
    for change in damaged_states(state):
        with pytest.raises((*MISFITS, NotRepeatableError)):
            env.load_state_dict(change)
    env.load_state_dict(state)
    env.close()


def damaged_states(state):
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
    """Yield the path of each leaf and each branch of a state."""
    if path:
        yield path
    if isinstance(tree, dict | list):
        for key, branch in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from leaves(branch, (*path, key))


def test_conform_accepts_only_matching_trees():
    template = {
        "count": 3, "rate": 0.5, "name": "train", "flag": True, "list": [1, 2], "any": None,
        "free": [], "array": np.zeros((2, 3), np.float32), "row": np.zeros(0, np.int64),
        "rng": np.random.default_rng(1).bit_generator.state, "tensor": torch.zeros(2, 3),
    }  # fmt: skip
    theirs = {
        "count": 2**62 - 1, "rate": -1e9, "name": "", "flag": False, "list": [0, 9],
        "any": {"x": [1]}, "free": [[], "x"], "array": np.ones((2, 3), np.float32),
        "row": [4, 5], "rng": np.random.default_rng(2).bit_generator.state,
        "tensor": torch.ones(2, 3),
    }  # fmt: skip
    fitting = conform(theirs, template)
    assert fitting.keys() == template.keys()
    assert fitting["row"].dtype == np.int64
    assert fitting["row"].tolist() == [4, 5]
    assert all(fitting[name] is theirs[name] for name in ("any", "array", "tensor", "rng"))
    for name, wrong in [
        ("count", -1), ("count", 2**62), ("count", 1.0), ("count", True), ("rate", 1),
        ("rate", float("nan")), ("rate", float("inf")), ("name", None), ("flag", 1),
        ("list", [1]), ("list", [1, -2]), ("list", (1, 2)), ("free", {}),
        ("array", np.ones((3, 2), np.float32)), ("array", np.ones((2, 3))), ("array", [[0.0] * 3]),
        ("array", np.full((2, 3), np.nan, np.float32)), ("row", [-1]), ("row", [1.5]), ("row", "x"),
        ("row", np.array([-1])), ("row", np.zeros((1, 1), np.int64)), ("tensor", torch.ones(3, 2)),
        ("tensor", torch.ones(2, 3, dtype=torch.float64)), ("tensor", np.ones((2, 3), np.float32)),
    ]:  # fmt: skip
        with pytest.raises((TypeError, ValueError), match=name):
            conform({**theirs, name: wrong}, template, "state")
    for keys in (theirs.keys() - {"count"}, theirs.keys() | {"more"}):
        with pytest.raises(ValueError, match="other entries"):
            conform(dict.fromkeys(keys), template)


def test_typed_values():
    assert typed(0, int) == 0
    assert typed({"x": 1}, dict) == {"x": 1}
    for value, kind in [(-1, int), (True, int), (2**62, int), (1, float), (None, str), ("", list)]:
        with pytest.raises((TypeError, ValueError)):
            typed(value, kind)
