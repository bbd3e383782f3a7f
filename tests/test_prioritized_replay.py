"""Prioritized replay against running sums, formulas worked out by hand, and statistics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from simple_dqn.replay.prioritized import LEAST_PRIORITY, PrioritizedReplayMemory, SumTree

from .test_replay_memory import assert_agreement, fill


def make(size=20, num_envs=1, history_length=1, exponent=1.0, seed=0, **kwargs):
    return PrioritizedReplayMemory(
        size, num_envs, history_length, (), np.int64, exponent=exponent,
        **{
            "discount_rate": 0.5, "n_step": 1, "min_reward": -1, "max_reward": 1,
            "history_padding": "zero", "rng": np.random.default_rng(seed), **kwargs,
        },
    )  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_sum_tree_matches_a_running_sum(size, seed):
    rng = np.random.default_rng(seed)
    tree, numbers = SumTree(size), np.zeros(size)
    for _ in range(5):
        where = rng.integers(size, size=rng.integers(1, 9))
        values = rng.integers(0, 5, len(where)).astype(float)
        tree.set(where, values)
        for i, value in zip(where, values, strict=True):
            numbers[i] = value  # of a repeated index the last value counts
        assert tree.total == numbers.sum()
        assert (tree.get(np.arange(size)) == numbers).all()
        if tree.total:
            sums = rng.random(50) * tree.total
            expected = np.searchsorted(numbers.cumsum(), sums, side="right")
            assert (tree.find(sums) == expected).all()
            assert numbers[tree.find(np.array([0.0, tree.total]))].all()  # never a zero


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_envs=st.integers(1, 3),
    history_length=st.integers(1, 4),
    slots=st.integers(8, 30),
    steps=st.integers(1, 100),
    padding=st.sampled_from(["zero", "reject"]),
    n_step=st.integers(1, 4),
)
def test_samples_the_same_transitions_as_uniform_replay(
    seed, num_envs, history_length, slots, steps, padding, n_step
):
    memory = make(
        slots * num_envs, num_envs, history_length, history_padding=padding, n_step=n_step
    )
    expected = fill(memory, steps, np.random.default_rng(seed)).transitions()
    if not expected:
        with pytest.raises(ValueError, match="no transition"):
            memory.sample(4)
        return
    batch = memory.sample(40 * len(expected))
    assert_agreement(batch, expected)
    assert set(batch.indices.tolist()) == set(expected)
    assert batch.weights == pytest.approx(1)  # no update yet: all equal


def make_four(exponent=1.0, importance_exponent=1.0):
    """Return a memory of four transitions, at indices 1 to 4, with |δ| 1, 2, 3 and 4."""
    memory = make(exponent=exponent)
    memory.importance_exponent = importance_exponent
    memory.restart(None, np.array([10]))
    for t in range(4):
        memory.add(np.array([t]), np.array([0.0]), np.array([11 + t]), np.array([False]))
    memory.update_priorities(np.arange(1, 5), torch.tensor([1.0, -2.0, 3.0, 4.0]))
    return memory


@pytest.mark.parametrize("exponent", [0, 0.6, 1])
def test_sampling_is_proportional_to_priority(exponent):
    memory, draws = make_four(exponent), 40_000
    counts = np.zeros(4)
    for _ in range(draws // 8):
        counts += np.bincount(memory.sample(8).indices, minlength=5)[1:5]
    shares = np.arange(1, 5) ** exponent / (np.arange(1, 5) ** exponent).sum()
    chi2 = ((counts - draws * shares) ** 2 / (draws * shares)).sum()
    assert chi2 < 16.3  # p = .001 with 3 degrees of freedom; strata make it smaller still


def test_weights_by_hand():
    """P = .1, .2, .3, .4; w = (4 P)^-β over the largest, which is that of P = .1."""
    for beta in (0, 0.4, 1):
        batch = make_four(1, beta).sample(4000)
        assert set(batch.indices.tolist()) == {1, 2, 3, 4}
        for index, weight in zip(batch.indices, batch.weights, strict=True):
            assert weight == pytest.approx((1 / index) ** beta, rel=1e-4)


def test_new_transition_has_the_largest_priority_so_far():
    memory = make_four()
    memory.add(np.array([0]), np.array([0.0]), np.array([20]), np.array([False]))
    assert memory.tree.get(np.arange(6)) == pytest.approx([0, 1, 2, 3, 4, 4], rel=1e-5)
    memory.update_priorities(np.array([5]), torch.tensor([0.0]))
    assert memory.tree.get(np.array([5]))[0] == LEAST_PRIORITY  # small, but never zero


def test_overwritten_slot_loses_its_priority():
    memory = make(6)
    for episode in range(4):
        memory.restart(None, np.array([episode + 1]))
        memory.add(np.array([0]), np.array([0.0]), np.array([9]), np.array([True]))
        memory.update_priorities(np.flatnonzero(~memory.starts[0])[:1], torch.tensor([7.0]))
    numbers = memory.tree.get(np.arange(6))
    assert ((numbers == 0) == memory.starts[0]).all()
    assert memory.tree.total == pytest.approx(numbers.sum())
