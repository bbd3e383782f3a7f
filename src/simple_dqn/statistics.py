"""Statistics: the callback that tracks games, scores, Q-values and costs, a row per phase."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simple_dqn.agent import Agent
from simple_dqn.callback import Callback
from simple_dqn.environment import Step

# The original's 16 columns in its order, then ours.
COLUMNS = (
    "epoch",
    "phase",  # random, train, test or play
    "steps",  # agent steps in the phase, over all lanes; in a test those that count
    "nr_games",  # games that ended in the phase; losing a life does not end one
    "average_reward",  # mean raw score of those games; nan if none ended
    "min_game_reward",
    "max_game_reward",
    "last_exploration_rate",  # ε of the phase's last step; nan offline
    "total_train_steps",
    "replay_memory_count",  # transitions held
    "meanq",  # mean over held-out states of max Q; nan without such states
    "meancost",  # mean over the phase of ½δ², before clipping; 0 without an update
    "weight_updates",  # in total
    "total_time",  # seconds since the run started
    "epoch_time",  # seconds of the phase
    "steps_per_second",
    "std_game_reward",  # standard deviation of the scores (divided by n)
    "mean_game_steps",  # agent steps per game
    "dead_filters",  # share of the convolutions' filters that are 0 in all states lately stored
    "dead_units",  # share of such hidden units; nan after phases other than training
)
RECENT = 512  # states, spread over the last 4096 steps, in which filters and units must fire
PHASES = ("random", "train", "test", "play")  # in the order of an epoch
TIME_COLUMNS = ("total_time", "epoch_time", "steps_per_second")

Row = dict[str, Any]


class Pace(NamedTuple):
    """How far a phase is, and how fast."""

    done: int  # steps, or games in a phase of games
    total: int
    rate: float  # steps/s
    left: float  # seconds; infinite while nothing is done


class Statistics(Callback):
    """Collects the statistics of a phase and reports them as a row at its end.

    Args:
        validation_size: held-out states for the column meanq, drawn from the replay memory at
            the end of the first phase that leaves something to sample.
        on_row: called with each new row: the CSV file, TensorBoard, the log.

    Attributes:
        epoch: the epoch of the next rows.
        row: the last row.
        start_time: when the run started, by ``time.perf_counter``.
        game_rewards: raw scores of the games that ended in this phase; after a test by
            steps only those that count, see ``callback.Games``.
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
        """Reset the statistics, unless the phase is resumed."""
        if agent.phase.rounds:
            if agent.phase.new_games:
                self.scores[:], self.lengths[:] = 0, 0
            return
        self.scores = np.zeros(agent.environment.num_envs)
        self.lengths = np.zeros(agent.environment.num_envs, np.int64)
        self.game_rewards, self.game_steps, self.game_numbers = [], [], []
        self.steps, self.steps_before = 0, agent.total_train_steps
        self.phase_start_time = time.perf_counter()

    def on_step(self, agent: Agent, step: Step) -> None:
        """Add up the scores; record the games that are over or truncated."""
        self.steps += int(agent.games.active.sum())
        self.scores += step.rewards
        self.lengths += agent.games.active
        for lane in np.flatnonzero((step.game_overs | step.truncateds) & agent.games.active):
            self.game_rewards.append(float(self.scores[lane]))
            self.game_steps.append(int(self.lengths[lane]))
            self.game_numbers.append(int(agent.games.numbers[lane]))
            self.scores[lane] = self.lengths[lane] = 0

    def on_train(self, agent: Agent, errors: Any) -> None:
        """Count the steps of offline learning, where the agent does not act."""
        if agent.phase.offline:
            self.steps = agent.total_train_steps - self.steps_before

    def on_phase_end(self, agent: Agent) -> None:
        """Build the row of the phase and report it."""
        memory, network = agent.memory, agent.network
        self.on_train(agent, None)  # includes the steps after the last update
        now = time.perf_counter()
        if self.validation_states is None and memory is not None and agent.phase != "play":
            self.validation_states = (
                memory.sample_states(self.validation_size) if memory.can_sample() else None
            )
        played = self.steps
        if agent.phase == "test" and agent.phase.steps:
            self._keep(agent.games.counted(), agent.phase.steps)
        rewards = np.array(self.game_rewards)
        games = len(rewards)
        dead_filters, dead_units = self._dead(agent)
        self.row = dict(
            epoch=self.epoch,
            phase=agent.phase.name,
            steps=self.steps,
            nr_games=games,
            average_reward=float(rewards.mean()) if games else float("nan"),
            min_game_reward=float(rewards.min()) if games else float("nan"),
            max_game_reward=float(rewards.max()) if games else float("nan"),
            last_exploration_rate=float("nan") if agent.phase.offline else agent.exploration_rate,
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
            dead_filters=dead_filters,
            dead_units=dead_units,
        )
        for report in self.on_row:
            report(self.row)

    def pace(self, agent: Agent) -> Pace:
        """Return how far the current phase is, and how fast."""
        elapsed = max(time.perf_counter() - self.phase_start_time, 1e-9)
        done = self.steps if agent.phase.steps else len(self.game_rewards)
        total = agent.phase.steps or agent.phase.games
        left = elapsed * (total / done - 1) if done else float("inf")
        return Pace(done, total, self.steps / elapsed, left)

    def state_dict(self) -> dict[str, Any]:
        """Return what resuming needs, see ``storage.states``."""
        now = time.perf_counter()
        return dict(
            epoch=self.epoch,
            validation_states=self.validation_states,
            scores=self.scores.copy(),
            lengths=self.lengths.copy(),
            game_rewards=np.array(self.game_rewards, np.float64),
            game_steps=np.array(self.game_steps, np.int64),
            game_numbers=np.array(self.game_numbers, np.int64),
            steps=self.steps,
            steps_before=self.steps_before,
            run_seconds=now - self.start_time,
            phase_seconds=now - self.phase_start_time,
        )

    def load_state_dict(self, state: dict[str, Any], agent: Agent) -> None:
        """See Callback."""
        held_out, own = state["validation_states"], agent.buffer.states
        if held_out is not None and (
            not held_out.size or (held_out.shape[1:], held_out.dtype) != (own.shape[1:], own.dtype)
        ):
            raise ValueError("held-out states of another game")
        games = {len(state[name]) for name in ("game_rewards", "game_steps", "game_numbers")}
        lanes = {len(state[name]) for name in ("scores", "lengths")}
        if lanes != {len(agent.games.active)} or len(games) > 1:
            raise ValueError("scores of other lanes or games")
        self.epoch, self.validation_states = state["epoch"], held_out
        self.scores, self.lengths = state["scores"], state["lengths"]
        for name in ("game_rewards", "game_steps", "game_numbers"):
            setattr(self, name, state[name].tolist())
        self.steps, self.steps_before = state["steps"], state["steps_before"]
        now = time.perf_counter()
        self.start_time = now - state["run_seconds"]
        self.phase_start_time = now - state["phase_seconds"]

    def _keep(self, numbers: list[int], steps: int) -> None:
        """Keep only the games with these ``numbers``, in this order: those that count in a test."""
        places = [self.game_numbers.index(number) for number in numbers]
        self.game_rewards = [self.game_rewards[place] for place in places]
        self.game_steps = [self.game_steps[place] for place in places]
        self.steps = steps

    def _meanq(self, agent: Agent) -> float:
        """Return the mean of max Q over the held-out states."""
        if self.validation_states is None:
            return float("nan")
        return float(_maxq(agent, self.validation_states).mean())

    def _dead(self, agent: Agent) -> tuple[float, float]:
        """Return the shares of dead filters and hidden units, see ``networks.dormancy``."""
        memory = agent.memory
        if agent.phase != "train" or memory is None or not memory.can_sample():
            return float("nan"), float("nan")
        lanes = np.arange(RECENT) % memory.num_envs
        back = np.arange(RECENT) // memory.num_envs * 8
        states = memory.states(lanes, np.maximum(memory.filled[lanes] - 1 - back, 0))
        from simple_dqn.networks.dormancy import dead_shares  # plotting must not wait for torch

        return dead_shares(agent.network.network, lambda: _maxq(agent, states, hooks=True))


def _maxq(agent: Agent, states: NDArray[Any], hooks: bool = False) -> NDArray[np.float32]:
    """Return max Q of states, [n], in batches to limit memory; hooks: see ``predict``."""
    batches = [states[i : i + 100] for i in range(0, len(states), 100)]
    parts = [agent.network.predict(batch, hooks) for batch in batches]
    maxq: NDArray[np.float32] = np.concatenate(parts).max(axis=1)
    return maxq
