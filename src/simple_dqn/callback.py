"""Callback: the interface for watching the loop. Phase and Games: the state of a phase."""

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
    """Base class of statistics, progress, schedules and displays. All methods are optional.

    A round is one step in every lane. A run can be interrupted and resumed between rounds.
    """

    def on_phase_start(self, agent: Agent) -> None:
        """Called when a phase starts, see ``agent.phase``; it is resumed if ``rounds`` is not 0."""

    def on_act(self, agent: Agent, actions: NDArray[np.int64]) -> None:
        """Called before ``actions`` [N] are taken; they can be changed in place."""

    def on_step(self, agent: Agent, step: Step) -> None:
        """Called after a step in every active lane, taken with ``agent.exploration_rate``."""

    def on_train(self, agent: Agent, errors: Tensor) -> None:
        """Called after the updates of a round; ``errors`` are their |TD error|, on the device.

        It is one, of B errors, unless there are more lanes than steps between updates.
        """

    def on_round_end(self, agent: Agent) -> None:
        """Called after updates and restarts. To end the run here as Ctrl-C does, with a checkpoint,
        call ``signal.raise_signal(signal.SIGINT)``.
        """

    def on_phase_end(self, agent: Agent) -> None:
        """Called when a phase ends."""

    def state_dict(self) -> dict[str, Any]:
        """Return what resuming needs, such as counts; see ``storage.states``."""
        return {}

    def load_state_dict(self, state: dict[str, Any], agent: Agent) -> None:
        """Restore what ``state_dict`` returned; ``agent`` has already been restored."""


@dataclass(eq=False)
class Phase:
    """A phase of a run and its progress. It compares equal to its name: ``phase == "train"``.

    Attributes:
        name: "random", "train", "test" or "play"; empty before the first phase.
        steps, games: its length, in agent steps over all lanes or in games; the other is 0.
        offline: whether it learns without acting.
        rounds: completed so far; in a round each lane takes one step.
        resumed: whether it was restored from a checkpoint and has not continued yet.
        new_games: whether it starts with new games; False if its games were restored.
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
    """The games of a phase: which lane plays which and, in a test, which of them count.

    The statistics are those of a single lane, however many lanes there are. The outcome of a game
    does not depend on its number, so the games can be laid end to end in the order in which they
    started, as if played one after another. Those that end within the first ``phase.steps`` steps
    count. Counting whichever games end first in any lane would favour short games. For example, two
    lanes play games 0 and 1; lane 1 ends first and starts game 2. If game 0 takes all the steps of
    the test, games 1 and 2 do not count, although they have ended.

    Args:
        num_envs: N, the number of lanes.
        phase: the phase whose games they are.

    Attributes:
        active: [N] whether the lane is still playing; the others are ignored.
        numbers: [N] the number of the game in each lane, from 0 in the order of their starts.
        lengths: the steps of each game so far, by number.
    """

    def __init__(self, num_envs: int, phase: Phase) -> None:
        self.phase = phase
        self.active: NDArray[np.bool_] = np.arange(num_envs) < (phase.games or num_envs)
        self.numbers = np.arange(num_envs)
        self.lengths = [0] * num_envs

    def add(self, ended: NDArray[np.bool_]) -> None:
        """Count a step in each active lane; a lane whose game has ``ended`` [N] plays another.

        If no more games are needed, the lane becomes inactive.
        """
        for number in self.numbers[self.active]:
            self.lengths[number] += 1
        for lane in np.flatnonzero(ended & self.active):
            by_games = len(self.lengths) < self.phase.games
            by_steps = not self.phase.games and sum(self.lengths) < self.phase.steps
            if by_games or by_steps:
                self.numbers[lane] = len(self.lengths)
                self.lengths.append(0)
            else:
                self.active[lane] = False

    def complete(self) -> bool:
        """Whether the phase has had its steps or games."""
        if self.phase.name in ("test", "play"):
            return not self.unfinished()
        return self.phase.rounds * len(self.active) >= self.phase.steps

    def unfinished(self) -> bool:
        """Whether a game that counts is still being played."""
        # Only the steps up to and including the first running game have a known position.
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
            ValueError: the number of lanes differs, or a game has no length.
        """
        active, numbers, lengths = state["active"], state["game_numbers"], state["lengths"]
        if not active.shape == numbers.shape == self.active.shape:
            raise ValueError(f"games of {len(active)} lanes, not {len(self.active)}")
        if self.phase.name == "test" and numbers.max() >= len(lengths):
            raise ValueError("a game without a length")
        self.active, self.numbers, self.lengths = active, numbers, lengths.tolist()

    def _first_running(self) -> int:
        """Return the number of the first running game; one past the last if none is running."""
        return int(self.numbers[self.active].min(initial=len(self.lengths)))
