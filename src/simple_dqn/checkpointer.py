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
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from simple_dqn.agent import Agent, Callback
from simple_dqn.checkpoint import Checkpoint
from simple_dqn.config import without_places
from simple_dqn.errors import Interrupted, UsageError, refusal
from simple_dqn.results import csv_of
from simple_dqn.state import MISFITS, State, counted, typed

if TYPE_CHECKING:
    from simple_dqn.build import Run

logger = logging.getLogger(__name__)

# Of ``config.PLACES`` those without which a run is another, or leaves less behind: what names code
# or files is asked for again, as a checkpoint may come from anybody.
ASKED_FOR = ("callback", "tensorboard", "csv_file")
KEPT_PLACES = ("stop_at", "checkpoint_every")
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


def state_of(run: Run) -> State:
    """Return the state of all that a run consists of, but for the replay memory's slots."""
    assert run.agent.memory is not None
    config, device = run.config.to_dict(), run.network.device
    asked_for = {name: config[name] for name in ASKED_FOR}
    if config["csv_file"] == csv_of(config["save_weights_prefix"]):
        asked_for["csv_file"] = ""  # it goes without saying
    return dict(
        game=run.game,
        config=without_places(config),
        places={name: config[name] for name in KEPT_PLACES},
        asked_for=asked_for,
        start_epoch=run.config.run.start_epoch,
        agent=run.agent.state_dict(),
        network=run.network.state_dict(),
        memory=run.agent.memory.state_dict(),
        statistics=run.statistics.state_dict(),
        callback=run.callback.state_dict() if run.callback else None,
        torch_generator=torch.get_rng_state(),
        cuda_generator=torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    )


class Origin(NamedTuple):
    """What a checkpoint tells of its run before its objects are built."""

    path: Path
    game: str  # ALE's name of the game or a Gymnasium id
    config: dict[str, Any]  # all options but ``config.PLACES``, of those KEPT_PLACES
    asked_for: dict[str, str]  # what else it was given, see ASKED_FOR
    start_epoch: int
    epoch: int  # it stands in
    phase: str
    refill: bool  # the random phase, see ``training.run_phases``
    finished: bool  # nothing is left to do
    state: State  # all of it

    @property
    def snapshot_epoch(self) -> int:
        """The epoch of the last snapshot."""
        return self.epoch - (self.phase == "train")


def read_origin(checkpoint: Checkpoint) -> Origin:
    """Read a checkpoint, but for the replay memory's slots.

    Raises:
        UsageError: it is damaged.
    """
    state = checkpoint.load()
    try:
        phase = typed(state["agent"]["phase"], str)
        if phase not in ("random", "train", "test"):
            raise ValueError(f"no phase {phase!r:.20}")
        return Origin(
            path=checkpoint.path,
            game=typed(state["game"], str),
            config={
                **without_places(typed(state["config"], dict)),
                **{name: state["places"][name] for name in KEPT_PLACES},
            },
            asked_for={name: typed(state["asked_for"][name], str) for name in ASKED_FOR},
            start_epoch=counted(state["start_epoch"]),
            epoch=counted(state["statistics"]["epoch"]),
            phase=phase,
            refill=typed(state["refill"], bool),
            finished=typed(state["finished"], bool),
            state=state,
        )
    except MISFITS as error:
        raise UsageError(f"'{checkpoint.path}' is damaged ({error!s:.80})") from None


def load_state(run: Run, checkpoint: Checkpoint, state: State) -> None:
    """Have a run that was built with the same options go on from a checkpoint.

    Raises:
        UsageError: it is damaged, or was made with other options.
    """
    memory = run.agent.memory
    assert memory is not None
    try:
        checkpoint.load_slots(memory, len(run.environment.action_meanings))
        memory.load_state_dict(state["memory"])
        run.network.load_state_dict(state["network"])
        run.agent.load_state_dict(state["agent"])
        run.statistics.load_state_dict(state["statistics"], run.agent)
        torch.set_rng_state(state["torch_generator"])
        device, drawn = run.network.device, state.get("cuda_generator")  # not in older ones
        if device.type == "cuda" and drawn is not None:
            torch.cuda.set_rng_state(drawn, device)
    except UsageError:  # the line says already what is wrong, such as which file is damaged
        raise
    except MISFITS as error:
        raise UsageError(
            f"'{checkpoint.path}' does not fit these options, or is damaged ({error!s:.80})"
        ) from None
    if run.callback and state["callback"] is not None:
        run.callback.load_state_dict(state["callback"], run.agent)
