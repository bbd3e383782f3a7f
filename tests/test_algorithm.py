"""The smallest DQN is a table: classic Q-learning, built from the same classes."""

from __future__ import annotations

import numpy as np
import pytest

from simple_dqn.agent import Callback
from simple_dqn.commands.build import build
from simple_dqn.main import main
from simple_dqn.options.resolve import resolve
from tests.test_end_to_end import rows


class Recorder(Callback):
    """Records each step as (s, a, r, s', terminal)."""

    def __init__(self):
        self.steps = []

    def on_act(self, agent, actions):
        self.state, self.action = agent.buffer.states[0, -1].argmax(), actions[0]

    def on_step(self, agent, step):
        poststate = step.observations[0].argmax()
        self.steps.append((self.state, self.action, step.rewards[0], poststate, step.terminals[0]))


def test_tabular_preset_matches_tabular_q_learning():
    config = resolve({"preset": "tabular", "environment": "gym", "random_seed": 1})
    with build(config, "CliffWalking-v1", None) as run:
        (weights,) = run.network.network.parameters()
        q = weights.detach().numpy().T.astype(np.float64)  # [states, actions]
        recorder = Recorder()
        run.agent.callbacks.append(recorder)
        run.agent.train(1500)
        for s, a, r, poststate, terminal in recorder.steps:
            q[s, a] += 0.5 * (r + (0 if terminal else q[poststate].max()) - q[s, a])
        assert sum(terminal for *_, terminal in recorder.steps) > 5
        assert pytest.approx(q, rel=1e-4, abs=1e-4) == weights.detach().numpy().T


def test_cliff_walking_reaches_the_optimum(in_tmp):
    """13 steps of -1 along the cliff's edge: Sutton and Barto 2018, example 6.6."""
    options = ["--random_seed", "1", "--epochs", "2"]
    assert main(["train", "CliffWalking-v1", "--preset", "tabular", *options]) == 0
    last = rows("results/CliffWalking-v1.csv")[-1]
    assert (last["phase"], last["nr_games"], last["average_reward"]) == ("test", "15", "-13.0")
