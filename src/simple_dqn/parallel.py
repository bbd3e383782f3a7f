"""ParallelEnvironment: the games of several lanes, shared out to processes.

Processes, because emulators hold Python's lock while they run. What they tell lies in memory that
all of them share; a message a round wakes each, another says that it has done its part.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simple_dqn.environment import Environment, Policy, lane_seeds
from simple_dqn.errors import UsageError
from simple_dqn.structures import Step

Make = Callable[[np.random.SeedSequence], Environment]

FLAGS = ("terminals", "truncateds", "game_overs")
GOODBYE = 5.0  # seconds that a process has to close its games


class Shared(NamedTuple):
    """What the processes tell, N lanes: buffers without a type, that travel to a new process."""

    observations: Any  # observation_dtype [N, *observation_shape]
    rewards: Any  # float32 [N]
    flags: Any  # bool [3, N], see FLAGS


class ParallelEnvironment(Environment):
    """N lanes, each an environment of one game, in worker processes.

    A lane plays what lane i of the same environment in this process would, if that seeds its lanes
    by ``lane_seeds``, as ours do: nothing depends on the number of workers.

    Args:
        make: makes the environment of one lane from its seed; it travels to the processes.
        num_envs: N.
        seed: see ``lane_seeds``.
        workers: processes, at most one a lane; they start with the first ``restart``.

    Raises:
        UsageError: the game cannot be made, or a process has died. Also later, from any method.
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

    def _start(self) -> None:
        """Start the processes: only now, as nobody may ever ask for these games."""
        # Not forked: the threads of this process would not come along, but their locks would.
        context = multiprocessing.get_context("spawn")
        n, shape, dtype = self.num_envs, self.observation_shape, self.observation_dtype
        shared = Shared(
            context.RawArray("B", n * int(np.prod(shape)) * dtype.itemsize),
            context.RawArray("B", n * 4),
            context.RawArray("B", n * len(FLAGS)),
        )
        self.observations, self.rewards, self.flags = _arrays(shared, n, shape, dtype)
        # Ctrl-C is for the process that trains: the others inherit that it is blocked.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            for lanes in self.lanes:
                ours, theirs = context.Pipe()
                seeds = [self.seeds[lane] for lane in lanes]
                process = context.Process(
                    target=_work, args=(self.make, seeds, lanes, n, shared, theirs), daemon=True
                )
                process.start()
                theirs.close()  # so that the end of the process ends the pipe
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
            chosen = None if lanes is None else np.intersect1d(own, lanes)
            if chosen is None or len(chosen):
                self._tell(worker, chosen, None)
                asked.append(worker)
        self._wait(asked)
        return self.observations[slice(None) if lanes is None else lanes].copy()

    def follow(self, policy: Policy) -> tuple[NDArray[np.int64], Step]:
        """See Environment: the games of one process go on while the next one's lanes choose."""
        actions = np.empty(self.num_envs, np.int64)
        for worker, own in enumerate(self.lanes):
            lanes = slice(own[0], own[-1] + 1)
            actions[lanes] = policy(lanes)
            self._tell(worker, None, actions[lanes])
        self._wait(range(len(self.lanes)))
        return actions, Step(self.observations.copy(), self.rewards.copy(), *self.flags.copy())

    def act(self, actions: NDArray[np.integer[Any]]) -> Step:
        """See Environment."""
        return self.follow(lambda lanes: np.asarray(actions[lanes], np.int64))[1]

    def _tell(
        self, worker: int, lanes: NDArray[np.intp] | None, actions: NDArray[Any] | None
    ) -> None:
        """Have a worker do ``actions``, or without any restart ``lanes``."""
        try:
            self.connections[worker].send((self.training, self.remembered, lanes, actions))
        except OSError as error:
            raise UsageError("a process that played games has died") from error

    def _wait(self, workers: Any) -> None:
        """Wait until these workers have done what they were told."""
        for worker in workers:
            try:
                error = self.connections[worker].recv()
            except (EOFError, OSError) as death:
                raise UsageError("a process that played games has died") from death
            if error is not None:
                raise error

    def close(self) -> None:
        """Let the processes close their games and go."""
        for connection in self.connections:
            connection.close()
        for process in self.processes:
            process.join(GOODBYE)
            if process.is_alive():
                process.terminate()
        self.connections, self.processes = [], []


def _arrays(
    shared: Shared, num_envs: int, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> tuple[NDArray[Any], NDArray[np.float32], NDArray[np.bool_]]:
    """Return (observations, rewards, flags), each with its type and shape."""
    return (
        np.frombuffer(shared.observations, dtype).reshape(num_envs, *shape),
        np.frombuffer(shared.rewards, np.float32),
        np.frombuffer(shared.flags, np.bool_).reshape(len(FLAGS), num_envs),
    )


def _work(
    make: Make,
    seeds: list[np.random.SeedSequence],
    lanes: NDArray[np.intp],
    num_envs: int,
    shared: Shared,
    connection: Connection[Any, Any],
) -> None:
    """Play the games of ``lanes`` as the other end of the pipe tells, until it is closed."""
    games: list[Environment] = []
    try:
        games = [make(seed) for seed in seeds]
        arrays = _arrays(shared, num_envs, games[0].observation_shape, games[0].observation_dtype)
        connection.send(None)
        while True:
            training, remembered, chosen, actions = connection.recv()
            for index, lane in enumerate(lanes):
                game = games[index]
                game.training, game.remembered = training, remembered
                if actions is not None:
                    _act(game, actions[index : index + 1], lane, *arrays)
                elif chosen is None:
                    arrays[0][lane] = game.restart()[0]
                elif lane in chosen:
                    arrays[0][lane] = game.restart(np.zeros(1, np.intp))[0]
            connection.send(None)
    except (EOFError, OSError):
        pass  # the other end has gone: nobody plays any more
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        connection.send(error if isinstance(error, UsageError) else UsageError(text))
    finally:
        for game in games:
            game.close()


def _act(
    game: Environment,
    action: NDArray[np.integer[Any]],
    lane: int,
    observations: NDArray[Any],
    rewards: NDArray[np.float32],
    flags: NDArray[np.bool_],
) -> None:
    """Act in one game and write down what it led to."""
    step = game.act(action)
    observations[lane] = step.observations[0]
    rewards[lane] = step.rewards[0]
    flags[:, lane] = step.terminals[0], step.truncateds[0], step.game_overs[0]
