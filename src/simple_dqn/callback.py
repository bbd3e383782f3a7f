"""Callback: what watches the loop. Phase and Games: what it can ask the agent about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

    from simple_dqn.agent import Agent
    from simple_dqn.environment import Step


class Callback:
    """What watches the loop: statistics, progress, schedules, displays. All methods are optional.

    A round is one step in every lane. Between two rounds a run can be left and resumed.
    """

    def on_phase_start(self, agent: Agent) -> None:
        """A phase begins, see ``agent.phase``; if its ``rounds`` is not 0, it is resumed."""

    def on_act(self, agent: Agent, actions: NDArray[np.int64]) -> None:
        """``actions`` [N] are about to be taken; what is written into them is taken instead."""

    def on_step(self, agent: Agent, step: Step) -> None:
        """One step was taken in every active lane, with ``agent.exploration_rate``."""

    def on_train(self, agent: Agent, errors: Tensor) -> None:
        """One update was done; ``errors`` are its |TD error| [B], on the device."""

    def on_round_end(self, agent: Agent) -> None:
        """A round is complete: learnt from, ended episodes restarted. An exception leaves here."""

    def on_phase_end(self, agent: Agent) -> None:
        """A phase ends."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a custom callback needs to resume, such as counts; see ``storage.states``."""
        return {}

    def load_state_dict(self, state: dict[str, Any], agent: Agent) -> None:
        """Restore what ``state_dict`` returned; ``agent`` is restored already."""


@dataclass(eq=False)
class Phase:
    """A phase of a run and how far it is. It equals its name: ``agent.phase == "train"``.

    Attributes:
        name: "random", "train", "test" or "play"; empty before the first phase.
        steps, games: its length in agent steps over all lanes, or in games; the other one is 0.
        offline: whether it learns without acting.
        rounds: done so far; in a round each lane takes a step.
        resumed: whether it comes from a checkpoint and is still to be continued.
        new_games: whether it begins with new games; not if those of a checkpoint were restored.
    """

    name: str = ""
    steps: int = 0
    games: int = 0
    offline: bool = False
    rounds: int = 0
    resumed: bool = False
    new_games: bool = True

    def __eq__(self, other: object) -> bool:
        return self.name == (other.name if isinstance(other, Phase) else other)

    def __hash__(self) -> int:
        return hash(self.name)

    def __str__(self) -> str:
        return self.name


class Games:
    """The games of a phase: which lane plays which, and in a test, which of them count.

    Any number of lanes gives the statistics of one game after another. What a game comes to does
    not depend on its number. So the games, put end to end in the order in which they began, are
    such a row of games, and those count that end within its first ``phase.steps`` steps. To count
    whatever ends first in any lane would prefer short games.

    Args:
        num_envs: N, the number of lanes.
        phase: the phase whose games they are.

    Attributes:
        active: [N] whether the lane still plays; the others count for nothing.
        numbers: [N] the number of the game in each lane, from 0 in the order in which they begin.
        lengths: the steps of each game so far, by its number.
    """

    def __init__(self, num_envs: int, phase: Phase) -> None:
        self.phase = phase
        self.active: NDArray[np.bool_] = np.arange(num_envs) < (phase.games or num_envs)
        self.numbers = np.arange(num_envs)
        self.lengths = [0] * num_envs

    def add(self, ended: NDArray[np.bool_]) -> None:
        """Count a step of each active lane; a lane whose game has ``ended`` [N] plays another.

        If no other game is needed, the lane stays where its last one ended.
        """
        for number in self.numbers[self.active]:
            self.lengths[number] += 1
        for lane in np.flatnonzero(ended & self.active):
            limit = self.phase.games
            if len(self.lengths) < limit if limit else sum(self.lengths) < self.phase.steps:
                self.numbers[lane] = len(self.lengths)
                self.lengths.append(0)
            else:
                self.active[lane] = False

    def unfinished(self) -> bool:
        """Whether games that count are still played."""
        # End to end, only the steps up to the first running game, itself included, are settled.
        settled = sum(self.lengths[: self._first_running() + 1])
        return bool(self.active.any()) and (self.phase.games > 0 or settled < self.phase.steps)

    def counted(self) -> list[int]:
        """Return the numbers of the games that ended within the first ``phase.steps`` steps."""
        ends = np.cumsum(self.lengths[: self._first_running()])
        return list(range(int((ends <= self.phase.steps).sum())))

    def state_dict(self) -> dict[str, Any]:
        """Return what the games need to resume, see ``storage.states``."""
        lengths = np.array(self.lengths, np.int64)
        return dict(active=self.active.copy(), game_numbers=self.numbers.copy(), lengths=lengths)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned.

        Raises:
            ValueError: it is of other lanes, or of games that have no length.
        """
        active, numbers, lengths = state["active"], state["game_numbers"], state["lengths"]
        if not active.shape == numbers.shape == self.active.shape:
            raise ValueError(f"games of {len(active)} lanes, not {len(self.active)}")
        if self.phase == "test" and numbers.max() >= len(lengths):
            raise ValueError("a game without a length")
        self.active, self.numbers, self.lengths = active, numbers, lengths.tolist()

    def _first_running(self) -> int:
        """Return the number of the first game that is still played; behind the last if none is."""
        return int(self.numbers[self.active].min(initial=len(self.lengths)))
