"""ParallelEnvironment: lanes distributed over worker processes.

Processes, because emulators hold Python's global lock while they run. Results are written to shared
memory; each round, a message wakes each worker and another reports that it is done. In tests each
worker has a copy of the Q-network, so that none waits while another's actions are chosen.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from simple_dqn.environment import GREEDY, Environment, NotRepeatableError, Step, lane_seeds
from simple_dqn.errors import UsageError
from simple_dqn.storage.states import conform

Make = Callable[[np.random.SeedSequence], Environment]

FLAGS = ("terminals", "truncateds", "game_overs")
CLOSE_TIMEOUT = 5.0  # seconds for a process to close its games


class Player(Protocol):
    """Chooses the greedy actions of a worker's lanes; see ``callbacks.test_players.TestPlayer``."""

    def actions(self) -> NDArray[np.int64]:
        """Return the best action in each lane."""

    def restart(self, lanes: NDArray[np.intp], observations: NDArray[Any]) -> None:
        """See StateBuffer."""

    def add(self, observations: NDArray[Any]) -> None:
        """See StateBuffer."""

    def load(self, states: NDArray[Any]) -> None:
        """See StateBuffer."""

    def load_weights(self, weights: dict[str, Any]) -> None:
        """Set the weights of the Q-network."""


class Shared(NamedTuple):
    """The results of N lanes: raw buffers that can be passed to a new process."""

    observations: Any  # observation_dtype [N, *observation_shape]
    rewards: Any  # float64 [N]
    flags: Any  # bool [3, N], see FLAGS


