"""ReplayMemory against a slow oracle, and against answers worked out by hand."""

from __future__ import annotations

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simple_dqn.replay_memory import ReplayMemory


def make(size=20, num_envs=1, history_length=3, padding="zero", seed=0, **kwargs) -> ReplayMemory:
    return ReplayMemory(
        size, num_envs, history_length, kwargs.pop("shape", ()), kwargs.pop("dtype", np.int64),
        **{
            "discount_rate": 0.5, "n_step": 1, "min_reward": -1, "max_reward": 1,
            "history_padding": padding, "rng": np.random.default_rng(seed), **kwargs,
        },
    )  # fmt: skip


class Oracle:
    """The same memory, slowly: a Python list per lane, of which only the last T entries count."""

    def __init__(self, memory: ReplayMemory):
        self.memory = memory
        self.lanes = [[] for _ in range(memory.num_envs)]

    def transitions(self):
        """{index: (state, action, return, discount, poststate)} of all valid transitions."""
        m, answer = self.memory, {}
        for lane, entries in enumerate(self.lanes):
            forgotten = max(len(entries) - m.slots, 0)
            for i in range(forgotten, len(entries)):
                _, action, _, _, start = entries[i]
                if start:
                    continue
                state = self._state(entries, i - 1, forgotten)
                if state is None or (m.reject_padded and 0 in state):
                    continue
                answer[lane * m.slots + i % m.slots] = state, action, *self._return(entries, i)
        return answer

    def _return(self, entries, i):
        """(return, discount, poststate) from entry ``i`` on, one step at a time."""
        m, total, discount = self.memory, 0.0, 1.0
        for _ in range(m.n_step):
            _, _, reward, terminal, _ = entries[i]
            total += discount * min(max(reward, m.min_reward), m.max_reward)
            discount *= m.discount_rate
            poststate = self._state(entries, i, max(len(entries) - m.slots, 0))
            if terminal:
                return total, 0, poststate
            i += 1
            if i == len(entries) or entries[i][-1]:
                break
        return total, discount, poststate

    def _state(self, entries, last, forgotten):
        """H screens that end at ``last``; 0 for those before the episode; None if overwritten."""
        state, i = [], last
        while len(state) < self.memory.history_length:
            if i < forgotten:
                return None
            screen, *_, start = entries[i]
            state.insert(0, screen)
            if start:
                break
            i -= 1
        return [0] * (self.memory.history_length - len(state)) + state


def fill(memory: ReplayMemory, steps: int, rng: np.random.Generator) -> Oracle:
    """Add random episodes, with terminals, truncations and abandoned games, to both."""
    oracle = Oracle(memory)
    screen = iter(range(1, 10**9))  # never 0, which means no screen

    def restart(lanes):
        screens = np.array([next(screen) for _ in lanes])
        memory.restart(lanes, screens)
        for lane, s in zip(lanes, screens, strict=True):
            oracle.lanes[lane].append((s, None, None, None, True))

    n = memory.num_envs
    restart(np.arange(n))
    for _ in range(steps):
        screens = np.array([next(screen) for _ in range(n)])
        actions, rewards = rng.integers(9, size=n), rng.normal(0, 2, n).astype(np.float32)
        terminals = rng.random(n) < 0.15
        ended = terminals | (rng.random(n) < 0.1)  # the others are truncated
        memory.add(actions, rewards, screens, terminals)
        for lane in range(n):
            oracle.lanes[lane].append(
                (screens[lane], actions[lane], rewards[lane], terminals[lane], False)
            )
        if rng.random() < 0.02:
            restart(np.arange(n))  # a new phase: games are abandoned
        elif ended.any():
            restart(np.flatnonzero(ended))
    return oracle


def assert_agreement(batch, expected) -> None:
    """Assert that each sample is the oracle's transition at its index."""
    for i, index in enumerate(batch.indices):
        state, action, reward, discount, poststate = expected[int(index)]
        assert batch.states[i].tolist() == state
        assert batch.poststates[i].tolist() == poststate
        assert batch.actions[i] == action
        assert batch.returns[i] == pytest.approx(reward, rel=1e-6, abs=1e-6)
        assert batch.discounts[i] == np.float32(discount)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_envs=st.integers(1, 4),
    history_length=st.integers(1, 5),
    slots=st.integers(8, 40),
    steps=st.integers(1, 120),
    padding=st.sampled_from(["zero", "reject"]),
    n_step=st.integers(1, 6),
)
def test_samples_agree_with_the_oracle(
    seed, num_envs, history_length, slots, steps, padding, n_step
):
    size = slots * num_envs + num_envs - 1
    memory = make(size, num_envs, history_length, padding, seed, n_step=n_step)
    oracle = fill(memory, steps, np.random.default_rng(seed))
    expected = oracle.transitions()
    held = [lane[-memory.slots :] for lane in oracle.lanes]
    assert memory.count == sum(not start for lane in held for *_, start in lane)
    if not expected:
        with pytest.raises(ValueError, match="no transition"):
            memory.sample(4)
        return

    batch = memory.sample(30 * len(expected))
    assert_agreement(batch, expected)
    # 30 draws each: the chance of missing any of them is below 1e-11.
    assert set(batch.indices.tolist()) == set(expected)
    assert (batch.weights == 1).all()


