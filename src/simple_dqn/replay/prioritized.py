"""PrioritizedReplayMemory: transitions with a large TD error are replayed more often."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simple_dqn.replay_memory import MOST_ROUNDS, Batch, ReplayMemory

EXPONENT_STEP = 0.01
LEAST_PRIORITY = 1e-6  # added to |δ|, so that every transition can be replayed


class SumTree:
    """Numbers that can be updated, and drawn in proportion to their size, in log₂(size) steps.

    A heap in one array: node i holds the sum of its children 2i and 2i+1, and node 1 the total. The
    leaves are the last ``leaves`` elements. All operations are vectorised.

    Args:
        size: count of the numbers, all initially 0.
    """

    def __init__(self, size: int) -> None:
        self.depth = max(size - 1, 1).bit_length()
        self.leaves = 1 << self.depth
        self.nodes = np.zeros(2 * self.leaves)

    @property
    def total(self) -> float:
        """The sum of all numbers."""
        return float(self.nodes[1])

    def get(self, indices: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the numbers at ``indices`` [B]."""
        numbers: NDArray[np.float64] = self.nodes[indices + self.leaves]
        return numbers

    def set(self, indices: NDArray[np.int64], numbers: Any) -> None:
        """Set the numbers at ``indices`` [B]; if an index is repeated, the last one counts."""
        node = indices + self.leaves
        self.nodes[node] = numbers
        for _ in range(self.depth):
            node = node >> 1
            self.nodes[node] = self.nodes[2 * node] + self.nodes[2 * node + 1]

    def set_all(self, numbers: NDArray[np.float64]) -> None:
        """Set all numbers."""
        self.nodes[self.leaves : self.leaves + len(numbers)] = numbers
        level = self.leaves
        while level > 1:
            level >>= 1
            children = self.nodes[2 * level : 4 * level]
            self.nodes[level : 2 * level] = children[::2] + children[1::2]

    def find(self, sums: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return for each of ``sums`` [B], 0 to total, the index where the running sum passes it.

        Uniform ``sums`` thus find an index with a probability proportional to its number.
        """
        sums = sums.copy()
        node = np.ones(len(sums), np.int64)
        for _ in range(self.depth):
            left = self.nodes[2 * node]
            # Never into an empty right branch, even if rounding errors point there.
            right = (sums >= left) & (self.nodes[2 * node + 1] > 0)
            sums -= np.where(right, left, 0)
            node = 2 * node + right
        return node - self.leaves


class PrioritizedReplayMemory(ReplayMemory):
    """Proportional prioritization (Schaul et al. 2016, algorithm 1).

    A transition is drawn with probability P(i) = pᵢᵅ / Σ pₖᵅ, where pᵢ is its |δ| when it was last
    learnt, or the largest p so far if it was not learnt yet. Importance weights correct the bias:
    wᵢ = (N·P(i))^−β, divided by the largest of the batch so that they only scale updates down.

    Args:
        exponent: α; 0 is uniform. A schedule may change it.
        args, kwargs: see ReplayMemory.

    Attributes:
        importance_exponent: β; 1 corrects the bias fully. A schedule raises it to 1.
    """

    def __init__(self, *args: Any, exponent: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.exponent = exponent
        self.importance_exponent = 1.0
        self.tree = SumTree(self.num_envs * self.slots)  # of pᵅ, at lane · slots + slot
        self.largest = 1.0  # p

    def _write(self, lanes: NDArray[np.intp], *args: Any, starts: bool, **kwargs: Any) -> None:
        indices = lanes * self.slots + self.cursors[lanes]
        super()._write(lanes, *args, starts=starts, **kwargs)
        self.tree.set(indices, 0.0 if starts else self.largest**self.exponent)

    def update_priorities(self, indices: NDArray[np.int64], errors: Any) -> None:
        """Set the priorities of the transitions at ``indices`` [B] to their |δ|, a tensor [B]."""
        priorities = np.abs(errors.cpu().numpy()).astype(np.float64) + LEAST_PRIORITY
        self.largest = max(self.largest, float(priorities.max()))
        self.tree.set(indices, priorities**self.exponent)

    def state_dict(self) -> dict[str, Any]:
        """See ReplayMemory."""
        return dict(
            super().state_dict(),
            priorities=self.tree.get(self._every()),
            largest=self.largest,
            exponent=float(self.exponent),
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See ReplayMemory."""
        super().load_state_dict(state)
        if (state["priorities"] < 0).any():
            raise ValueError("priorities below 0")
        if not 0 <= state["exponent"] <= 2:
            raise ValueError("an exponent out of range")
        self.tree.set_all(state["priorities"])
        self.largest, self.exponent = state["largest"], state["exponent"]

    def _every(self) -> NDArray[np.int64]:
        """Return the index of every slot."""
        return np.arange(self.num_envs * self.slots)

    def set_exponent(self, exponent: float) -> None:
        """Set α; called by a schedule. It takes some ms, so it is done in steps of EXPONENT_STEP.

        Of what is stored, pᵅ, the new power is (pᵅ)^(new α / α). After α = 0 every p counts as 1.
        """
        ends = exponent == 0 != self.exponent
        if ends or abs(exponent - self.exponent) >= EXPONENT_STEP:
            stored = self.tree.get(self._every())
            power = exponent / self.exponent if self.exponent else 1.0
            self.tree.set_all(np.where(stored > 0, stored**power, 0.0))  # 0 is no transition
            self.exponent = exponent

    def set_importance_exponent(self, importance_exponent: float) -> None:
        """Set β; called by a schedule."""
        self.importance_exponent = importance_exponent

    def sample(self, batch_size: int) -> Batch:
        """Draw ``batch_size`` transitions by priority, one from each equal part of the sum.

        Raises:
            ValueError: the memory holds no transition.
        """
        batch = super().sample(batch_size)
        shares = self.tree.get(batch.indices) / self.tree.total
        weights = (self.count * shares) ** -self.importance_exponent
        return batch._replace(weights=(weights / weights.max()).astype(np.float32))

    def _draw(self, batch_size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return (lanes [B], ages [B]) of valid transitions; invalid ones are redrawn."""
        if not self.can_sample():
            raise ValueError("the replay memory holds no transition to sample")
        drawn = (np.arange(batch_size) + self.rng.random(batch_size)) / batch_size
        lanes = ages = np.zeros(batch_size, np.int64)
        again = np.ones(batch_size, np.bool_)
        for _ in range(MOST_ROUNDS):
            found_lanes, slots = np.divmod(
                self.tree.find(drawn[again] * self.tree.total), self.slots
            )
            lanes, ages = lanes.copy(), ages.copy()
            lanes[again] = found_lanes
            ages[again] = (
                slots - self.cursors[found_lanes] + self.filled[found_lanes]
            ) % self.slots
            again = ~self._valid(lanes, ages)
            if not again.any():
                return lanes, ages
            drawn = self.rng.random(batch_size)
        return super()._draw(batch_size)  # those with high priority are hardly ever valid
