"""Statistics: the callback that counts games, scores, Q-values and costs: a CSV row a phase."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simple_dqn.agent import Agent, Callback
from simple_dqn.environment import Step
from simple_dqn.state import State, counted, fill, listed, typed

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
