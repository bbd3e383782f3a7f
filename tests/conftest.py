"""Shared fixtures, and an environment whose observations are known in advance."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from simple_dqn.environment import Environment, Step
from simple_dqn.environments.games import find_rom


@pytest.fixture(scope="session", autouse=True)
def _single_thread():
    """The tensors are small: a second thread would only slow things down."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _default_signal_handlers():
    """Handle SIGINT and SIGHUP even where they are ignored, as in a job started by nohup or &."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _keep_denormals():
    """Undo the flushing of denormals to zero, which a run turns on for its whole process."""
    torch.set_flush_denormal(False)


@pytest.fixture
def in_tmp(tmp_path, monkeypatch) -> Path:
    """Run the test in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def pong() -> Path:
    return find_rom("pong")[1]


@pytest.fixture(scope="session")
def breakout() -> Path:
    return find_rom("breakout")[1]


class TapeEnvironment(Environment):
    """N lanes whose observations encode where they are from: 1000000·lane + 1000·episode + step.

    Lane l's episodes last ``lengths[l]`` steps; every ``lives``-th episode ends the game.
    The reward of a step is its number in the episode. With ``truncates``, episodes are truncated.
    """

    def __init__(self, lengths=(5,), lives=1, truncates=False, num_actions=3):
        self.num_envs = len(lengths)
        self.lengths, self.lives, self.truncates = lengths, lives, truncates
        self.action_meanings = [str(a) for a in range(num_actions)]
        self.observation_shape, self.observation_dtype = (), np.dtype(np.int64)
        self.episodes = np.zeros(self.num_envs, int) - 1
        self.steps = np.zeros(self.num_envs, int)
        self.waiting = np.ones(self.num_envs, bool)
        self.tape = []  # (method, argument) of each call, in order

    def _observe(self):
        return 10**6 * np.arange(self.num_envs) + 1000 * self.episodes + self.steps

    def restart(self, lanes=None):
        chosen = np.arange(self.num_envs) if lanes is None else lanes
        self.tape.append(("restart", None if lanes is None else list(map(int, lanes))))
        self.episodes[chosen] += 1
        self.steps[chosen] = 0
        self.waiting[chosen] = False
        return self._observe()[chosen]

    def act(self, actions):
        self.tape.append(("act", list(map(int, actions))))
        playing = ~self.waiting
        self.steps += playing
        ended = playing & (self.steps == self.lengths)
        self.waiting |= ended
        game_overs = ended & ((self.episodes + 1) % self.lives == 0) & (not self.truncates)
        return Step(
            self._observe(),
            np.where(playing, self.steps, 0).astype(np.float32),
            ended & (not self.truncates),
            ended & self.truncates,
            game_overs,
        )
