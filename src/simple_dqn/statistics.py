"""Statistics: the callback that counts games, scores, Q-values and costs: a CSV row a phase."""

from __future__ import annotations

import csv
import io
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simple_dqn.agent import Agent, Callback
from simple_dqn.errors import UsageError
from simple_dqn.files import naming, set_aside, write_atomically
from simple_dqn.state import State, counted, fill, listed, typed
from simple_dqn.structures import Step

# The original's 16 columns in its order, then ours.
COLUMNS = (
    "epoch",
    "phase",  # random, train, test or play
    "steps",  # agent steps in the phase, over all lanes; of a test those that count
    "nr_games",  # games that ended in the phase; a lost life ends none
    "average_reward",  # mean raw score of those games; nan if none ended
    "min_game_reward",
    "max_game_reward",
    "last_exploration_rate",  # ε of the phase's last step; nan offline
    "total_train_steps",
    "replay_memory_count",  # transitions held
    "meanq",  # mean over held-out states of max Q; nan without such states
    "meancost",  # mean over the phase of ½δ², before clipping; 0 without an update
    "weight_updates",  # in all
    "total_time",  # seconds since the run began
    "epoch_time",  # seconds of the phase
    "steps_per_second",
    "std_game_reward",  # standard deviation of the scores (divided by n)
    "mean_game_steps",  # agent steps of a game
)
PHASES = ("random", "train", "test", "play")  # in the order of an epoch
TIME_COLUMNS = ("total_time", "epoch_time", "steps_per_second")

Row = dict[str, Any]


