"""What environments return is checked and converted in one place, and a failure names them."""

from __future__ import annotations

import enum
from pathlib import Path

import numpy as np
import pytest

from simple_dqn.environment import Environment, Step
from simple_dqn.environments.custom import CustomEnvironment
from simple_dqn.environments.gymnasium_games import action_names
from simple_dqn.errors import UsageError
from simple_dqn.main import main


class Two(Environment):
    """Two lanes; returns what its attributes say."""

    num_envs, action_meanings = 2, ["LEFT", "RIGHT"]
    observation_shape, observation_dtype = (3,), np.float32
    observations = np.zeros((2, 3), np.float32)
    step = ([0.1, 0.2], [False, True], [False, False], [False, True])

    def restart(self, lanes=None):
        return self.observations if lanes is None else self.observations[: len(lanes)]

    def act(self, actions):
        return self.observations, *self.step


def wrap(**attributes):
    return CustomEnvironment(type("Mine", (Two,), attributes)(), "mine:Mine")


def test_lists_and_foreign_types_are_converted():
    env = wrap(
        num_envs=np.int64(2), action_meanings=np.array(["LEFT", "RIGHT"]),
        observation_shape=[np.int32(3)], observation_dtype="float32",
        observations=np.zeros((2, 3)).tolist(),
    )  # fmt: skip
    assert type(env.num_envs) is int
    assert env.action_meanings == ["LEFT", "RIGHT"]
    assert (env.observation_shape, env.observation_dtype) == ((3,), np.float32)
    assert env.restart().dtype == np.float32
    env = wrap(observations=np.zeros((2, 3), np.float16))
    assert env.restart(np.array([1])).dtype == np.float32
    with pytest.raises(UsageError, match="mine:Mine itself failed in restart: TypeError"):
        wrap(observation_dtype=np.uint8, observations=np.full((2, 3), 0.5)).restart()
    env = wrap()
    env.send(slice(0, 2), np.zeros(2, np.int64))
    step = env.receive()
    assert isinstance(step, Step)
    assert step.rewards.tolist() == [0.1, 0.2]
    assert step.rewards.dtype == np.float64
    assert [flags.tolist() for flags in step[2:]] == [[False, True], [False, False], [False, True]]


def test_what_the_agent_sets_reaches_the_environment_and_what_is_its_own_is_found():
    env = wrap(difficulty=7)
    env.training, env.remembered, env.on_frame = False, False, (print,)
    assert (env.own.training, env.own.remembered, env.own.on_frame) == (False, False, (print,))
    assert env.difficulty == 7
    with pytest.raises(AttributeError):
        env.nothing  # noqa: B018


@pytest.mark.parametrize(
    ("attributes", "line"),
    [
        ({"observation_dtype": np.int64}, "observation_dtype must be uint8 or float32, not int64"),
        ({"observation_shape": (0,)}, r"observation_shape must be \(d,\)"),
        ({"observation_shape": (2, 3, 4, 5)}, r"observation_shape must be \(d,\)"),
        ({"observation_shape": None}, "failed in its attributes: TypeError"),
        ({"action_meanings": []}, "at least one action"),
        ({"frames_per_second": 0}, "one frame a second"),
    ],
)
def test_attributes_of_no_use_are_refused(attributes, line):
    with pytest.raises(UsageError, match=f"mine:Mine.*{line}"):
        wrap(**attributes)


@pytest.mark.parametrize(
    ("attributes", "line"),
    [
        ({"observations": np.zeros((2, 4), np.float32)}, r"shape \(2, 4\), not \(2, 3\)"),
        ({"observations": np.full((2, 3), np.nan, np.float32)}, "is not finite"),
        ({"step": ([np.inf, 0], *Two.step[1:])}, "returned the reward inf"),
        ({"step": ([1.0], *Two.step[1:])}, "an entry for each of 2 lanes"),
        ({"step": Two.step[:3]}, "an entry for each of 2 lanes"),
        ({"act": lambda self, actions: None}, "failed in act: TypeError"),
        ({"act": lambda self, actions: 1 / 0}, "failed in act: ZeroDivisionError: division"),
    ],
)
def test_what_is_returned_is_checked(attributes, line):
    env = wrap(**attributes)
    with pytest.raises(UsageError, match=f"mine:Mine.*{line}"):
        env.act(np.zeros(2, np.int64))


class Moves(enum.Enum):
    UP, DOWN = 0, 1


@pytest.mark.parametrize(
    ("meanings", "names"),
    [
        (["LEFT", "RIGHT"], ["LEFT", "RIGHT"]),
        ({0: "LEFT", 1: "RIGHT"}, ["LEFT", "RIGHT"]),
        ({1: "RIGHT", 0: "LEFT"}, ["LEFT", "RIGHT"]),
        (np.array(["LEFT", "RIGHT"]), ["LEFT", "RIGHT"]),
        ((b"x", 7), ["b'x'", "7"]),
        (list(Moves), ["UP", "DOWN"]),
        ({"LEFT": 0, "RIGHT": 1}, ["0", "1"]),
        (["LEFT"], ["0", "1"]),
        ("AB", ["0", "1"]),
        (None, ["0", "1"]),
        (7, ["0", "1"]),
    ],
)
def test_actions_have_texts_or_numbers(meanings, names):
    assert action_names(lambda: meanings, 2) == names


def test_environment_without_meanings_or_with_failing_ones_has_numbers():
    assert action_names(None, 3) == ["0", "1", "2"]
    assert action_names(lambda: 1 / 0, 1) == ["0"]


GAME = """
import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

class Odd(gymnasium.Env):
    observation_space = Box(-1, 1, (2,), np.float32)
    action_space = Discrete(2)
    metadata = {"render_fps": "fast"}
    def get_action_meanings(self):
        return {0: "LEFT", 1: "RIGHT"}
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}
    def step(self, action):
        return np.zeros(2, np.float32), 0.9, True, False, {}

class Empty(Odd):
    observation_space = Box(-1, 1, (0,), np.float32)

gymnasium.register("Odd-v0", Odd)
gymnasium.register("Empty-v0", Empty)
"""


def test_what_was_trained_can_be_tested_and_a_score_is_what_the_game_gave(in_tmp, capsys):
    """A reward of .9 is not .8999999761581421: the score is reached."""
    Path("odd.py").write_text(GAME)
    short = ["--random_steps", "20", "--train_steps", "40", "--test_steps", "10", "--epochs", "3"]
    command = ["train", "odd:Odd-v0", "--environment", "gym", *short, "--stop_at", "0.9"]
    assert main(command) == 0
    err = capsys.readouterr().err
    assert "epoch 1 test: 10 steps, 10 games, score 0.90" in err
    assert "epoch 2" not in err
    assert main(["test", "snapshots/odd-Odd-v0_1.safetensors", "--environment", "gym"]) == 0
    assert main(["train", "odd:Empty-v0", "--environment", "gym", *short]) == 2
    assert "'odd:Empty-v0' has observations of no numbers" in capsys.readouterr().err


def test_a_screen_is_converted_and_copied():
    """Opacity is on black; a picture that the environment draws over stays as it was."""
    drawn = np.zeros((4, 5, 4), np.uint8)
    drawn[1, 2] = 200, 100, 0, 255
    env = wrap(screen=lambda self: drawn)
    screen = env.screen()
    assert screen.shape == (4, 5, 3)
    assert screen[1, 2].tolist() == [200, 100, 0]
    drawn[:] = 7
    assert screen[1, 2].tolist() == [200, 100, 0]
    with pytest.raises(UsageError, match="mine:Mine"):
        wrap(screen=lambda self: "no picture").screen()
