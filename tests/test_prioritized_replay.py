"""Prioritized replay against running sums, formulas worked out by hand, and statistics."""

from __future__ import annotations

import csv
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from simple_dqn.main import main
from simple_dqn.replay.prioritized import LEAST_PRIORITY, PrioritizedReplayMemory, SumTree
from simple_dqn.statistics import TIME_COLUMNS

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


def test_another_exponent_by_hand():
    """p = 1, 2, 3, 4 with α 1, then ½, then 0; what was never a transition stays 0."""
    memory = make_four(1)
    memory.set_exponent(0.995)  # too small a step
    assert memory.exponent == 1
    memory.set_exponent(0.5)
    expected = [0, 1, 2**0.5, 3**0.5, 2, 0]
    assert memory.tree.get(np.arange(6)) == pytest.approx(expected, rel=1e-5)
    assert memory.tree.total == pytest.approx(sum(expected), rel=1e-5)
    memory.update_priorities(np.array([1]), torch.tensor([9.0]))
    assert memory.tree.get(np.array([1])) == pytest.approx([3])
    memory.set_exponent(0.005)
    assert memory.tree.get(np.array([4])) == pytest.approx([4**0.005], rel=1e-5)
    memory.set_exponent(0)  # as small a step, but the last
    assert memory.tree.get(np.arange(6)).tolist() == [0, 1, 1, 1, 1, 0]
    assert memory.sample(8).weights == pytest.approx(1)
    memory.set_exponent(1)
    assert memory.tree.get(np.arange(6)).tolist() == [0, 1, 1, 1, 1, 0]


def test_the_exponent_is_part_of_the_state():
    memory, other = make_four(1), make_four(1)
    memory.set_exponent(0.3)
    state = memory.state_dict()
    other.load_state_dict(state)
    assert other.exponent == 0.3
    np.testing.assert_array_equal(other.tree.nodes, memory.tree.nodes)
    with pytest.raises(ValueError, match="exponent"):
        other.load_state_dict(state | {"exponent": 3.0})


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


class Slow:
    """Schaul et al. 2016, algorithm 1, on plain lists, with n-step returns; one dict per slot."""

    def __init__(self, slots, lanes, n, gamma, alpha, rng):
        self.slots, self.n, self.gamma, self.alpha, self.rng = slots, n, gamma, alpha, rng
        self.rings = [[None] * slots for _ in range(lanes)]
        self.history = [[] for _ in range(lanes)]  # every slot ever written, oldest first
        self.largest = 1.0

    def write(self, lane, **slot):
        slot["p"] = 0.0 if slot["start"] else self.largest
        position = len(self.history[lane]) % self.slots
        self.rings[lane][position] = slot
        self.history[lane].append(slot)

    def stored(self, lane):
        return self.history[lane][-self.slots :]

    def valid(self, lane, slot):
        """A transition whose state is complete: its screens back to its start, or H = 2 of them."""
        stored = self.stored(lane)
        age = next(i for i, other in enumerate(stored) if other is slot)
        return not slot["start"] and (age >= 2 or any(s["start"] for s in stored[:age]))

    def sample(self, batch_size, beta):
        flat = [(lane, slot) for lane, ring in enumerate(self.rings) for slot in ring]
        powers = [slot["p"] ** self.alpha if slot and slot["p"] else 0.0 for _, slot in flat]
        sums = np.cumsum(powers)
        count = sum(not s["start"] for lane in range(len(self.rings)) for s in self.stored(lane))
        drawn = (np.arange(batch_size) + self.rng.random(batch_size)) / batch_size
        chosen = [None] * batch_size
        while True:
            for i in range(batch_size):
                if chosen[i] is None:
                    place = int(np.searchsorted(sums, drawn[i] * sums[-1], side="right"))
                    if self.valid(*flat[place]):
                        chosen[i] = place
            if None not in chosen:
                break
            drawn = self.rng.random(batch_size)
        shares = [powers[place] / sums[-1] for place in chosen]
        weights = np.array([(count * share) ** -beta for share in shares])
        return chosen, weights / weights.max(), [self.returns(*flat[place]) for place in chosen]

    def returns(self, lane, slot):
        stored = self.stored(lane)
        age = next(i for i, other in enumerate(stored) if other is slot)
        total, k, terminal = 0.0, 0, False
        for following in stored[age : age + self.n]:
            if following["start"] or terminal:
                break
            total += self.gamma**k * following["reward"]
            k, terminal = k + 1, following["terminal"]
        return total, 0.0 if terminal else self.gamma**k, stored[age + k - 1]["screen"]

    def update(self, places, errors):
        flat = [slot for ring in self.rings for slot in ring]
        for place, error in zip(places, errors, strict=True):
            flat[place]["p"] = abs(error) + LEAST_PRIORITY
            self.largest = max(self.largest, abs(error) + LEAST_PRIORITY)


