"""Checkpointer: the callback that writes checkpoints periodically and before a run is interrupted.

A run can only be interrupted between two rounds of the loop, where its objects are consistent. A
signal is a request; the current round is completed first.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from simple_dqn.agent import Agent
from simple_dqn.callback import Callback
from simple_dqn.errors import Interrupted, refusal
from simple_dqn.options.command_options import RunOptions
from simple_dqn.options.resolve import interval
from simple_dqn.statistics import Statistics
from simple_dqn.storage.checkpoint import Checkpoint

logger = logging.getLogger(__name__)

# The share of the time that checkpoints can take; the next one is delayed if one takes longer.
MOST_COST = 0.01
# The signals that end a run after the current round; SIGHUP, so that a closed terminal saves it.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Checkpointer(Callback):
    """Writes checkpoints of a run.

    It must be the agent's last callback, so that the state of the others includes the round.

    Args:
        checkpoint: the checkpoint to write.
        state: returns what to store apart from the replay memory's slots, see ``run_state``.
        statistics: gives the epoch.
        options: when to write, and when the run can be finished.
        refill: whether the random phase refills the memory of a run resumed from a snapshot.

    Attributes:
        stop: the signal received; None if there was none.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        state: Callable[[], dict[str, Any]],
        statistics: Statistics,
        options: RunOptions,
        refill: bool,
    ) -> None:
        self.checkpoint, self.state, self.statistics = checkpoint, state, statistics
        self.options, self.refill = options, refill
        every = (0.0, 0) if options.no_checkpoint else interval(options.checkpoint_every)
        self.seconds, self.steps = every  # between checkpoints; one of them is 0, both for none
        self.stop: signal.Signals | None = None
        self.cost = 0.0  # seconds that the last one took
        self.last_time = time.monotonic()
        self.rounds = 0  # since the last one

    def on_round_end(self, agent: Agent) -> None:
        """Write a checkpoint if one is due; interrupt the run if a signal was received."""
        self.rounds += 1
        waited = time.monotonic() - self.last_time
        due = (
            (self.seconds and waited >= max(self.seconds, self.cost / MOST_COST))
            or (self.steps and self.rounds * agent.environment.num_envs >= self.steps)
            or self.stop
            or self._may_be_finished(agent)
        )  # fmt: skip
        if due and (self.seconds or self.steps):
            self.save(agent)
        if self.stop:
            raise Interrupted(self.stop)

    def _may_be_finished(self, agent: Agent) -> bool:
        """Whether this may be the last round of the run, which more ``--epochs`` could resume."""
        last = "test" if self.options.test_steps else "train"
        may_stop = self.options.stop_at is not None  # the score is not known yet
        finished = self.statistics.epoch == self.options.epochs
        return agent.phase == last and (finished or may_stop) and agent.games.complete()

    def save(self, agent: Agent) -> None:
        """Write a checkpoint. If that fails, the run continues and the previous one stays.

        Raises:
            FloatingPointError: the loss is not finite; such a state must not be resumed.
        """
        agent.network.require_finite()
        start = time.monotonic()
        assert agent.memory is not None
        complete = agent.games.complete()
        finished = self._may_be_finished(agent) and self.statistics.epoch == self.options.epochs
        refill = self.refill and agent.phase == "random"
        state = self.state() | dict(refill=refill, finished=finished, complete=complete)
        try:
            self.checkpoint.save(state, agent.memory)
        except ChildProcessError:  # not a disk error: a worker process died
            raise
        except OSError as error:
            logger.warning(
                "the checkpoint was not written: %s; %s", refusal(error),
                "the previous one stays" if self.checkpoint.path.exists() else "there is none yet",
            )  # fmt: skip
        self.last_time = time.monotonic()
        self.cost, self.rounds = self.last_time - start, 0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Let ``SIGNALS`` end the run after its round, and a second SIGINT immediately."""

        def request_stop(number: int, frame: FrameType | None) -> None:
            if self.stop == number == signal.SIGINT:
                raise KeyboardInterrupt
            self.stop = signal.Signals(number)

        handled = [s for s in SIGNALS if signal.getsignal(s) != signal.SIG_IGN]  # as under nohup
        before = {number: signal.signal(number, request_stop) for number in handled}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
