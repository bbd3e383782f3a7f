"""ReplayMemory: a ring of single screens per lane, assembled into transitions when sampled.

Memory layout, N lanes of T = size // N slots:

    screens    [N, T, *shape] uint8      7,056 B a slot at 84x84
    actions    [N, T]         int32          4 B
    rewards    [N, T]         float32        4 B   raw; clipped when sampled
    terminals  [N, T]         bool           1 B
    starts     [N, T]         bool           1 B

Each screen is stored once. NB! The screen is the post-state: slot t holds an action and the reward,
terminal flag and screen that resulted from it. A start slot holds the first screen of an episode
and no transition. So unless starts[t], slot t is a transition from the state that ends with the
screen of slot t−1 to the state that ends with the screen of slot t:

    slot        7       8       9      10      11      12
    screen      s₀      s₁      s₂     s₃      s₀'     s₁'      s: observations
    action      -       a₀      a₁     a₂      -       a₀'
    starts      1       0       0      0       1       0
    terminals   0       0       0      1       0       0

A state covers H slots but never crosses a start: screens from before the episode are zero (or the
transition is never sampled: ``history_padding="reject"``). The last slot of a truncated episode is
not terminal, so that its transition still bootstraps.

Which slots can be sampled: the age of a slot is the number of older slots in its lane, 0 for the
oldest. Slot t is valid if not starts[t] and all screens of its state are still stored, that is, if
age(t) ≥ H or any slot older than t is a start.

n-step returns: the rewards of up to n slots from t on are summed, the i-th discounted by γⁱ from
i = 0 on. The sum ends early, after k rewards, at a terminal, a truncation or the newest slot. The
post-state is that of the last slot summed, discounted by γᵏ, or by 0 after a terminal.

The arrays start as zeros: memory that was never written is not resident.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import DTypeLike, NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

LEAST_DRAWN = 64  # slots drawn at once, so that redraws are rare
MOST_ROUNDS = 50  # rounds of redraws before all valid slots are listed


class Batch(NamedTuple):
    """Transitions sampled from the replay memory."""

    states: Any  # [B, H, *shape], an array, or a tensor if the memory is on a device
    actions: NDArray[np.int64]  # [B]
    returns: NDArray[np.float32]  # [B] discounted sums of the clipped rewards from the action on
    discounts: NDArray[np.float32]  # [B] γᵏ for the k rewards summed; 0 after a terminal
    poststates: Any  # likewise: the states after the last reward summed
    indices: NDArray[np.int64]  # [B] position in the memory: lane · slots per lane + slot
    weights: NDArray[np.float32]  # [B] importance weights; all 1 for uniform sampling


class Experience(NamedTuple):
    """A sequence of n slots as in the memory layout above, usually from a start on.

    Action, reward and terminal flag of a start slot are ignored.
    """

    screens: NDArray[Any]  # [n, *shape]
    actions: NDArray[np.int32]  # [n]
    rewards: NDArray[np.float32]  # [n] raw
    terminals: NDArray[np.bool_]  # [n]
    starts: NDArray[np.bool_]  # [n]

    def cut(self, part: slice) -> Experience:
        """Return the slots in ``part``."""
        arrays: Any = (array[part] for array in self)
        return Experience(*arrays)


def as_states(screens: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return states [B, H, *shape] from their H screens [B, *shape], oldest first."""
    batch, *shape = screens[0].shape
    if len(shape) != 2 or screens[0].dtype != np.uint8:  # boards, vectors
        return np.stack(screens, axis=1)
    # "Channels last", as convolutions want it; ten times as fast as a transposing copy
    pixels = cv2.merge([screen.reshape(-1, shape[1]) for screen in screens])
    return pixels.reshape(batch, *shape, -1).transpose(0, 3, 1, 2)