class ParallelEnvironment(Environment):
    """N lanes, each an environment of one game, in worker processes.

    Lane i plays the same as lane i of that environment in this process, if its lanes are seeded by
    ``lane_seeds``, as ours are. So results do not depend on the number of workers.

    Args:
        make: makes the environment of one lane from its seed; it is pickled for the workers.
        num_envs: N.
        seed: see ``lane_seeds``.
        workers: processes, at most one per lane; started by the first ``restart``.

    Attributes:
        together: whether all processes get their actions at once, from a single prediction;
            otherwise one after the other, so that the first play while the next are chosen.
        make_player: makes the player of a worker from one of its games and the number of its
            lanes; None: the workers do not choose actions.

    Raises:
        UsageError: the game cannot be made. Also raised by any method.
        ChildProcessError: a process has died. Raised by any method.
    """

    def __init__(
        self, make: Make, num_envs: int, seed: np.random.SeedSequence, workers: int
    ) -> None:
        pattern = make(np.random.SeedSequence(0))
        self.num_envs = num_envs
        self.action_meanings = pattern.action_meanings
        self.observation_shape = pattern.observation_shape
        self.observation_dtype = pattern.observation_dtype
        self.frames_per_second, self.pixel_aspect = pattern.frames_per_second, pattern.pixel_aspect
        pattern.close()

        self.make, self.workers = make, min(workers, num_envs)
        self.seeds = lane_seeds(seed, num_envs)
        self.lanes = np.array_split(np.arange(num_envs), self.workers)
        self.connections: list[Connection[Any, Any]] = []
        self.processes: list[Any] = []
        self.together = False
        self.make_player: Callable[[Environment, int], Player] | None = None

    def _start(self) -> None:
        """Start the processes, not before the games are needed."""
        # Not forked: a fork copies the locks of this process's threads, but not the threads.
        context = multiprocessing.get_context("spawn")
        n, shape, dtype = self.num_envs, self.observation_shape, self.observation_dtype
        shared = Shared(
            context.RawArray("B", n * int(np.prod(shape)) * dtype.itemsize),
            context.RawArray("B", n * 8),
            context.RawArray("B", n * len(FLAGS)),
        )
        self.observations, self.rewards, self.flags = _arrays(shared, n, shape, dtype)
        # Only the training process handles signals, including those sent to the process group:
        # workers inherit that they are blocked and exit when the pipe closes. Starting
        # multiprocessing's resource tracker unblocks them, so it is started first.
        resource_tracker.ensure_running()
        stops = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, stops)
        try:
            for lanes in self.lanes:
                ours, theirs = context.Pipe()
                seeds = [self.seeds[lane] for lane in lanes]
                process = context.Process(
                    target=_work, daemon=True,
                    args=(self.make, self.make_player, seeds, lanes, n, shared, theirs),
                )  # fmt: skip
                process.start()
                theirs.close()  # so that the pipe closes when the process ends
                self.connections.append(ours)
                self.processes.append(process)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self._wait(range(len(self.lanes)))

    def restart(self, lanes: NDArray[np.intp] | None = None) -> NDArray[Any]:
        """See Environment."""
        if not self.processes:
            self._start()
        asked = []
        for worker, own in enumerate(self.lanes):
            chosen = own if lanes is None else np.intersect1d(own, lanes)
            if len(chosen):
                self._ask(worker, "restart", chosen, lanes is None)
                asked.append(worker)
        self._wait(asked)
        return self.observations.copy() if lanes is None else self.observations[lanes]

    @property
    def chooses(self) -> bool:  # type: ignore[override]
        """See Environment."""
        return self.make_player is not None

    def load_players(self, weights: dict[str, Any], states: NDArray[Any]) -> None:
        """Give the workers the weights of the Q-network and the current states, [N, H, *shape]."""
        if not self.processes:
            self._start()
        for worker, own in enumerate(self.lanes):
            self._ask(worker, "load_player", weights, states[own])
        self._wait(range(len(self.lanes)))

    @property
    def groups(self) -> Sequence[slice]:
        """See Environment: the lanes of each process, or all."""
        return super().groups if self.together else self._parts()

    def _parts(self) -> list[slice]:
        """Return the lanes of each process."""
        return [slice(int(own[0]), int(own[-1]) + 1) for own in self.lanes]

    def send(self, lanes: slice, actions: NDArray[np.int64]) -> None:
        """See Environment."""
        for worker, group in enumerate(self._parts()):
            if lanes.start <= group.start < lanes.stop:
                own = actions[group.start - lanes.start : group.stop - lanes.start]
                self._ask(worker, "act", own)

    def receive(self) -> Step:
        """See Environment."""
        self._wait(range(len(self.lanes)))
        return Step(self.observations.copy(), self.rewards.copy(), *self.flags.copy())

    def act(self, actions: NDArray[np.integer[Any]]) -> Step:
        """See Environment."""
        self.send(slice(0, self.num_envs), np.asarray(actions, np.int64))
        return self.receive()

    def state_dict(self) -> dict[str, Any] | None:
        """See Environment."""
        if not self.processes:  # nothing was played: new games start the same way
            return None
        everyone = range(len(self.lanes))
        for worker in everyone:
            self._ask(worker, "state_dict")
        lanes = [state for states in self._wait(everyone) for state in states]
        return None if None in lanes else dict(lanes=lanes, observations=self.observations.copy())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See Environment."""
        if not self.processes:
            self._start()
        own_state = dict(lanes=[None] * self.num_envs, observations=self.observations)
        state = conform(state, own_state)
        self.observations[...] = state["observations"]
        for worker, own in enumerate(self.lanes):
            self._ask(worker, "load_state_dict", [state["lanes"][lane] for lane in own])
        self._wait(range(len(self.lanes)))

    def screen(self) -> NDArray[np.uint8]:
        """See Environment."""
        if self.processes:
            self._ask(0, "screen")
            picture: NDArray[np.uint8] | None = self._wait([0])[0]
            if picture is not None:
                return picture
        return super().screen()

    def _ask(self, worker: int, task: str, *arguments: Any) -> None:
        """Send a task to a worker, see ``_Worker``."""
        try:
            self.connections[worker].send((self.training, self.remembered, task, arguments))
        except OSError as error:
            raise ChildProcessError("a process that played games has died") from error

    def _wait(self, workers: Any) -> list[Any]:
        """Wait until these workers have completed their tasks; return their results."""
        errors, answers = [], []
        for worker in workers:
            try:
                error, answer = self.connections[worker].recv()
            except (EOFError, OSError) as death:
                raise ChildProcessError("a process that played games has died") from death
            errors += [error] if error is not None else []
            answers.append(answer)
        if errors:
            raise errors[0]
        return answers

    def close(self) -> None:
        """Let the processes close their games and exit."""
        for connection in self.connections:
            connection.close()
        for process in self.processes:
            process.join(CLOSE_TIMEOUT)
            if process.is_alive():
                process.kill()
        self.connections, self.processes = [], []


def _arrays(
    shared: Shared, num_envs: int, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> tuple[NDArray[Any], NDArray[np.float64], NDArray[np.bool_]]:
    """Return (observations, rewards, flags), each with its type and shape."""
    return (
        np.frombuffer(shared.observations, dtype).reshape(num_envs, *shape),
        np.frombuffer(shared.rewards, np.float64),
        np.frombuffer(shared.flags, np.bool_).reshape(len(FLAGS), num_envs),
    )


def _work(
    make: Make,
    make_player: Callable[[Environment, int], Player] | None,
    seeds: list[np.random.SeedSequence],
    lanes: NDArray[np.intp],
    num_envs: int,
    shared: Shared,
    connection: Connection[Any, Any],
) -> None:
    """Play the games of ``lanes`` by the tasks from the pipe, until it is closed."""
    games: list[Environment] = []
    try:
        games = [make(seed) for seed in seeds]
        shape, dtype = games[0].observation_shape, games[0].observation_dtype
        player = make_player(games[0], len(games)) if make_player else None
        worker = _Worker(games, player, lanes, *_arrays(shared, num_envs, shape, dtype))
        connection.send((None, None))
        while True:
            training, remembered, task, arguments = connection.recv()
            for game in games:
                game.training, game.remembered = training, remembered
            try:
                connection.send((None, getattr(worker, task)(*arguments)))
            except NotRepeatableError as error:  # new games are started instead
                connection.send((error, None))
    except (EOFError, OSError):
        pass  # the other end is closed: no more tasks
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        connection.send((error if isinstance(error, UsageError) else UsageError(text), None))
    finally:
        for game in games:
            game.close()


class _Worker:
    """The tasks of a process, on its ``games``, those of ``lanes``."""

    def __init__(
        self,
        games: list[Environment],
        player: Player | None,
        lanes: NDArray[np.intp],
        observations: NDArray[Any],
        rewards: NDArray[np.float64],
        flags: NDArray[np.bool_],
    ) -> None:
        self.games = dict(zip(map(int, lanes), games, strict=True))
        self.lanes, self.player = lanes, player
        self.observations, self.rewards, self.flags = observations, rewards, flags

    def load_player(self, weights: dict[str, Any], states: NDArray[Any]) -> None:
        """Set the weights of the Q-network and the current states of the lanes, [n, H, *shape]."""
        assert self.player
        self.player.load_weights(weights)
        self.player.load(states)

    def act(self, actions: NDArray[np.integer[Any]]) -> None:
        """Act once in each game and write the results to shared memory."""
        if self.player and (actions == GREEDY).any():
            actions = np.where(actions == GREEDY, self.player.actions(), actions)
        for index, (lane, game) in enumerate(self.games.items()):
            step = game.act(actions[index : index + 1])
            self.observations[lane] = step.observations[0]
            self.rewards[lane] = step.rewards[0]
            self.flags[:, lane] = step.terminals[0], step.truncateds[0], step.game_overs[0]
        if self.player:
            self.player.add(self.observations[self.lanes])

    def restart(self, lanes: NDArray[np.intp], new: bool) -> None:
        """Restart some games; new: start new games, finished or not."""
        for lane in map(int, lanes):
            game = self.games[lane]
            self.observations[lane] = game.restart(None if new else np.zeros(1, np.intp))[0]
        if self.player:
            self.player.restart(lanes - self.lanes[0], self.observations[lanes])

    def screen(self) -> NDArray[np.uint8] | None:
        """Return the screen of the first game; None if it draws none."""
        try:
            return next(iter(self.games.values())).screen()
        except (NotImplementedError, UsageError):
            return None

    def state_dict(self) -> list[dict[str, Any] | None]:
        """Return the state of each lane."""
        states = [game.state_dict() for game in self.games.values()]
        return [state and state["lanes"][0] for state in states]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Restore the state of each lane."""
        for (lane, game), state in zip(self.games.items(), states, strict=True):
            observations = self.observations[lane : lane + 1]
            game.load_state_dict(dict(lanes=[state], observations=observations))
