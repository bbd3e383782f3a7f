"""Agent: the loop. It observes, acts, remembers and learns, and reports to callbacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from simple_dqn.callback import Callback as Callback
from simple_dqn.callback import Games, Phase
from simple_dqn.environment import GREEDY, Step
from simple_dqn.errors import UsageError

if TYPE_CHECKING:  # for types only: plotting statistics must not wait for torch
    from simple_dqn.deep_q_network import DeepQNetwork
    from simple_dqn.environment import Environment
    from simple_dqn.replay.state_buffer import StateBuffer
    from simple_dqn.replay_memory import ReplayMemory


class Agent:
    """Deep Q-learning with experience replay (Mnih et al. 2015, algorithm 1).

    Steps are counted over all N lanes: a step in each of 8 lanes is 8 steps.

    Args:
        environment: the games to train on.
        memory: the replay memory; None to only test and play.
        network: the Q-network.
        buffer: the current state of each lane.
        testing: (environment, buffer) of test phases; None: the same as in training.
        exploration_rate_test: ε while testing and playing.
        train_frequency, train_repeat: steps between updates, and updates then.
        batch_size: transitions per update.
        target_steps: training steps between updates of the target network; 0: never.
        concurrent: learn while the games play (Daley and Amato 2021), instead of after them.
        rng: the random generator of exploration.
        callbacks: notified of every phase, step and update, in this order.

    Attributes:
        phase: the current phase and its progress.
        games: the game that each lane plays and, in a test, the games that count.
        environment, buffer: those of the current phase.
        phase_memory: the replay memory if the current phase writes to it, else None.
        total_train_steps: training steps including the current one, excluding random steps.
        exploration_rate: ε of the last step.
        exploration_rate_train: ε of the next training step; set by a schedule.
    """

    def __init__(
        self, environment: Environment, memory: ReplayMemory | None, network: DeepQNetwork,
        buffer: StateBuffer, *, testing: tuple[Environment, StateBuffer] | None = None,
        exploration_rate_test: float, train_frequency: int, train_repeat: int, batch_size: int,
        target_steps: int, concurrent: bool = False, rng: np.random.Generator,
        callbacks: Sequence[Callback] = (),
    ) -> None:  # fmt: skip
        self.memory = self.phase_memory = memory
        self.network = network
        self.environment, self.buffer = self.training_lanes = environment, buffer
        self.testing_lanes = testing or self.training_lanes
        self.exploration_rate_test = exploration_rate_test
        self.train_frequency = train_frequency
        self.train_repeat = train_repeat
        self.batch_size = batch_size
        self.target_steps = target_steps
        self.concurrent = concurrent
        self.rng = rng
        self.callbacks = list(callbacks)
        self.total_train_steps = 0
        self.exploration_rate = self.exploration_rate_train = 1.0
        self.phase = Phase()
        self.games = Games(0, self.phase)  # none before the first phase

    @property
    def all_lanes(self) -> list[tuple[Environment, StateBuffer]]:
        """(environment, buffer) of training and, if they differ, of testing."""
        return list(dict.fromkeys((self.training_lanes, self.testing_lanes)))

    def train(self, steps: int, offline: bool = False) -> None:
        """Act, remember and learn for ``steps`` steps; offline: only learn, at the same pace."""
        self._begin("train", steps, offline=offline)
        while not self.games.complete():
            self.total_train_steps += self.environment.num_envs
            if not offline:
                self.act(self.exploration_rate_train)
            if self.concurrent:  # while the games play, so without this round's transitions
                self.learn()
            step = None if offline else self.observe()
            if not self.concurrent:
                self.learn()
            self._end_round(step)
        self._notify("on_phase_end")

    def learn(self) -> None:
        """Do the updates and the target copy that are due after a round of training steps."""
        assert self.memory is not None
        updates = self._passed(self.train_frequency) * self.train_repeat
        if updates and self.memory.can_sample():
            batch = self.memory.sample(updates * self.batch_size)
            errors = self.network.train(batch, updates)
            self.memory.update_priorities(batch.indices, errors)
            self._notify("on_train", errors)
        if self.target_steps and self._passed(self.target_steps):
            self.network.update_target_network()

    def act(self, exploration_rate: float) -> None:
        """Choose an action for every lane, greedy or random, and start taking it."""
        self.exploration_rate = exploration_rate
        environment, lanes = self.environment, slice(0, self.environment.num_envs)
        # Drawn for all lanes at once, so that the result does not depend on the groups.
        explore = self.rng.random(lanes.stop) < exploration_rate
        aside = self.concurrent and self.phase == "train"
        predict = self.network.act if aside else self.network.predict
        actions = self.rng.integers(len(environment.action_meanings), size=lanes.stop)
        # Callbacks that override actions get those of all lanes, so there is a single group then.
        overriding = [c for c in self.callbacks if type(c).on_act is not Callback.on_act]
        for group in (lanes,) if overriding else environment.groups:
            if environment.chooses and not overriding:
                actions[group][~explore[group]] = GREEDY
            elif not explore[group].all():
                greedy = predict(self.buffer.inputs[group]).argmax(axis=1)
                actions[group] = np.where(explore[group], actions[group], greedy)
            for callback in overriding:
                callback.on_act(self, actions)
            environment.send(group, actions[group])
        self._actions = actions

    def observe(self) -> Step:
        """Wait for the result of ``act``, update the states and store the transitions."""
        step = self.environment.receive()
        if self.phase_memory:
            self.phase_memory.add(self._actions, step.rewards, step.observations, step.terminals)
        self.buffer.add(step.observations)
        self._notify("on_step", step)
        return step

    def restart(self, lanes: NDArray[np.intp] | None) -> None:
        """Start the next episode in ``lanes``; None: a new game in all lanes."""
        if lanes is not None and not len(lanes):
            return
        observations = self.environment.restart(lanes)
        self.buffer.restart(lanes, observations)
        if self.phase_memory:
            self.phase_memory.restart(lanes, observations)

    def play_random(self, steps: int, refill: bool = False) -> None:
        """Fill the replay memory with ``steps`` random steps; refill: with the current ε."""
        self._begin("random", steps)
        while not self.games.complete():
            self.act(self.exploration_rate_train if refill else 1.0)
            self._end_round(self.observe())
        self._notify("on_phase_end")

    def test(self, steps: int = 0, games: int = 0) -> None:
        """Play without learning, for ``steps`` steps or for ``games`` complete games."""
        self._play("test", 0 if games else steps, games)

    def play(self, games: int) -> None:
        """Play ``games`` complete games without learning; a replay memory stores them."""
        self._play("play", 0, games)

    def _play(self, name: str, steps: int, games: int) -> None:
        self._begin(name, steps, games)
        while not self.games.complete():
            self.act(self.exploration_rate_test)
            step = self.observe()
            self.games.add(step.game_overs | step.truncateds)
            self._end_round(step)
        self._notify("on_phase_end")

    def _begin(self, name: str, steps: int, games: int = 0, offline: bool = False) -> None:
        """Start a phase with new games in all lanes, or continue one from a checkpoint."""
        resumed = self.phase.resumed
        if resumed and self.phase.name != name:
            raise UsageError(f"the checkpoint is in phase '{self.phase}', which the options skip")
        self.environment, self.buffer = self._lanes_of(name)
        self.environment.training = name in ("random", "train")
        self.phase_memory = None if name == "test" or offline else self.memory
        self.environment.remembered = self.phase_memory is not None
        self.phase = self.phase if resumed else Phase(name)
        self.phase.steps, self.phase.games, self.phase.offline = steps, games, offline
        self.phase.resumed = False
        if not resumed:
            self.games = Games(self.environment.num_envs, self.phase)
        self._notify("on_phase_start")
        if self.phase.new_games:
            self.restart(None)

    def _end_round(self, step: Step | None) -> None:
        if step is not None:  # last: in a tiny memory, a first screen overwrites the step itself
            self.restart(np.flatnonzero((step.terminals | step.truncateds) & self.games.active))
        self.phase.rounds += 1
        self._notify("on_round_end")

    def _notify(self, event: str, *what: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self, *what)

    def state_dict(self) -> dict[str, Any]:
        """Return what the loop needs to resume; ``storage.run_state`` adds the games."""
        return dict(
            phase=self.phase.name,
            rounds=self.phase.rounds,
            total_train_steps=self.total_train_steps,
            exploration_rate=float(self.exploration_rate),
            exploration_rate_train=float(self.exploration_rate_train),
            generator=self.rng.bit_generator.state,
            **self.games.state_dict(),
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned; the next phase continues from there."""
        self.phase = Phase(state["phase"], rounds=state["rounds"], resumed=True, new_games=False)
        self.environment, self.buffer = self._lanes_of(self.phase.name)
        self.games = Games(self.environment.num_envs, self.phase)
        self.games.load_state_dict(state)
        self.total_train_steps = state["total_train_steps"]
        self.exploration_rate = state["exploration_rate"]
        self.exploration_rate_train = state["exploration_rate_train"]
        self.rng.bit_generator.state = state["generator"]

    def _lanes_of(self, phase: str) -> tuple[Environment, StateBuffer]:
        return self.testing_lanes if phase == "test" else self.training_lanes

    def _passed(self, every: int) -> int:
        """Return how many multiples of ``every`` the training steps passed in this round."""
        before = self.total_train_steps - self.environment.num_envs
        return self.total_train_steps // every - before // every
