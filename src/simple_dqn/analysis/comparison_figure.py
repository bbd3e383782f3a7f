"""A comparison as one figure: aggregates, performance profiles, learning curves, games."""

from __future__ import annotations

import io
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from simple_dqn.analysis.aggregate import AGGREGATES, Estimate
from simple_dqn.analysis.comparison import THRESHOLDS, Comparison
from simple_dqn.analysis.plot import COLORS, RC_PARAMS

MOST_COLORED = len(COLORS)


def color_of(index: int) -> str:
    """Return the colour of the label with this index; colours repeat."""
    return COLORS[index % MOST_COLORED]


def figure_png(comparison: Comparison, dpi: int = 80) -> bytes:
    """Return the figure as PNG."""
    rc: Any = {**RC_PARAMS, "font.size": 10, "axes.titlesize": 11}
    with matplotlib.rc_context(rc):
        figure = Figure(figsize=(16, 10), layout="constrained")
        FigureCanvasAgg(figure)
        upper, lower = figure.subfigures(2, 1, squeeze=False)[:, 0]
        _draw_aggregates(upper.subplots(1, len(AGGREGATES), sharey=True), comparison)
        profile, curve, games = lower.subplots(1, 3)
        _draw_profiles(profile, comparison)
        _draw_curves(curve, comparison)
        _draw_games(games, comparison)
        lower.legend(*profile.get_legend_handles_labels(), loc="outside lower center", ncols=4)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=dpi)
    return stream.getvalue()


def _draw_aggregates(axes: Any, comparison: Comparison) -> None:
    """Draw a panel per aggregate, a line per label: its interval, with a mark at the value."""
    for ax, name in zip(axes, AGGREGATES, strict=True):
        for i, label in enumerate(comparison.labels):
            found = comparison.aggregates[label][name]
            _draw_interval(ax, found, i, color_of(i))
        ax.set_title(name + (" (lower is better)" if name == "optimality gap" else ""))
        ax.set_yticks(range(len(comparison.labels)), comparison.labels)
        ax.set_ylim(len(comparison.labels) - 0.5, -0.5)
    axes[0].figure.supxlabel(f"normalised score: 1 is {comparison.reference}", fontsize=10)


def _draw_interval(ax: Axes, found: Estimate, y: float, color: str) -> None:
    if not np.isnan(found.low):
        ax.plot([found.low, found.high], [y, y], color=color, linewidth=8, alpha=0.35)
    ax.plot(found.value, y, marker="|", markersize=18, markeredgewidth=2.5, color=color)


def _draw_profiles(ax: Axes, comparison: Comparison) -> None:
    for i, label in enumerate(comparison.labels):
        shares, (low, high) = comparison.profiles[label]
        ax.plot(THRESHOLDS, shares, color=color_of(i), label=label)
        ax.fill_between(THRESHOLDS, low, high, color=color_of(i), alpha=0.15, linewidth=0)
    ax.set_title("performance profile")
    ax.set_xlabel("normalised score τ")
    ax.set_ylabel("share of runs above τ")
    ax.set_ylim(-0.02, 1.02)


def _draw_curves(ax: Axes, comparison: Comparison) -> None:
    for i, label in enumerate(comparison.labels):
        steps, values, low, high = comparison.curves[label]
        marker = "o" if len(steps) < 3 else ""
        ax.plot(steps, values, color=color_of(i), marker=marker)
        ax.fill_between(steps, low, high, color=color_of(i), alpha=0.15, linewidth=0)
    ax.set_title("IQM over training")
    ax.set_xlabel("training steps")
    ax.set_ylabel("IQM of normalised scores")


def _draw_games(ax: Axes, comparison: Comparison) -> None:
    """Draw the normalised score of each run, a row per game."""
    height = 0.8 / len(comparison.labels)
    for i, label in enumerate(comparison.labels):
        for row in comparison.of(label):
            y = comparison.games.index(row.game) + (i + 0.5) * height - 0.4
            color = color_of(i)
            ax.scatter(row.normalised, [y] * len(row.normalised), s=14, alpha=0.6, color=color)
            ax.plot(np.mean(row.normalised), y, marker="|", markersize=12, color=color)
    ax.set_yticks(range(len(comparison.games)), comparison.games)
    ax.set_ylim(len(comparison.games) - 0.5, -0.5)
    ax.set_title("runs by game (|: mean)")
    ax.set_xlabel("normalised score of the last test")
