"""Schedules: values worked out by hand, and their effect on a run."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from simple_dqn.agent import Callback
from simple_dqn.callbacks.schedules import Schedule
from simple_dqn.commands.build import build
from simple_dqn.errors import UsageError
from simple_dqn.options.resolve import resolve

SMALL = {
    "environment": "ale", "replay_size": 1000, "screen_width": 36, "screen_height": 36,
    "hidden_units": 4, "random_seed": 1, "backend": "cpu", "train_steps": 40, "epochs": 2,
    "validation_size": 5,
}  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("linear", [(0, 0.8), (25, 0.625), (50, 0.45), (100, 0.1), (1000, 0.1)]),
        ("exponential", [(0, 0.8), (100 / 3, 0.4), (200 / 3, 0.2), (100, 0.1), (1000, 0.1)]),
    ],
)
def test_schedule_values(shape, expected):
    schedule = Schedule(lambda _: None, 0.8, 0.1, 100, shape)
    for step, value in expected:
        assert schedule.value(step) == pytest.approx(value)
    assert Schedule(lambda _: None, 0.8, 0.1, 0, shape).value(0) == pytest.approx(0.1)


def test_run_schedules_exploration_learning_rate_and_importance(breakout):
    config = resolve(
        {
            **SMALL, "exploration_rate_start": 0.9, "exploration_rate_end": 0.3,
            "exploration_decay_steps": 60, "learning_rate": 0.01, "learning_rate_end": 0.0001,
            "learning_rate_decay_steps": 80, "learning_rate_schedule": "exponential",
            "prioritized": True, "importance_exponent_start": 0.5,
            "priority_exponent_end": 0.2, "priority_decay_steps": 80,
        }
    )  # fmt: skip
    with build(config, "breakout", breakout) as run:
        run.agent.train(40)
        assert run.agent.memory.exponent == pytest.approx(0.4, abs=0.0101)  # from .6 on
        assert run.agent.exploration_rate == pytest.approx(0.9 - 0.6 * 39 / 60)  # of the last step
        assert run.agent.exploration_rate_train == pytest.approx(0.5)
        assert run.network.optimizer.param_groups[0]["lr"] == pytest.approx(0.001)
        assert run.agent.memory.importance_exponent == pytest.approx(0.75)
        run.agent.test(5)
        assert run.agent.exploration_rate == 0.05
        run.agent.train(40)
        assert run.agent.exploration_rate_train == pytest.approx(0.3)
        assert run.network.optimizer.param_groups[0]["lr"] == pytest.approx(0.0001)
        assert run.agent.memory.importance_exponent == pytest.approx(1)


def test_custom_callback_overrides_schedules_at_every_step(breakout):
    """Even with an update between its ``on_step`` and the next step."""
    config = resolve({**SMALL, "train_frequency": 1, "learning_rate_schedule": "linear"})
    used = []

    class Half(Callback):
        def on_act(self, agent, actions):
            rate = agent.network.optimizer.param_groups[0]["lr"]
            used.append((agent.exploration_rate, rate))

        def on_step(self, agent, step):
            agent.exploration_rate_train = 0.5
            agent.network.set_learning_rate(0.25)

    with build(config, "breakout", breakout) as run:
        run.agent.callbacks.append(Half())
        run.agent.train(20)
    assert used[1:] == [(0.5, 0.25)] * 19


def test_schedules_advance_offline(breakout):
    config = resolve({**SMALL, "learning_rate": 0.02, "learning_rate_schedule": "linear"})
    with build(config, "breakout", breakout) as run:
        run.agent.play_random(30)
        run.agent.train(40, offline=True)
        rate = run.network.optimizer.param_groups[0]["lr"]
        assert rate == pytest.approx(0.02 * (1 - 40 / 80))  # of the whole run, two epochs of 40


def test_returns_become_shorter_over_the_whole_run(breakout):
    """From 3 rewards to 1 over 80 steps: 3 − 2·t/80, rounded."""
    config = resolve({**SMALL, "n_step": 3, "n_step_end": 1, "train_frequency": 1})
    used, lengths = [], []

    class Listener(Callback):
        def on_step(self, agent, step):
            used.append(agent.memory.n_step)

        def on_train(self, agent, errors):
            discounts = np.unique(agent.memory.sample(200).discounts)
            lengths.append(max(np.log(discounts[discounts > 0]) / np.log(0.99)))

    with build(config, "breakout", breakout) as run:
        run.agent.play_random(20)
        assert run.agent.memory.n_step == 3
        run.agent.callbacks.append(Listener())
        run.agent.train(40)
        run.agent.train(40)
    assert used == [3] * 19 + [2] * 41 + [1] * 20  # 2.5 and 1.5 are rounded to 2
    assert lengths == pytest.approx(used, abs=1e-4)  # float32


def test_noisy_layers_are_noisy_in_training_only(breakout):
    config = resolve({**SMALL, "noisy": True, "target_steps": 20})
    noises = []

    class Listener(Callback):
        def on_act(self, agent, actions):
            noise = agent.network.network.noisy_layers[0].noise
            noises.append(None if noise is None else noise[0].clone())

        def on_phase_end(self, agent):
            self.on_act(agent, None)  # after the schedules

    with build(config, "breakout", breakout) as run:
        run.agent.callbacks.append(Listener())
        run.agent.train(12)  # updates after steps 4, 8 and 12
        steps, after = noises[:12], noises[12]
        same = [bool((a == b).all()) for a, b in itertools.pairwise(steps)]
        assert same == [True] * 3 + [False] + [True] * 3 + [False] + [True] * 3
        assert after is None
        noises.clear()
        run.agent.test(5)
        assert noises == [None] * 6
        noises.clear()
        run.agent.play_random(5, refill=True)  # no updates: noise is drawn at each step
        assert all((a != b).all() for a, b in itertools.pairwise(noises[:5]))


def test_invalid_schedules_are_refused():
    for given, message in (
        ({"learning_rate_end": 0.1}, "no effect with --learning_rate_schedule constant"),
        ({"priority_exponent": 0.5}, "--priority_exponent has no effect with --prioritized"),
        ({"priority_exponent_end": 0.0}, "--priority_exponent_end has no effect"),
        ({"prioritized": True, "priority_decay_steps": 9}, "without --priority_exponent_end"),
        ({"n_step_decay_steps": 9}, "--n_step_decay_steps has no effect without --n_step_end"),
        ({"exploration_schedule": "exponential", "exploration_rate_end": 0.0}, "above 0"),
        ({"learning_rate_schedule": "exponential"}, "above 0"),
        ({"learning_rate_schedule": "linear", "optimizer": "adadelta"}, "no learning rate"),
    ):
        with pytest.raises(UsageError, match=message):
            resolve(given)
