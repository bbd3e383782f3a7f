"""Checkpointer: the callback that writes a checkpoint now and then, and before a run is left.

Between two rounds of the loop is the only place where a run may be left: there all its objects
agree. A signal only asks for it; the step of now is ended first.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from simple_dqn.agent import Agent, Callback
from simple_dqn.errors import Interrupted, refusal
from simple_dqn.storage.checkpoint import Checkpoint, state_of

if TYPE_CHECKING:
    from simple_dqn.commands.build import Run

logger = logging.getLogger(__name__)

# The share of the time that checkpoints may take: where one takes longer, the next comes later.
MOST_COST = 0.01
# The signals that end a run after its step; a closed terminal (SIGHUP) is no reason to lose it.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Checkpointer(Callback):
    """Writes checkpoints of a run.

    It is to be the agent's last callback: what is kept of the others has heard of the round. Of the
    end of a phase it is to be told first, by ``before_phase_end``: before the phase is counted.

    Args:
        run: what to keep.
        checkpoint: where.
        seconds, steps: from one to the next, of which one is 0; both 0 for none.
        refill: see ``training.run_phases``.

    Attributes:
        stop: the signal that asks to leave the run; None as long as there was none.
    """

    def __init__(
        self, run: Run, checkpoint: Checkpoint, seconds: float, steps: int, refill: bool
    ) -> None:
        self.run, self.checkpoint, self.refill = run, checkpoint, refill
        self.seconds, self.steps = seconds, steps
        self.stop: signal.Signals | None = None
        self.cost = 0.0  # seconds that the last one took
        self.last_time = time.monotonic()
        self.rounds = 0  # since the last one

    def on_round_end(self, agent: Agent) -> None:
        """Write one if it is time; leave the run if a signal asked for it."""
        self.rounds += 1
        lanes = agent.environment.num_envs
        waited = time.monotonic() - self.last_time
        due = (
            (self.seconds and waited >= max(self.seconds, self.cost / MOST_COST))
            or (self.steps and self.rounds * lanes >= self.steps)
        )  # fmt: skip
        if due or (self.stop and (self.seconds or self.steps)):
            self.save()
        if self.stop:
            raise Interrupted(self.stop)

    @property
    def before_phase_end(self) -> Callback:
        """A callback that is to be the agent's first."""
        return _BeforePhaseEnd(self)

    def phase_ends(self, agent: Agent) -> None:
        """Write one where the run may be at its end, so that it can go on with more epochs."""
        options = self.run.config.run
        last = "test" if options.test_steps else "train"
        finished = self.run.statistics.epoch == options.epochs
        may_stop = options.stop_at != type(options).stop_at  # the score is not known yet
        if agent.phase == last and (finished or may_stop) and (self.seconds or self.steps):
            self.save(finished)

    def save(self, finished: bool = False) -> None:
        """Write a checkpoint of now. Where that fails the run goes on, and the last one stays.

        Args:
            finished: whether nothing is left to do.

        Raises:
            FloatingPointError: the loss is not finite: this run is not to be gone on with.
        """
        self.run.network.require_finite()
        start = time.monotonic()
        memory = self.run.agent.memory
        assert memory is not None
        try:
            refill = self.refill and self.run.agent.phase == "random"
            state = dict(state_of(self.run), refill=refill, finished=finished)
            self.checkpoint.save(state, memory)
        except ChildProcessError:  # no fault of the disk's: a game is lost
            raise
        except OSError as error:
            logger.warning(
                "no checkpoint: %s; %s", refusal(error),
                "the one before stays" if self.checkpoint.path.exists() else "there is none yet",
            )  # fmt: skip
        self.last_time = time.monotonic()
        self.cost, self.rounds = self.last_time - start, 0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Meanwhile ``SIGNALS`` end the run after its step, and a second SIGINT at once."""

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


class _BeforePhaseEnd(Callback):
    def __init__(self, checkpointer: Checkpointer) -> None:
        self.checkpointer = checkpointer

    def on_phase_end(self, agent: Agent) -> None:
        self.checkpointer.phase_ends(agent)
