"""Checkpoints: a run that goes on from one is the run that was never interrupted."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from simple_dqn.agent import Callback
from simple_dqn.build import build
from simple_dqn.games import find_game
from simple_dqn.resolve import resolve

SMALL = {
    "pong": {
        "replay_size": 400, "hidden_units": 16, "filters": 4, "validation_size": 10,
        "test_frame_cap": 160, "train_frequency": 4, "target_steps": 30, "batch_size": 8,
        "random_steps": 60, "train_steps": 150, "test_steps": 60,
        "exploration_decay_steps": 200,
    },
    "CartPole-v1": {
        "preset": "vector", "replay_size": 300, "random_steps": 50, "train_steps": 200,
        "test_steps": 100, "target_steps": 40,
    },
}  # fmt: skip
VARIANTS = {
    "plain": {},
    "lanes": {"num_envs": 4, "n_step": 3, "optimizer": "adam"},
    "prioritized": {"prioritized": True, "double_q": True, "learning_rate_schedule": "linear"},
    "rainbow": {"preset": "rainbow", "quantiles": 5, "num_envs": 2},
}


def start(name, variant):
    kind, game, rom = find_game(name, "auto")
    options = {"environment": kind, "random_seed": 3, **SMALL[name], **VARIANTS[variant]}
    return build(resolve(options), game, rom)


class Copies(Callback):
    """Keeps the state of a run at some rounds."""

    def __init__(self, run, wanted):
        self.run, self.wanted, self.states, self.total = run, wanted, {}, 0

    def on_round_end(self, agent):
        self.total += 1
        if self.total in self.wanted:
            self.states[self.total] = copy.deepcopy(state_of(self.run))


def state_of(run):
    memory = run.agent.memory
    slots = [
        memory.read(lane, max(memory.written[lane] - memory.slots, 0), memory.written[lane])
        for lane in range(memory.num_envs)
    ]
    return dict(
        agent=run.agent.state_dict(),
        network=run.network.state_dict(),
        memory=memory.state_dict(),
        slots=slots,
        statistics=run.statistics.state_dict(),
        torch=torch.get_rng_state(),
    )


def play(run, phases):
    """Play the phases from the one on that the agent stands in; return the rows."""
    rows = []
    run.statistics.on_row = (lambda row: rows.append(dict(row)),)
    for phase in phases:
        if phase == "random":
            run.agent.play_random(run.config.run.random_steps)
        elif phase == "train":
            run.agent.train(run.config.run.train_steps)
        else:
            run.agent.test(run.config.run.test_steps)
    return rows


def comparable(state):
    """Return a state without its times, arrays as lists."""
    if isinstance(state, dict):
        return {k: comparable(v) for k, v in state.items() if not k.endswith("seconds")}
    if isinstance(state, list | tuple):
        return [comparable(value) for value in state]
    return state.tolist() if isinstance(state, np.ndarray | torch.Tensor) else state


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", SMALL)
def test_a_run_goes_on_from_its_state(name, variant):
    """In the middle of each phase; all that is kept at the end is the same."""
    phases = ["random", "train", "test"]
    with start(name, variant) as run:
        lanes = run.config.environment.num_envs
        options = run.config.run
        random, train = -(-options.random_steps // lanes), -(-options.train_steps // lanes)
        moments = [random // 2, random, random + train // 3, random + train, random + train + 20]
        copies = Copies(run, moments)
        run.agent.callbacks.append(copies)
        rows = play(run, phases)
        at_the_end = comparable(state_of(run))
    assert len(copies.states) == len(moments)
    for state in copies.states.values():
        with start(name, variant) as other:
            memory = other.agent.memory
            for lane, slots in enumerate(state["slots"]):
                begin = max(state["memory"]["written"][lane] - memory.slots, 0)
                memory.write(lane, begin, slots)
            memory.load_state_dict(state["memory"])
            other.network.load_state_dict(state["network"])
            other.agent.load_state_dict(state["agent"])
            other.statistics.load_state_dict(state["statistics"])
            torch.set_rng_state(state["torch"])
            left = phases[phases.index(state["agent"]["phase"]) :]
            others = play(other, left)
            assert comparable(state_of(other)) == at_the_end
        for ours, theirs in zip(rows[-len(left) :], others, strict=True):
            times = ("total_time", "epoch_time", "steps_per_second")
            assert str({k: v for k, v in ours.items() if k not in times}) == str(
                {k: v for k, v in theirs.items() if k not in times}
            )