def test_sampling_is_uniform():
    memory = make(60, 3, 4)
    expected = fill(memory, 200, np.random.default_rng(5)).transitions()
    draws = 400 * len(expected)
    counts = np.bincount(memory.sample(draws).indices)
    counts = counts[counts > 0]
    chi2 = ((counts - 400) ** 2 / 400).sum()
    degrees = len(expected) - 1
    assert len(counts) == len(expected)
    assert chi2 < degrees + 5 * np.sqrt(2 * degrees)


def test_layout_by_hand():
    """The diagram in the module's docstring, with T = 8 so that nothing wraps."""
    memory = make(8, history_length=3)
    memory.restart(None, np.array([10]))
    for t, terminal in enumerate([False, False, True]):
        memory.add(np.array([t]), np.array([0.5 * t]), np.array([11 + t]), np.array([terminal]))
    memory.restart(None, np.array([20]))
    memory.add(np.array([7]), np.array([-9.0]), np.array([21]), np.array([False]))

    assert memory.count == 4
    batch = memory.sample(200)
    rows = {
        tuple(map(tuple, (s, [a, r, d], p)))
        for s, a, r, d, p in zip(
            batch.states, batch.actions, batch.returns, batch.discounts, batch.poststates,
            strict=True,
        )
    }  # fmt: skip
    assert rows == {
        ((0, 0, 10), (0, 0, 0.5), (0, 10, 11)),
        ((0, 10, 11), (1, 0.5, 0.5), (10, 11, 12)),
        ((10, 11, 12), (2, 1.0, 0), (11, 12, 13)),  # a terminal: nothing to bootstrap from
        ((0, 0, 20), (7, -1.0, 0.5), (0, 20, 21)),  # clipped; no screen of the previous game
    }


def test_three_step_returns_by_hand():
    """γ = ½: rewards 1, -1, 1 up to a terminal; then ½, ½ of a truncated episode; then 1, 1."""
    memory = make(20, history_length=1, n_step=3)
    for rewards, terminal in (([1, -1, 1], True), ([0.5, 0.5], False), ([1, 1], False)):
        memory.restart(None, np.array([memory.count + 100]))
        for t, reward in enumerate(rewards, start=1):
            last = terminal and t == len(rewards)
            screen = np.array([memory.count + 10])
            memory.add(np.array([0]), np.array([float(reward)]), screen, np.array([last]))
    batch = memory.sample(400)
    rows = set(zip(
        batch.states[:, 0].tolist(), batch.returns.tolist(), batch.discounts.tolist(),
        batch.poststates[:, 0].tolist(), strict=True,
    ))  # fmt: skip
    assert rows == {
        (100, 0.75, 0, 12), (10, -0.5, 0, 12), (11, 1, 0, 12),  # 1 - ½ + ¼; nothing after it
        (103, 0.75, 0.25, 14), (13, 0.5, 0.5, 14),  # bootstraps at the truncation
        (105, 1.5, 0.25, 16), (15, 1, 0.5, 16),  # as many steps as there are yet
    }  # fmt: skip


def test_last_screen_of_a_truncated_episode_is_its_own():
    """Not the first one of the next game: the classic bug of compact replay memories."""
    memory = make(8, history_length=2)
    memory.restart(None, np.array([1]))
    memory.add(np.array([0]), np.array([0.0]), np.array([2]), np.array([False]))
    memory.restart(None, np.array([100]))
    batch = memory.sample(10)
    assert (batch.poststates == [1, 2]).all()
    assert (batch.discounts == 0.5).all()


def test_rewards_are_stored_raw_and_clipped_when_sampled():
    memory = make(10, min_reward=-2, max_reward=3)
    memory.restart(None, np.array([1]))
    memory.add(np.array([0]), np.array([400.0]), np.array([2]), np.array([False]))
    assert memory.rewards.max() == 400
    assert (memory.sample(3).returns == 3).all()


def test_empty_memory_cannot_be_sampled():
    memory = make()
    assert not memory.can_sample()
    with pytest.raises(ValueError, match="no transition"):
        memory.sample(1)
    memory.restart(None, np.array([1]))
    with pytest.raises(ValueError, match="no transition"):
        memory.sample(1)


def test_rare_valid_transitions_are_found():
    """One slot in a thousand: enumerated instead of sampled by rejection forever."""
    memory = make(4000, history_length=4, padding="reject")
    for _ in range(900):  # episodes too short for a full history
        memory.restart(None, np.array([1]))
        memory.add(np.array([0]), np.array([0.0]), np.array([2]), np.array([True]))
    memory.restart(None, np.array([1]))
    for t in range(5):
        memory.add(np.array([0]), np.array([0.0]), np.array([3 + t]), np.array([False]))
    assert {tuple(s) for s in memory.sample(64).states} == {(1, 3, 4, 5), (3, 4, 5, 6)}


def test_memory_of_a_million_transitions_is_allocated_lazily():
    assert ReplayMemory.nbytes(1_000_000, (84, 84), np.uint8) <= 7.2e9
    process = psutil.Process()
    before = process.memory_info().rss
    memory = make(1_000_000, shape=(84, 84), dtype=np.uint8)
    arrays = ("screens", "actions", "rewards", "terminals", "starts")
    held = sum(getattr(memory, name).nbytes for name in arrays)
    assert held == ReplayMemory.nbytes(1_000_000, (84, 84), np.uint8)
    memory.restart(None, np.zeros((1, 84, 84), np.uint8))
    for _ in range(100):
        memory.add(np.array([0]), np.array([0.0]), np.ones((1, 84, 84)), np.array([False]))
    assert process.memory_info().rss - before < 50e6
