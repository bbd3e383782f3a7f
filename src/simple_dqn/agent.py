"""Agent: the loop. Observes, acts, remembers and learns; tells callbacks what happened."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from simple_dqn.environment import Step
from simple_dqn.errors import UsageError
from simple_dqn.state import (
    NotRepeatableError,
    State,
    counted,
    fill,
    generator_state,
    load_generator_state,
    typed,
)

if TYPE_CHECKING:  # what the loop is given; a plot of its statistics need not wait for torch
    from torch import Tensor

    from simple_dqn.deep_q_network import DeepQNetwork
    from simple_dqn.environment import Environment
    from simple_dqn.replay.state_buffer import StateBuffer
    from simple_dqn.replay_memory import ReplayMemory

logger = logging.getLogger(__name__)


class Callback:
    """What may watch the loop: statistics, progress, schedules, displays. All methods optional."""

    def on_phase_start(self, agent: Agent) -> None:
        """A phase begins: see ``agent.phase``, ``agent.phase_steps`` and ``agent.phase_games``.

        Or it goes on, from a checkpoint in its middle: then ``agent.rounds`` is more than 0.
        """

    def on_act(self, agent: Agent, actions: NDArray[np.int64]) -> None:
        """``actions`` are about to be done; what is written into them is done instead.

        They are those of all lanes, but where processes play in turns, of ``agent.acting``.
        """

    def on_step(self, agent: Agent, step: Step) -> None:
        """One step was done in every active lane; ``agent.exploration_rate`` is the ε used."""

    def on_train(self, agent: Agent, errors: Tensor) -> None:
        """One update was done; ``errors`` are its |TD error| [B], on the device."""

    def on_round_end(self, agent: Agent) -> None:
        """A step is done in all lanes, learnt from, and ended episodes have begun again.

        Between two rounds a run can be left and gone on with; what is raised here ends it.
        """

    def on_phase_end(self, agent: Agent) -> None:
        """A phase ends."""

    def state_dict(self) -> State:
        """Return what a callback of the user's goes on from, see ``state``: what it counts."""
        return {}

    def load_state_dict(self, state: State, agent: Agent) -> None:
        """Take in what ``state_dict`` returned; ``agent`` is in its state of then already."""


