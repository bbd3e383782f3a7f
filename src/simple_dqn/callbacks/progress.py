"""Progress: a live line on a terminal, plain log lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

import numpy as np
from tqdm import tqdm

from simple_dqn.agent import Agent
from simple_dqn.callback import Callback
from simple_dqn.environment import Step
from simple_dqn.options.option import short_text
from simple_dqn.statistics import Row, Statistics

logger = logging.getLogger(__name__)

LOG_INTERVAL = 60.0  # seconds between log lines where there is no terminal
LIVE_INTERVAL = 0.2  # seconds between refreshes of the live line


class Progress(Callback):
    """Shows steps/s, ε, score and time left of the current phase, on stderr.

    Args:
        statistics: where the scores are read from.
        live: draw a live line; by default if stderr is a terminal.
    """

    def __init__(self, statistics: Statistics, live: bool | None = None) -> None:
        self.statistics = statistics
        self.live = sys.stderr.isatty() if live is None else live
        self.bar: tqdm[None] | None = None
        self.next_time = 0.0

    def on_phase_start(self, agent: Agent) -> None:
        """Open the line of the phase."""
        if self.live:
            self.bar = tqdm(  # type: ignore[assignment]
                desc=f"epoch {self.statistics.epoch} {agent.phase}",
                total=agent.phase.steps or agent.phase.games,
                bar_format="{desc} {percentage:3.0f}%|{bar:8}| {remaining} left",
                dynamic_ncols=True,
                leave=False,
                mininterval=LIVE_INTERVAL,
            )
        self.next_time = time.perf_counter() + (LIVE_INTERVAL if self.live else LOG_INTERVAL)

    def on_step(self, agent: Agent, step: Step) -> None:
        """Refresh, but not at every step."""
        self._refresh(agent)

    def on_train(self, agent: Agent, errors: Any) -> None:
        """Refresh, also while learning offline."""
        self._refresh(agent)

    def _refresh(self, agent: Agent) -> None:
        now = time.perf_counter()
        if now < self.next_time:
            return
        self.next_time = now + (LIVE_INTERVAL if self.live else LOG_INTERVAL)
        stats = self.statistics
        done, total, rate, left = stats.pace(agent)
        score = f"score {np.mean(stats.game_rewards):.1f}" if stats.game_rewards else "no game yet"
        epsilon = "offline" if agent.phase.offline else f"ε {agent.exploration_rate:.3f}"
        if self.bar is not None:
            self.bar.set_description_str(
                f"epoch {stats.epoch} {agent.phase}: {rate:.0f} steps/s, {epsilon}, {score}",
                refresh=False,
            )
            self.bar.update(min(done, total) - self.bar.n)
        else:
            unit = "steps" if agent.phase.steps else "games"
            logger.info(
                "epoch %d %s: %d of %d %s, %.0f steps/s, %s, %s, %s left",
                stats.epoch, agent.phase.name, done, total, unit, rate, epsilon, score,
                tqdm.format_interval(left) if left < 1e9 else "?",
            )  # fmt: skip

    def on_phase_end(self, agent: Agent) -> None:
        """Close the line."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def log_row(row: Row) -> None:
    """Log the result of a phase on one line."""
    games = (
        "{nr_games} game{s}, score {average_reward:.2f} ± {std_game_reward:.2f} ({low} to {high})"
        if row["nr_games"]
        else "no game ended"
    )
    line = "epoch {epoch} {phase}: {steps} steps, " + games
    if row["last_exploration_rate"] == row["last_exploration_rate"]:
        line += ", ε {last_exploration_rate:.3f}"
    if row["meanq"] == row["meanq"]:
        line += f", mean max Q {short_text(row['meanq'], 4)}"
    if row["phase"] == "train":
        line += f", cost {short_text(row['meancost'], 4)}"
    line += ", {steps_per_second:.0f} steps/s"
    low, high = short_text(row["min_game_reward"]), short_text(row["max_game_reward"])
    logger.info(line.format(s="" if row["nr_games"] == 1 else "s", low=low, high=high, **row))
