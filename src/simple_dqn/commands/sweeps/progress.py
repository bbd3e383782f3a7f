"""The progress of a study: a live table on a terminal, lines elsewhere."""

from __future__ import annotations

import logging
import shutil
import time
from datetime import timedelta
from typing import Any

from ray import tune
from rich.console import Console
from rich.live import Live
from rich.table import Table

logger = logging.getLogger(__name__)

COLUMNS = ("run", "state", "epoch", "phase", "score", "steps", "steps/s", "time left")
UNKNOWN = "–"
AROUND = 6  # lines of a terminal that are not rows of the table


class StudyProgress(tune.Callback):  # type: ignore[misc]
    """Shows the last row of each run that plays, and how long the study will take. A context.

    Args:
        runs: how many the study has.
    """

    def __init__(self, runs: int) -> None:
        self.runs = runs
        self.shown: dict[str, list[str]] = {}  # of each run that has started: COLUMNS
        self.ends: dict[str, float] = {}  # when each run that plays will end, by its own speed
        self.seconds: list[float] = []  # that the runs take which have had an epoch
        self.live: Live | None = None  # on a terminal; after the start, as Ray pickles callbacks

    def __enter__(self) -> StudyProgress:
        """Start drawing."""
        console = Console(stderr=True)
        if console.is_terminal:
            self.live = Live(console=console, get_renderable=self.table, refresh_per_second=1)
            self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Leave the last table on the terminal."""
        if self.live:
            self.live.stop()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Show that a run has started."""
        self._show(trial, "running", [])

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Show a new row."""
        run, epoch = trial.config["run"], int(result["epoch"])
        if epoch:
            per_epoch = float(result["total_time"]) / epoch
            self.ends[run["name"]] = time.time() + per_epoch * (run["epochs"] - epoch)
            self.seconds = [*self.seconds[-100:], per_epoch * run["epochs"]]
        cells = [
            f"{epoch}/{run['epochs']}", result["phase"], f"{float(result['average_reward']):.2f}",
            f"{int(float(result['total_train_steps'])):,}",
            f"{float(result['steps_per_second']):.0f}",
        ]  # fmt: skip
        self._show(trial, "running", cells)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Show that a run has ended."""
        self._end(trial, "ended")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Show that a run could not be finished."""
        self._end(trial, "failed")

    def table(self) -> Table:
        """Return the table: as many of the runs as the terminal has room for, the last at the end.

        Those that play come before those that have ended.
        """
        room = max(shutil.get_terminal_size().lines - AROUND, 1)
        ended = [row for row in self.shown.values() if row[1] != "running"]
        playing = [row for row in self.shown.values() if row[1] == "running"]
        rows = [*ended[-max(room - len(playing), 0) :], *playing][-room:]
        waiting = self.runs - len(self.shown)
        caption = f"{len(ended)} of {self.runs} ended, {len(playing)} running, {waiting} waiting"
        table = Table(caption=f"{caption}; time left: {self.time_left(waiting)}")
        for column in COLUMNS:
            table.add_column(column, justify="left" if column in ("run", "state") else "right")
        for row in rows:
            left = UNKNOWN
            if row[1] == "running" and row[0] in self.ends:
                left = duration(self.ends[row[0]] - time.time())
            table.add_row(*row, left)
        return table

    def time_left(self, waiting: int) -> str:
        """Return about how long the study takes, by the speed of the runs so far."""
        playing = max(sum(row[1] == "running" for row in self.shown.values()), 1)
        if not self.seconds:
            return UNKNOWN
        mean = sum(self.seconds) / len(self.seconds)
        now = time.time()
        own = [self.ends.get(name, now + mean) - now for name in self.ends]
        return duration((sum(max(left, 0) for left in own) + waiting * mean) / playing)

    def _end(self, trial: Any, state: str) -> None:
        name = trial.config["run"]["name"]
        self.ends.pop(name, None)
        self._show(trial, state, self.shown[name][2:] if name in self.shown else [])

    def _show(self, trial: Any, state: str, cells: list[str]) -> None:
        name = str(trial.config["run"]["name"])
        self.shown.pop(name, None)  # the last that changed is the last of the table
        row = [name, state, *cells, *[""] * (len(COLUMNS) - 3 - len(cells))]
        self.shown[name] = row
        if not self.live:
            left = duration(self.ends[name] - time.time()) if name in self.ends else ""
            logger.info("%s", " ".join([*filter(None, row), *([f"{left} left"] if left else [])]))


def duration(seconds: float) -> str:
    """Return a time in hours, minutes and seconds."""
    return str(timedelta(seconds=round(max(seconds, 0))))