class Agent:
    """Q-learning with experience replay and ε-greedy exploration (Mnih et al. 2015, algorithm 1).

    Steps are counted over all N lanes: a step in each of 8 lanes is 8 steps.

    Args:
        environment: the games.
        memory: the replay memory; None to only test and play.
        network: the Q-network.
        buffer: the current state of each lane.
        testing: the games of the testing phases and their buffer; None for the same ones.
        exploration_rate_test: ε while testing and playing.
        train_frequency: steps from one update to the next.
        train_repeat: batches learnt at each update.
        batch_size: transitions in a batch.
        target_steps: training steps from one copy to the target network to the next; 0: never.
        rng: the generator of the exploration.
        callbacks: told about every phase, step and update, in this order.

    Attributes:
        environment, buffer: those of the phase.
        total_train_steps: training steps done so far, random ones not counted; in ``on_step`` the
            one of now is.
        exploration_rate_train: ε of the next training step; a schedule moves it.
        phase: "random", "train", "test" or "play".
        phase_steps, phase_games: what the phase is to last, the other is 0.
        rounds: of the phase, done so far; in a round each lane does a step.
        exploration_rate: the ε of the last step.
        acting: the lanes that choose their actions now, see ``Environment.follow``.
        offline: whether the phase learns without acting.
        active: [N] whether the lane still plays in this phase; the others count for nothing.
        game_numbers: [N] of a testing or playing phase: the number of the game in each lane, from
            0 in the order in which they begin.
        lengths: of a testing or playing phase: the steps of each game so far, by its number.
        begins_anew: whether the phase goes on from a checkpoint, but with other games.
    """

    def __init__(
        self,
        environment: Environment,
        memory: ReplayMemory | None,
        network: DeepQNetwork,
        buffer: StateBuffer,
        *,
        testing: tuple[Environment, StateBuffer] | None = None,
        exploration_rate_test: float,
        train_frequency: int,
        train_repeat: int,
        batch_size: int,
        target_steps: int,
        rng: np.random.Generator,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.memory = memory
        self.network = network
        self.environment, self.buffer = self.training_games = environment, buffer
        self.testing_games = testing or self.training_games
        self.exploration_rate_test = exploration_rate_test
        self.train_frequency = train_frequency
        self.train_repeat = train_repeat
        self.batch_size = batch_size
        self.target_steps = target_steps
        self.rng = rng
        self.callbacks = list(callbacks)
        self.total_train_steps = 0
        self.phase = ""
        self.phase_steps = self.phase_games = self.rounds = 0
        self.exploration_rate = self.exploration_rate_train = 1.0
        self.acting = slice(0, environment.num_envs)
        self.exploring = np.zeros(environment.num_envs, np.bool_)
        self.drawn_actions = np.zeros(environment.num_envs, np.int64)
        self.offline = False
        self.active = np.ones(environment.num_envs, np.bool_)
        self.game_numbers = np.arange(environment.num_envs)
        self.lengths: list[int] = []
        self._goes_on = self.begins_anew = False

    @property
    def environments(self) -> tuple[Environment, ...]:
        """The games of training and, if they are others, those of the testing phases."""
        training, testing = self.training_games[0], self.testing_games[0]
        return (training,) if testing is training else (training, testing)

    def toss(self) -> None:
        """Toss a coin for each lane and draw what it does if the coin falls below ε.

        For all at once: so what is played does not depend on how lanes take turns to act.
        """
        n, num_actions = self.environment.num_envs, len(self.environment.action_meanings)
        self.exploring = self.rng.random(n) < self.exploration_rate
        self.drawn_actions = self.rng.integers(num_actions, size=n)

    def act(self, lanes: slice) -> NDArray[np.int64]:
        """Choose an action for each of ``lanes``: the one drawn, or else the greedy one."""
        self.acting = lanes
        explore, actions = self.exploring[lanes], self.drawn_actions[lanes]
        if not explore.all():
            greedy = self.network.predict(self.buffer.states[lanes]).argmax(axis=1)
            actions = np.where(explore, actions, greedy)
        for callback in self.callbacks:
            callback.on_act(self, actions)
        return actions

    def step(self, exploration_rate: float, remember: bool) -> Step:
        """Act once in every lane, move the states on and, if told to, remember what happened."""
        self.exploration_rate = exploration_rate
        self.toss()
        actions, step = self.environment.follow(self.act)
        if remember and self.memory is not None:
            self.memory.add(actions, step.rewards, step.observations, step.terminals)
        self.buffer.add(step.observations)
        for callback in self.callbacks:
            callback.on_step(self, step)
        return step

    def restart(self, lanes: NDArray[np.intp] | None, remember: bool) -> None:
        """Begin the next episode in ``lanes``; None: a new game in all."""
        if lanes is not None and not len(lanes):
            return
        observations = self.environment.restart(lanes)
        self.buffer.restart(lanes, observations)
        if remember and self.memory is not None:
            self.memory.restart(lanes, observations)

    def play_random(self, steps: int, resuming: bool = False) -> None:
        """Fill the replay memory with ``steps`` random steps, when resuming with those of now."""
        self._start("random", steps=steps, remember=True)
        while self.rounds < self._rounds(steps):
            step = self.step(self.exploration_rate_train if resuming else 1.0, remember=True)
            self.restart(np.flatnonzero(step.terminals | step.truncateds), remember=True)
            self._end_round()
        self._end()

    def train(self, steps: int, offline: bool = False) -> None:
        """Act, remember and learn for ``steps`` steps; offline: only learn, at the same pace."""
        assert self.memory is not None
        self._start("train", steps=steps, remember=not offline, offline=offline)
        while self.rounds < self._rounds(steps):
            before = self.total_train_steps
            self.total_train_steps += self.environment.num_envs
            if not offline:
                step = self.step(self.exploration_rate_train, remember=True)

            if self.memory.can_sample():
                for _ in range(self._passed(self.train_frequency, before) * self.train_repeat):
                    batch = self.memory.sample(self.batch_size)
                    errors = self.network.train(batch)
                    self.memory.update_priorities(batch.indices, errors)
                    for callback in self.callbacks:
                        callback.on_train(self, errors)
            if self.target_steps and self._passed(self.target_steps, before):
                self.network.update_target_network()
            if not offline:  # last, for a memory so small that a restart overwrites the step
                self.restart(np.flatnonzero(step.terminals | step.truncateds), remember=True)
            self._end_round()
        self._end()

    def test(self, steps: int = 0, games: int = 0) -> None:
        """Play without learning: for ``steps`` steps, or else for ``games`` whole games.

        Any number of lanes gives the statistics of one game after another. What a game comes to
        does not depend on its number, so the games, put end to end in the order in which they
        began, are such a row of games; those that end within its first ``steps`` steps count. To
        count whatever ends first in any lane would prefer short games.
        """
        self._evaluate("test", steps, games)

    def play(self, games: int) -> None:
        """Play ``games`` whole games without learning.

        With a memory they are remembered as in training: a lost life is a terminal.
        """
        self._evaluate("play", 0, games, remember=self.memory is not None)

    def _evaluate(self, phase: str, steps: int, games: int, remember: bool = False) -> None:
        self._start(phase, steps=0 if games else steps, games=games, remember=remember)
        if not self.rounds:
            lanes = self.environment.num_envs
            self.active = np.arange(lanes) < (games or lanes)
            self.lengths = [0] * lanes
        while self.active.any() and (games or self._end_to_end() < steps):
            step = self.step(self.exploration_rate_test, remember)
            for number in self.game_numbers[self.active]:
                self.lengths[number] += 1
            for lane in np.flatnonzero((step.game_overs | step.truncateds) & self.active):
                if len(self.lengths) < games if games else sum(self.lengths) < steps:
                    self.game_numbers[lane] = len(self.lengths)
                    self.lengths.append(0)
                else:  # the lane stays where its last game ended
                    self.active[lane] = False
            ended = step.terminals | step.truncateds
            self.restart(np.flatnonzero(ended & self.active), remember)
            self._end_round()
        self._end()

    def _end_to_end(self) -> int:
        """Return the steps of the games up to the first one that is still played, itself too."""
        first = self.game_numbers[self.active].min(initial=len(self.lengths) - 1)
        return sum(self.lengths[: first + 1])

    def _start(
        self, phase: str, *, steps: int, games: int = 0, remember: bool, offline: bool = False
    ) -> None:
        """Begin a phase with new games in all lanes; or go on with one from a checkpoint."""
        if self._goes_on and phase != self.phase:
            raise UsageError(f"the checkpoint stands in a phase '{self.phase}', which is left out")
        # A test whose games cannot go on is done again, so that its scores are of whole games.
        goes_on = self._goes_on and not (self.begins_anew and phase in ("test", "play"))
        self._goes_on = False
        self.phase, self.phase_steps, self.phase_games = phase, steps, games
        self.offline = offline
        self.environment, self.buffer = (
            self.testing_games if phase == "test" else self.training_games
        )
        self.environment.training = phase in ("random", "train")
        self.environment.remembered = remember
        if not goes_on:
            self.rounds = 0
            self.active = np.ones(self.environment.num_envs, np.bool_)
            self.game_numbers = np.arange(self.environment.num_envs)
        for callback in self.callbacks:
            callback.on_phase_start(self)
        if not goes_on or self.begins_anew:
            self.restart(None, remember)

    def _end_round(self) -> None:
        self.rounds += 1
        for callback in self.callbacks:
            callback.on_round_end(self)

    def _end(self) -> None:
        for callback in self.callbacks:
            callback.on_phase_end(self)

    def state_dict(self) -> State:
        """Return what acting goes on from, see ``state``: between two rounds, or two phases."""
        games = [self.training_games, self.testing_games]
        return dict(
            phase=self.phase,
            rounds=self.rounds,
            total_train_steps=self.total_train_steps,
            exploration_rate=float(self.exploration_rate),
            exploration_rate_train=float(self.exploration_rate_train),
            active=self.active.copy(),
            game_numbers=self.game_numbers.copy(),
            lengths=list(self.lengths),
            generator=generator_state(self.rng),
            environments=[environment.state_dict() for environment in self.environments],
            states=[buffer.states.copy() for _, buffer in games[: len(self.environments)]],
        )

    def load_state_dict(self, state: State) -> None:
        """Take in what ``state_dict`` returned; the next phase goes on with the one of then."""
        self.phase = typed(state["phase"], str)
        self.rounds = counted(state["rounds"])
        self.total_train_steps = counted(state["total_train_steps"])
        self.exploration_rate = typed(state["exploration_rate"], float)
        self.exploration_rate_train = typed(state["exploration_rate_train"], float)
        games = self.testing_games if self.phase == "test" else self.training_games
        self.active = np.ones(games[0].num_envs, np.bool_)
        self.game_numbers = np.arange(games[0].num_envs)
        fill(self.active, state["active"])
        fill(self.game_numbers, state["game_numbers"])
        self.lengths = [counted(length) for length in typed(state["lengths"], list)]
        numbers = self.game_numbers
        if self.phase == "test" and not 0 <= numbers.min() <= numbers.max() < len(self.lengths):
            raise ValueError("games without a length")
        load_generator_state(self.rng, state["generator"])
        self._goes_on, self.begins_anew = True, False
        every = [self.training_games, self.testing_games][: len(self.environments)]
        for (environment, buffer), own, states in zip(
            every, state["environments"], state["states"], strict=True
        ):
            fill(buffer.states, states)
            try:
                if own is not None:
                    environment.load_state_dict(own)
                elif environment is games[0]:
                    raise NotRepeatableError("the environment does not tell its state")
            except NotRepeatableError as error:
                logger.warning("%s: new games begin in the place of those that went on", error)
                self.begins_anew |= environment is games[0]

    def _rounds(self, steps: int) -> int:
        """Rounds of all lanes that make at least ``steps`` steps."""
        return -(-steps // self.environment.num_envs)

    def _passed(self, every: int, before: int) -> int:
        """How many multiples of ``every`` the training steps have passed since ``before``."""
        return self.total_train_steps // every - before // every