class ReplayMemory:
    """A ring of experience, sampled uniformly (Lin 1992; Mnih et al. 2015).

    Args:
        size: slots over all lanes; each lane has size // num_envs.
        num_envs: N, the number of lanes.
        history_length: H, observations per state.
        shape, dtype: of one observation.
        discount_rate: γ.
        n_step: n, rewards summed in a return (Sutton 1988; Watkins 1989); 1 in plain DQN.
        min_reward, max_reward: rewards are clipped to these bounds when they are sampled.
        history_padding: "zero" or "reject", see above.
        rng: the random generator of sampling.
    """

    def __init__(
        self,
        size: int,
        num_envs: int,
        history_length: int,
        shape: tuple[int, ...],
        dtype: DTypeLike,
        *,
        discount_rate: float,
        n_step: int,
        min_reward: float,
        max_reward: float,
        history_padding: str,
        rng: np.random.Generator,
    ) -> None:
        self.num_envs = num_envs
        self.slots = size // num_envs
        self.history_length = history_length
        self.shape, self.dtype = shape, np.dtype(dtype)
        self.discount_rate = discount_rate
        self.n_step = n_step
        self.min_reward, self.max_reward = min_reward, max_reward
        self.reject_padded = history_padding == "reject"
        self.rng = rng

        self.screens: Any = np.zeros((num_envs, self.slots, *shape), dtype)
        self.actions = np.zeros((num_envs, self.slots), np.int32)
        self.rewards = np.zeros((num_envs, self.slots), np.float32)
        self.terminals = np.zeros((num_envs, self.slots), np.bool_)
        self.starts = np.zeros((num_envs, self.slots), np.bool_)
        self.cursors = np.zeros(num_envs, np.int64)  # the slot written next
        self.filled = np.zeros(num_envs, np.int64)  # slots in use
        self.written = np.zeros(num_envs, np.int64)  # slots ever written
        self.start_count = 0  # starts among the slots in use
        self._sampleable = False  # whether a valid transition has been found

    @staticmethod
    def nbytes(size: int, shape: tuple[int, ...], dtype: DTypeLike) -> int:
        """Return the size in bytes of a full memory of ``size`` slots."""
        return size * (int(np.prod(shape)) * np.dtype(dtype).itemsize + 10)

    @property
    def count(self) -> int:
        """Transitions held."""
        return int(self.filled.sum()) - self.start_count

    def restart(self, lanes: NDArray[np.intp] | None, observations: NDArray[Any]) -> None:
        """Start an episode in ``lanes`` (None: all) with ``observations`` [len(lanes), *shape]."""
        lanes = np.arange(self.num_envs) if lanes is None else lanes
        self._write(lanes, observations, actions=0, rewards=0, terminals=False, starts=True)

    def add(
        self,
        actions: NDArray[np.integer[Any]],
        rewards: NDArray[np.floating[Any]],
        observations: NDArray[Any],
        terminals: Bools,
    ) -> None:
        """Append a transition to each lane: arrays [N], observations [N, *shape]."""
        every = np.arange(self.num_envs)
        self._write(every, observations, actions, rewards, terminals, starts=False)

    def _write(
        self, lanes: NDArray[np.intp], observations: NDArray[Any],
        actions: Any, rewards: Any, terminals: Any, *, starts: bool,
    ) -> None:  # fmt: skip
        """Write the next slot of each of ``lanes``; a full ring overwrites its oldest slot."""
        at = lanes, self.cursors[lanes]
        self.start_count += starts * len(lanes) - int(self.starts[at].sum())
        slots = observations, actions, rewards, terminals, starts
        for array, values in zip(self._arrays, slots, strict=True):
            array[at] = values
        self.cursors[lanes] = (self.cursors[lanes] + 1) % self.slots
        self.filled[lanes] = np.minimum(self.filled[lanes] + 1, self.slots)
        self.written[lanes] += 1

    def experience(self) -> Experience:
        """Return all slots in use, lane by lane; the oldest slot of a lane becomes a start."""
        ages = np.concatenate([np.arange(filled) for filled in self.filled])
        lanes = np.repeat(np.arange(self.num_envs), self.filled)
        every = lanes, self._slots(lanes, ages)
        whole = Experience(*(array[every] for array in self._arrays))
        return whole._replace(starts=whole.starts | (ages == 0))

    def extend(self, experience: Experience) -> None:
        """Append the episodes of ``experience``, each to the lane with the fewest slots so far."""
        given = self.filled.copy()
        lane = np.zeros(1, np.int64)
        for screen, action, reward, terminal, start in zip(*experience, strict=True):
            if start:
                lane[0] = given.argmin()
            given[lane] += 1
            self._write(lane, screen, action, reward, terminal, starts=bool(start))

    def read(self, lane: int, begin: int, end: int) -> Experience:
        """Return slots ``begin`` to ``end`` (exclusive) of a lane, in the order of writing."""
        at = np.full(end - begin, lane), np.arange(begin, end) % self.slots
        return Experience(*(array[at] for array in self._arrays))

    def write(self, lane: int, begin: int, slots: Experience) -> None:
        """Restore what ``read`` returned; ``load_state_dict`` must follow."""
        count = len(slots.starts)
        at = np.full(count, lane), np.arange(begin, begin + count) % self.slots
        for array, values in zip(self._arrays, slots, strict=True):
            array[at] = values

    @property
    def _arrays(self) -> tuple[Any, ...]:
        """The arrays of the memory layout, in the order of ``Experience``."""
        return self.screens, self.actions, self.rewards, self.terminals, self.starts

    def state_dict(self) -> dict[str, Any]:
        """Return the state apart from the slots themselves, see ``storage.states``."""
        return dict(
            written=self.written.copy(),
            filled=self.filled.copy(),
            generator=self.rng.bit_generator.state,
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned, after ``write`` has restored the slots."""
        self.written, self.filled = state["written"], state["filled"]
        if (self.filled != np.minimum(self.written, self.slots)).any():
            raise ValueError("slots in use that were never written")
        self.cursors = self.written % self.slots
        self.start_count = int(self.starts.sum())
        self._sampleable = False  # until ``can_sample`` has checked
        self.rng.bit_generator.state = state["generator"]

    def sample(self, batch_size: int) -> Batch:
        """Draw ``batch_size`` transitions uniformly, with replacement.

        Raises:
            ValueError: there is no transition, or with "reject" none with a complete history.
        """
        lanes, ages = self._draw(batch_size)
        slots = self._slots(lanes, ages)
        returns, discounts, lengths = self._returns(lanes, ages)
        return Batch(
            states=self._batch_states(lanes, ages - 1),
            actions=self.actions[lanes, slots].astype(np.int64),
            returns=returns,
            discounts=discounts,
            poststates=self._batch_states(lanes, ages + lengths - 1),
            indices=lanes * self.slots + slots,
            weights=np.ones(len(slots), np.float32),
        )

    def sample_states(self, count: int) -> NDArray[Any]:
        """Draw ``count`` states, [count, H, *shape]."""
        lanes, ages = self._draw(count)
        return self.states(lanes, ages - 1)

    def _returns(self, lanes: Ints, ages: Ints) -> tuple[Floats, Floats, Ints]:
        """Return (Σ γⁱ rᵢ for i < k, γᵏ or 0 after a terminal, k), each [B]."""
        steps = np.arange(self.n_step)
        ages = ages[:, None] + steps  # [B, n]
        lanes = lanes[:, None]
        slots = self._slots(lanes, ages)
        summed = (ages < self.filled[lanes]) & ~self.starts[lanes, slots]
        summed[:, 1:] &= ~self.terminals[lanes, slots[:, :-1]]
        summed = np.logical_and.accumulate(summed, axis=1)
        lengths = summed.sum(axis=1)

        rewards = self.rewards[lanes, slots].clip(self.min_reward, self.max_reward)
        powers = (self.discount_rate**steps).astype(np.float32)
        returns = np.where(summed, powers * rewards, 0).sum(axis=1, dtype=np.float32)
        last = slots[np.arange(len(slots)), lengths - 1]
        discounts = np.where(self.terminals[lanes[:, 0], last], 0, self.discount_rate**lengths)
        return returns, discounts.astype(np.float32), lengths

    def update_priorities(self, indices: Ints, errors: Any) -> None:
        """Set the |δ| of the transitions at ``indices`` [B]; ignored by uniform sampling."""

    def can_sample(self) -> bool:
        """Whether there is a transition to sample; with "reject", one with a complete history."""
        if not self._sampleable or self.slots < LEAST_DRAWN:  # may be overwritten by now
            self._sampleable = self.count > 0 and len(self._every_valid()) > 0
        return self._sampleable

    def _draw(self, batch_size: int) -> tuple[Ints, Ints]:
        """Return (lanes [B], ages [B]) of valid transitions: draw slots, redraw invalid ones."""
        if not self.can_sample():
            raise ValueError("the replay memory holds no transition to sample")
        slots_in_use = int(self.filled.sum())
        chosen = np.empty(0, np.int64)  # numbers of slots in use, counted across the lanes
        for _ in range(MOST_ROUNDS):
            drawn = self.rng.integers(slots_in_use, size=max(batch_size, LEAST_DRAWN))
            chosen = np.concatenate([chosen, drawn[self._valid(*self._locate(drawn))]])
            if len(chosen) >= batch_size:
                return self._locate(chosen[:batch_size])
        # Valid slots are rare: list them all instead of drawing again.
        return self._locate(self.rng.choice(self._every_valid(), batch_size))

    def _every_valid(self) -> Ints:
        """Return the numbers of all slots that can be sampled."""
        every = np.arange(self.filled.sum())
        return every[self._valid(*self._locate(every))]

    def _locate(self, numbers: Ints) -> tuple[Ints, Ints]:
        """Return (lane, age) of the slots with these ``numbers``, counted across the lanes."""
        ends = self.filled.cumsum()
        lanes = np.searchsorted(ends, numbers, side="right")
        return lanes, numbers - (ends - self.filled)[lanes]

    def _slots(self, lanes: Ints, ages: Ints) -> Ints:
        """Return the slots of these ages: age 0 is the oldest slot of its lane."""
        return (self.cursors[lanes] - self.filled[lanes] + ages) % self.slots

    def _valid(self, lanes: Ints, ages: Ints) -> Bools:
        """Whether the slots are transitions whose states are still stored, bool [B]."""
        _, inside, kept = self._history(lanes, ages - 1)
        complete = inside & kept if self.reject_padded else inside | ~kept
        return ~self.starts[lanes, self._slots(lanes, ages)] & complete.all(axis=1)

    def _history(self, lanes: Ints, ages: Ints) -> tuple[Ints, Bools, Bools]:
        """Return the slots that make up the states ending at ``ages`` [B], each [B, H].

        Returns:
            slots: of the screens, oldest first.
            inside: whether the slot is in use, not from before the lane's oldest one.
            kept: whether the slot belongs to the same episode: no start follows it.
        """
        ages = ages[:, None] + np.arange(1 - self.history_length, 1)
        inside = ages >= 0
        slots = self._slots(lanes[:, None], ages)
        starts = self.starts[lanes[:, None], slots] & inside
        started_after = np.zeros_like(starts)
        started_after[:, :-1] = np.logical_or.accumulate(starts[:, :0:-1], axis=1)[:, ::-1]
        return slots, inside, ~started_after

    def states(self, lanes: Ints, ages: Ints) -> NDArray[Any]:
        """Assemble the states that end at ``ages``: [B, H, *shape]."""
        slots, _, kept = self._history(lanes, ages)
        screens = self.screens[lanes, slots.T]  # [H, B, *shape]
        screens[~kept.T] = 0
        return as_states(list(screens))

    def _batch_states(self, lanes: Ints, ages: Ints) -> Any:
        """Return the states of a batch that end at ``ages``, [B, H, *shape]."""
        return self.states(lanes, ages)