class Statistics(Callback):
    """Counts what happens in a phase and makes a row of it at its end.

    Args:
        validation_size: held-out states for the column meanq, drawn from the replay memory when
            a phase first ends with something in it.
        on_row: told each new row: the CSV file, TensorBoard, a log.

    Attributes:
        epoch: the number that the next rows get.
        row: the last row.
        start_time: when the run began, on the clock of ``time.perf_counter``.
        game_rewards: raw scores of the games that ended in this phase; after a test of so many
            steps only those that count, see ``Agent.test``.
    """

    def __init__(
        self,
        validation_size: int,
        on_row: tuple[Callable[[Row], None], ...] = (),
    ) -> None:
        self.validation_size = validation_size
        self.validation_states: NDArray[Any] | None = None
        self.on_row = on_row
        self.epoch = 0
        self.row: Row = {}
        self.scores = np.zeros(0)  # of the games being played, [N]
        self.lengths = np.zeros(0, np.int64)
        self.game_rewards: list[float] = []
        self.game_steps: list[int] = []
        self.game_numbers: list[int] = []
        self.steps = self.steps_before = 0  # done in this phase; training steps before it
        self.start_time = time.perf_counter()
        self.phase_start_time = self.start_time

    def on_phase_start(self, agent: Agent) -> None:
        """Forget the phase before, but not one that goes on."""
        if agent.rounds:
            if agent.begins_anew:
                self.scores[:], self.lengths[:] = 0, 0
            return
        self.scores = np.zeros(agent.environment.num_envs)
        self.lengths = np.zeros(agent.environment.num_envs, np.int64)
        self.game_rewards, self.game_steps, self.game_numbers = [], [], []
        self.steps, self.steps_before = 0, agent.total_train_steps
        self.phase_start_time = time.perf_counter()

    def on_step(self, agent: Agent, step: Step) -> None:
        """Add up the scores; close the games that are over or cut off."""
        self.steps += int(agent.active.sum())
        self.scores += step.rewards
        self.lengths += agent.active
        for lane in np.flatnonzero((step.game_overs | step.truncateds) & agent.active):
            self.game_rewards.append(float(self.scores[lane]))
            self.game_steps.append(int(self.lengths[lane]))
            self.game_numbers.append(int(agent.game_numbers[lane]))
            self.scores[lane] = self.lengths[lane] = 0

    def on_train(self, agent: Agent, errors: Any) -> None:
        """Count the steps of learning offline, in which nobody acts."""
        if agent.offline:
            self.steps = agent.total_train_steps - self.steps_before

    def on_phase_end(self, agent: Agent) -> None:
        """Make the row of the phase and pass it on."""
        memory, network = agent.memory, agent.network
        self.on_train(agent, None)  # the steps after the last update, too
        now = time.perf_counter()
        if self.validation_states is None and memory is not None and agent.phase != "play":
            self.validation_states = (
                memory.sample_states(self.validation_size) if memory.can_sample() else None
            )
        played = self.steps
        if agent.phase == "test" and agent.phase_steps:
            self._put_end_to_end(agent.phase_steps)
        rewards = np.array(self.game_rewards)
        games = len(rewards)
        self.row = dict(
            epoch=self.epoch,
            phase=agent.phase,
            steps=self.steps,
            nr_games=games,
            average_reward=float(rewards.mean()) if games else float("nan"),
            min_game_reward=float(rewards.min()) if games else float("nan"),
            max_game_reward=float(rewards.max()) if games else float("nan"),
            last_exploration_rate=float("nan") if agent.offline else agent.exploration_rate,
            total_train_steps=agent.total_train_steps,
            replay_memory_count=memory.count if memory is not None else 0,
            meanq=self._meanq(agent),
            meancost=network.mean_cost(),
            weight_updates=network.weight_updates,
            total_time=now - self.start_time,
            epoch_time=now - self.phase_start_time,
            steps_per_second=played / max(now - self.phase_start_time, 1e-9),
            std_game_reward=float(rewards.std()) if games else float("nan"),
            mean_game_steps=float(np.mean(self.game_steps)) if games else float("nan"),
        )
        for tell in self.on_row:
            tell(self.row)

    def state_dict(self) -> State:
        """Return what counting goes on from, see ``state``."""
        now = time.perf_counter()
        return dict(
            epoch=self.epoch,
            validation_states=self.validation_states,
            scores=self.scores.copy(),
            lengths=self.lengths.copy(),
            game_rewards=list(self.game_rewards),
            game_steps=list(self.game_steps),
            game_numbers=list(self.game_numbers),
            steps=self.steps,
            steps_before=self.steps_before,
            run_seconds=now - self.start_time,
            phase_seconds=now - self.phase_start_time,
        )

    def load_state_dict(self, state: State, agent: Agent) -> None:
        """See Callback."""
        self.epoch = counted(state["epoch"])
        self.validation_states = held_out = state["validation_states"]
        if held_out is not None:
            own = agent.buffer.states
            if not typed(held_out, np.ndarray).size or (held_out.shape[1:], held_out.dtype) != (
                own.shape[1:], own.dtype,
            ):  # fmt: skip
                raise ValueError("no states of this game")
        lanes = len(agent.active)
        self.scores, self.lengths = np.zeros(lanes), np.zeros(lanes, np.int64)
        fill(self.scores, state["scores"])
        fill(self.lengths, state["lengths"])
        games = len(state["game_rewards"])
        self.game_rewards = listed(state["game_rewards"], float, games)
        self.game_steps = [counted(n) for n in listed(state["game_steps"], int, games)]
        self.game_numbers = [counted(n) for n in listed(state["game_numbers"], int, games)]
        self.steps = counted(state["steps"])
        self.steps_before = counted(state["steps_before"])
        now = time.perf_counter()
        self.start_time = now - typed(state["run_seconds"], float)
        self.phase_start_time = now - typed(state["phase_seconds"], float)

    def _put_end_to_end(self, steps: int) -> None:
        """Keep the games that end within the first ``steps`` steps, one after another."""
        order = np.argsort(self.game_numbers)
        ends = np.cumsum(np.array(self.game_steps, np.int64)[order])
        # A game is behind one that was still running, if its number is not the next.
        known = np.array(self.game_numbers, np.int64)[order] == np.arange(len(order))
        counted = order[known & (ends <= steps)]
        self.game_rewards = [self.game_rewards[game] for game in counted]
        self.game_steps = [self.game_steps[game] for game in counted]
        self.steps = steps

    def _meanq(self, agent: Agent) -> float:
        """Return the mean of max Q over the held-out states, in batches that fit anywhere."""
        if self.validation_states is None:
            return float("nan")
        states = self.validation_states
        maxq = [
            agent.network.predict(states[i : i + 100]).max(axis=1)
            for i in range(0, len(states), 100)
        ]
        return float(np.concatenate(maxq).mean())


