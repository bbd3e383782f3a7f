"""The progress of a study: a table that is redrawn on a terminal, lines elsewhere."""

from __future__ import annotations

import logging
import sys
from typing import Any

from ray import tune

logger = logging.getLogger(__name__)

HEAD = f"{'run':40}{'state':>10}{'epoch':>7}{'phase':>8}{'score':>10}{'steps':>12}{'steps/s':>9}"


class StudyProgress(tune.Callback):  # type: ignore[misc]
    """Shows each new row of each run.

    Args:
        names: of all runs, in the order of the table.
    """

    def __init__(self, names: list[str]) -> None:
        self.lines = {name: f"{name[:39]:40}{'waiting':>10}" for name in names}
        self.drawn = 0
        self.live = sys.stderr.isatty()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Show that a run has started."""
        self._show(trial, "running", "")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Show a new row."""
        score, speed = float(result["average_reward"]), float(result["steps_per_second"])
        text = (
            f"{result['epoch']:>7}{result['phase']:>8}{score:>10.2f}"
            f"{int(float(result['total_train_steps'])):>12,}{speed:>9.0f}"
        )
        self._show(trial, "running", text)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Show that a run has ended."""
        self._show(trial, "ended", self.lines[self._name(trial)][50:])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Show that a run could not be finished."""
        self._show(trial, "failed", "")

    def _name(self, trial: Any) -> str:
        return str(trial.config["run"]["name"])

    def _show(self, trial: Any, state: str, text: str) -> None:
        name = self._name(trial)
        self.lines[name] = f"{name[:39]:40}{state:>10}{text}"
        if not self.live:
            logger.info("%s", " ".join(self.lines[name].split()))
            return
        up = f"\x1b[{self.drawn}A" if self.drawn else ""
        rows = [HEAD, *self.lines.values()]
        sys.stderr.write(up + "".join(f"\x1b[2K{row}\n" for row in rows))
        sys.stderr.flush()
        self.drawn = len(rows)
