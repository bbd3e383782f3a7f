"""RunPage: a training on a page: its current game, its curves, and a button that stops it."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from simple_dqn.agent import Agent
from simple_dqn.callback import Callback
from simple_dqn.environment import Environment, Step
from simple_dqn.errors import Interrupted, UsageError
from simple_dqn.options.option import value_text
from simple_dqn.statistics import Row, Statistics
from simple_dqn.watch.browser.opening import open_page
from simple_dqn.watch.browser.server import Server
from simple_dqn.watch.browser.viewer import Viewer

PICTURES = 15  # a second, while someone looks
FACTS_EVERY = 0.5  # seconds
SHARE = 0.03  # of the run's time at most, for pictures that are slow to draw
FIELDS = ("average_reward", "meanq", "nr_games", "meancost", "dead_units", "dead_filters")


class RunPage(Callback):
    """Shows a run to pages: nothing is done while no one looks, and the run never waits.

    Args:
        title, host, port, opens: see ``Browser``.
        statistics: of the run.
        epochs: of the whole run.
        phases: those of an epoch, "train" and "test", that have any steps.
        preset, changed: of the run, and the options in which it differs, {option: value}.
        pixel_aspect: width over height of the game's pixels.
        read_rows: returns the rows of the run so far, as texts.

    Raises:
        UsageError: see Server.
    """

    def __init__(
        self,
        title: str,
        host: str,
        port: int,
        opens: bool,
        *,
        statistics: Statistics,
        epochs: int,
        phases: Sequence[str],
        preset: str,
        changed: Mapping[str, Any],
        pixel_aspect: float,
        read_rows: Callable[[], list[Row]],
    ) -> None:
        self.statistics, self.read_rows = statistics, read_rows
        self.epochs, self.phases = epochs, phases
        options = [[name, value_text(value)] for name, value in changed.items()]
        self.server = Server(
            host, port,
            dict(
                mode="run", title=title, preset=preset, changed=options, aspect=pixel_aspect,
                rows=[], facts=[["phase", "starting"]], progress=0,
            ),
        )  # fmt: skip
        self.server.on_message = self._receive
        self._rows: list[dict[str, Any]] = []
        self._seconds: dict[str, float] = {}  # of an epoch's phase, lately
        self._picture_at = self._facts_at = 0.0  # when the next ones are due
        self._undrawn: set[Environment] = set()  # games without pictures
        self._stopping = False
        self._latest: list[tuple[str, str]] = []  # facts
        if opens:
            open_page(self.server.url)

    def on_phase_start(self, agent: Agent) -> None:
        """Show the rows so far."""
        self._publish_rows()

    def on_step(self, agent: Agent, step: Step) -> None:
        """Show the game, when the next picture is due and someone looks."""
        self._show(agent)

    def on_train(self, agent: Agent, errors: Any) -> None:
        """Show how far offline learning is."""
        if agent.phase.offline:
            self._show(agent)

    def on_phase_end(self, agent: Agent) -> None:
        """Show the whole phase."""
        if self.server.viewers:
            self.server.publish(self._facts(agent))

    def close(self) -> None:
        """Show the last rows, and how the run has ended."""
        self._stopping = True  # too late for the button
        self._publish_rows()
        error = sys.exc_info()[1]
        ended = "The run is complete."
        if isinstance(error, Interrupted | KeyboardInterrupt):
            ended = f"The run was stopped{error}."
        elif error is not None:
            ended = "The run has ended with an error, which is in its terminal or log."
        facts = [fact for fact in self._latest if not fact[0].startswith("left")]
        self.server.close({"ended": ended, "facts": facts})

    def _show(self, agent: Agent) -> None:
        if not self.server.viewers:
            return
        now = time.perf_counter()
        if now < self._picture_at or not self.server.watched:
            return
        document: dict[str, Any] = {}
        environment = agent.environment
        if not agent.phase.offline and agent.phase.rounds and environment not in self._undrawn:
            try:
                document["screen"] = environment.screen()
            except (NotImplementedError, UsageError):
                self._undrawn.add(environment)
        # Compressing takes about as long as encoding.
        spent = time.perf_counter() - now + 2 * self.server.encoder.seconds
        self._picture_at = now + max(1 / PICTURES, spent / SHARE)
        if now >= self._facts_at:
            self._facts_at = now + FACTS_EVERY
            document |= self._facts(agent)
        self.server.publish(document)

    def _facts(self, agent: Agent) -> dict[str, Any]:
        """Return what the page shows of the current phase."""
        stats = self.statistics
        done, total, rate, left = stats.pace(agent)
        scores, counted = stats.game_rewards, "steps" if agent.phase.steps else "games"
        ended = f"{len(scores)} game{'' if len(scores) == 1 else 's'}"
        facts = [
            ("phase", f"{agent.phase}, epoch {stats.epoch} of {self.epochs}"),
            ("progress", f"{done:,} of {total:,} {counted}"),
            ("speed", f"{rate:,.0f} steps/s"),
            ("score", f"{np.mean(scores):.2f} in {ended}" if scores else "no game yet"),
            ("ε", "offline" if agent.phase.offline else f"{agent.exploration_rate:.3f}"),
            ("left of the phase", duration(left)),
            ("left of the run", duration(self._run_left(agent.phase.name, left))),
            ("trained for", f"{agent.total_train_steps:,} steps"),
            ("updates", f"{agent.network.weight_updates:,}"),
        ]
        dead = [row for row in self._rows if row["dead_units"] is not None]
        if dead:
            facts.append(("dead units", f"{dead[-1]['dead_units']:.1%} of the hidden ones"))
        self._latest = facts
        return {"facts": facts, "progress": done / max(total, 1)}

    def _run_left(self, phase: str, left: float) -> float:
        """Return the seconds that the run still takes; nan if a phase has not been timed yet."""
        epochs = self.epochs - self.statistics.epoch
        counts = {"train": epochs, "test": epochs + (phase in ("random", "train"))}
        if phase == "random":
            counts = dict.fromkeys(counts, self.epochs)
        return left + sum(
            counts[name] * self._seconds.get(name, math.nan) for name in self.phases if counts[name]
        )

    def _publish_rows(self) -> None:
        """Publish the rows of the CSV file, as numbers."""
        with contextlib.suppress(UsageError, OSError, ValueError):  # a file changed by others
            rows = self.read_rows()
            self._seconds |= {row["phase"]: float(row["epoch_time"]) for row in rows}
            self._rows = [
                {"epoch": int(row["epoch"]), "phase": row["phase"]}
                | {field: number(row[field]) for field in FIELDS}
                for row in rows
            ]
        self.server.publish({"rows": self._rows})

    def _receive(self, viewer: Viewer, message: dict[str, Any]) -> None:
        """Handle a message of a page: its button does what Ctrl-C does, once."""
        if message != {"stop": True}:
            raise ValueError
        if not self._stopping:
            self._stopping = True
            self.server.publish({"stopping": True})
            ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN  # as of a job with &
            os.kill(os.getpid(), signal.SIGTERM if ignored else signal.SIGINT)


def number(text: str) -> float | None:
    """Return a number of a row; None for nan or a missing one."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def duration(seconds: float) -> str:
    """Return a time as the progress line has it."""
    return tqdm.format_interval(seconds) if math.isfinite(seconds) else "not known yet"