class CSVFile:
    """The statistics of a run on disk: a header, then one row a phase, each flushed.

    Args:
        path: the file.
        keep_before: None for a new file; else go on with an existing one behind the rows that come
            before this (epoch, phase).
        drop_others: the other rows are going to be written again; else, if there are any, the whole
            file is set aside first.

    Attributes:
        total_time: seconds of the run so far, from the last row kept.

    Raises:
        UsageError: the existing file is no statistics file.
    """

    def __init__(
        self,
        path: Path,
        keep_before: tuple[int, str] | None = None,
        drop_others: bool = False,
    ) -> None:
        self.path = path
        self.total_time = 0.0
        self.backup: Path | None = None
        rows: list[Row] = []
        if keep_before is not None and path.exists():
            epoch, phase = keep_before
            bound = epoch, PHASES.index(phase)
            try:
                every = read_csv(path)
            except UsageError as error:
                raise UsageError(f"{error}: move it away to go on") from None
            rows = [r for r in every if (int(r["epoch"]), PHASES.index(r["phase"])) < bound]
            self.total_time = float(rows[-1]["total_time"]) if rows else 0.0
            if len(rows) < len(every) and not drop_others:
                self.backup = set_aside(path)
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(path, text.getvalue().encode())

    def __call__(self, row: Row) -> None:
        """Append a row and make sure that it is on the disk."""
        with naming(self.path), open(self.path, "a", newline="") as file:
            csv.DictWriter(file, COLUMNS, lineterminator="\n").writerow(row)
            file.flush()
            os.fsync(file.fileno())


def read_csv(path: Path) -> list[Row]:
    """Return the rows of a statistics file as texts, without a half-written last one.

    Raises:
        UsageError: it is no statistics file.
    """
    try:
        lines = path.read_text().splitlines(keepends=True)
        reader = csv.DictReader(line for line in lines if line.endswith("\n"))
        if list(reader.fieldnames or ())[:16] != list(COLUMNS[:16]):
            raise UsageError(f"'{path}' is no statistics file of Simple DQN")
        rows = list(reader)
        for row in rows:
            int(row["epoch"]), float(row["total_time"]), float(row["average_reward"])
            if row["phase"] not in PHASES:
                raise ValueError(f"no phase '{row['phase']:.20}'")
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise UsageError(f"'{path}' is damaged ({error})") from None
    return [{column: row.get(column, "") for column in COLUMNS} for row in rows]


class TensorBoard:
    """Mirrors every row as TensorBoard scalars, tagged <phase>/<column>.

    Raises:
        UsageError: the extra is not installed.
    """

    def __init__(self, folder: str) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UsageError(
                f"--tensorboard needs the package tensorboard: "
                f"{sys.executable} -m pip install tensorboard"
            ) from None
        self.writer = SummaryWriter(folder)

    def __call__(self, row: Row) -> None:
        """Write the row's numbers at its count of training steps."""
        for column, value in row.items():
            if column not in ("epoch", "phase") and value == value:  # nan has nothing to show
                tag, step = f"{row['phase']}/{column}", row["total_train_steps"]
                self.writer.add_scalar(tag, value, step)
        self.writer.flush()
