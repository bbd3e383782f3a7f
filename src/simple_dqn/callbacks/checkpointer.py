"""Checkpointer: the callback that writes a checkpoint now and then, and before a run is left.

Between two rounds of the loop is the only place where a run may be left: there all its objects
agree. A signal only asks for it; the current round is completed first.
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

# The share of the time that checkpoints may take: where one takes longer, the next comes later.
MOST_COST = 0.01
# The signals that end a run after its round; a closed terminal (SIGHUP) is no reason to lose it.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Checkpointer(Callback):
    """Writes checkpoints of a run.

    It must be the agent's last callback: the state of the others then includes the round.

    Args:
        checkpoint: where to.
        state: returns what to store beside the replay memory's slots, see ``storage.run_state``.
        statistics: knows the epoch.
        options: when to write, and when the run may be at its end.
        refill: whether the random phase refills the memory of a run resumed from a snapshot.

    Attributes:
        stop: the signal that asks to leave the run; None as long as there was none.
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
        self.seconds, self.steps = every  # from one to the next, the other is 0; both 0 for none
        self.stop: signal.Signals | None = None
        self.cost = 0.0  # seconds that the last one took
        self.last_time = time.monotonic()
        self.rounds = 0  # since the last one

    def on_round_end(self, agent: Agent) -> None:
        """Write one if it is time; leave the run if a signal asked for it."""
        self.rounds += 1
        waited = time.monotonic() - self.last_time
        due = (
            (self.seconds and waited >= max(self.seconds, self.cost / MOST_COST))
            or (self.steps and self.rounds * agent.environment.num_envs >= self.steps)
            or self.stop
            or self._may_be_the_end(agent)
        )  # fmt: skip
        if due and (self.seconds or self.steps):
            self.save(agent)
        if self.stop:
            raise Interrupted(self.stop)

    def _may_be_the_end(self, agent: Agent) -> bool:
        """Whether the run may be over after this round; with more epochs it could be resumed."""
        last = "test" if self.options.test_steps else "train"
        may_stop = self.options.stop_at is not None  # the score is not known yet
        finished = self.statistics.epoch == self.options.epochs
        return agent.phase == last and (finished or may_stop) and agent.complete()

    def save(self, agent: Agent) -> None:
        """Write a checkpoint. Where that fails the run continues, and the last one stays.

        Raises:
            FloatingPointError: the loss is not finite: this run must not be resumed.
        """
        agent.network.require_finite()
        start = time.monotonic()
        assert agent.memory is not None
        finished = self._may_be_the_end(agent) and self.statistics.epoch == self.options.epochs
        refill = self.refill and agent.phase == "random"
        try:
            self.checkpoint.save(
                self.state() | dict(refill=refill, finished=finished), agent.memory
            )
        except ChildProcessError:  # no fault of the disk's: a game is lost
            raise
        except OSError as error:
            logger.warning(
                "no checkpoint: %s; %s", refusal(error),
                "the previous one stays" if self.checkpoint.path.exists() else "there is none yet",
            )  # fmt: skip
        self.last_time = time.monotonic()
        self.cost, self.rounds = self.last_time - start, 0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Let ``SIGNALS`` end the run after its round, and a second SIGINT at once."""

        def ask(number: int, frame: FrameType | None) -> None:
            if self.stop == number == signal.SIGINT:
                raise KeyboardInterrupt
            self.stop = signal.Signals(number)

        heard = [s for s in SIGNALS if signal.getsignal(s) != signal.SIG_IGN]  # nohup
        before = {number: signal.signal(number, ask) for number in heard}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