@pytest.mark.parametrize(
    ("n_step", "exponent", "falls"), [(1, 0.6, False), (3, 0.6, True), (5, 0.2, False)]
)
def test_a_short_training_agrees_with_a_slow_independent_memory(n_step, exponent, falls):
    """Indices, weights, returns and post-states of each batch, while the ring wraps many times."""
    lanes, slots, gamma = 3, 40, 0.9
    memory = make(slots * lanes, lanes, 2, exponent, seed=7, discount_rate=gamma, n_step=n_step)
    slow = Slow(slots, lanes, n_step, gamma, exponent, np.random.default_rng(7))
    rng, number = np.random.default_rng(1), 0

    def restart(which):
        nonlocal number
        screens = np.arange(number, number + len(which))
        number += len(which)
        memory.restart(np.array(which), screens)
        for lane, screen in zip(which, screens, strict=True):
            slow.write(lane, start=True, screen=screen)

    restart([0, 1, 2])
    for step in range(600):
        screens = np.arange(number, number + lanes)
        number += lanes
        rewards = rng.integers(-1, 2, lanes).astype(float)
        terminals = rng.random(lanes) < 0.08
        memory.add(np.zeros(lanes, int), rewards, screens, terminals)
        for lane in range(lanes):
            slow.write(
                lane, start=False, screen=screens[lane], reward=rewards[lane],
                terminal=bool(terminals[lane]),
            )  # fmt: skip
        truncated = ~terminals & (rng.random(lanes) < 0.04)
        if step > 5 and step % 2:
            beta = 0.4 + 0.6 * step / 600
            memory.set_importance_exponent(beta)
            if falls:
                memory.set_exponent(exponent * (1 - step / 600))
                slow.alpha = memory.exponent
            batch = memory.sample(16)
            places, weights, returns = slow.sample(16, beta)
            assert batch.indices.tolist() == places
            assert batch.weights == pytest.approx(weights, rel=1e-5)
            assert batch.returns == pytest.approx([r for r, _, _ in returns], abs=1e-5)
            assert batch.discounts == pytest.approx([d for _, d, _ in returns], rel=1e-5)
            assert batch.poststates[:, -1].tolist() == [s for _, _, s in returns]
            errors = rng.exponential(1, 16) * rng.choice([-1, 1], 16)
            memory.update_priorities(batch.indices, torch.tensor(errors))
            slow.update(places, errors)
        if (ended := np.flatnonzero(terminals | truncated)).size:
            restart(ended.tolist())


def test_a_checkpoint_from_before_the_exponent_was_stored_is_resumed_exactly(in_tmp, monkeypatch):
    small = [
        "--prioritized", "--epochs", "2", "--train_steps", "300", "--test_steps", "100",
        "--random_steps", "200", "--replay_size", "1000", "--threads", "1", "--random_seed", "1",
    ]  # fmt: skip
    assert main(["train", "CartPole-v1", "whole", *small]) == 0
    own = PrioritizedReplayMemory.state_dict

    def older(memory):
        state = own(memory)
        del state["exponent"]
        return state

    with monkeypatch.context() as patch:
        patch.setattr(PrioritizedReplayMemory, "state_dict", older)
        assert main(["train", "CartPole-v1", "old", *small, "--stop_at", "0"]) == 0
    assert main(["resume", "CartPole-v1_old", "--stop_at", "1000"]) == 0
    rows = []
    for name in ("whole", "old"):
        with open(f"results/CartPole-v1_{name}.csv") as file:
            rows.append(list(csv.DictReader(file)))
        for row, column in itertools.product(rows[-1], TIME_COLUMNS):
            del row[column]
    assert rows[0] == rows[1]
