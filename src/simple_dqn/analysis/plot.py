"""Plot: the statistics of one or more runs as a figure, one panel per column.

The random phase runs once, before any learning: it is drawn as a diamond where it ended and, for
per-game measures, as a dotted baseline for the other phases. With one run, train and test have a
colour each; with several, each label has a colour and each phase a line style. Runs whose file
names differ only in a seed number share a label and are drawn as their mean, in a band of ± one
standard deviation; where some of them have no value, the mean of the others is dashed, without a
band.
"""

from __future__ import annotations

import difflib
import io
import logging
import os
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from simple_dqn.analysis.curves import Curve, Run, describe_seeds, make_curve, read_runs
from simple_dqn.analysis.legend import add_legend, ignoring_missing_letters
from simple_dqn.errors import UsageError
from simple_dqn.options.command_options import PlotOptions
from simple_dqn.storage.files import require_place, write_atomically

logger = logging.getLogger(__name__)

TITLES = {
    "steps": "steps per phase",
    "nr_games": "games per phase",
    "average_reward": "average score per game",
    "min_game_reward": "lowest score of a game",
    "max_game_reward": "highest score of a game",
    "last_exploration_rate": "exploration rate ε at phase end",
    "total_train_steps": "training steps so far",
    "replay_memory_count": "transitions in the replay memory",
    "meanq": "mean max Q of held-out states",
    "meancost": "mean cost (½δ²) per sample",
    "weight_updates": "weight updates so far",
    "total_time": "time since the run began (seconds)",
    "epoch_time": "duration of the phase (seconds)",
    "steps_per_second": "steps per second",
    "std_game_reward": "standard deviation of the scores",
    "mean_game_steps": "steps per game",
    "dead_filters": "share of filters that never fire",
    "dead_units": "share of hidden units that never fire",
}
# The other phases do not learn: the cost of 0 in their rows is no measurement.
ONLY_TRAIN = {"meancost", "weight_updates", "total_train_steps"}
# Per-game measures can be compared with the random phase, although its length differs.
PER_GAME = {f for f in TITLES if f.endswith("_game_reward")} | {"average_reward", "mean_game_steps"}
LOG_RATIO = 10  # a cost with a larger range gets a logarithmic axis

# Units (size, label) of each x axis: the first one with which the axis reaches at least 2, else the
# last.
UNITS = {
    "epoch": ((1, "epoch"),),
    "total_train_steps": (
        (1_000_000, "training steps (millions)"),
        (1_000, "training steps (thousands)"),
        (1, "training steps"),
    ),
    "total_time": ((3600, "time (hours)"), (60, "time (minutes)"), (1, "time (seconds)")),
}

# Okabe and Ito's palette for colour-blind readers, without its yellow, which is too pale on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
PHASE_COLORS = {"test": "#0072B2", "train": "#E69F00", "random": "#666666"}  # of a single label
# In drawing order: where train and test coincide, as in meanq, the thin line is on the thick one.
STYLES: dict[str, dict[str, Any]] = {
    "test": dict(linestyle="-", linewidth=2.0),
    "train": dict(linestyle="-", linewidth=1.1),
    "random": dict(linestyle=":", linewidth=1.2, markersize=5),
}
FEWER = dict(linestyle="--", markerfacecolor="white")  # where some of several runs have no value
FEW_POINTS = 30  # lines with at most this many points have markers
RC_PARAMS: Any = {  # Any: the type of the keys depends on matplotlib's version
    "font.size": 12,
    "axes.titlesize": 13,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.xmargin": 0.02,
    "grid.color": "#e4e4e4",
    "svg.hashsalt": "simple_dqn",  # reproducible ids
}
METADATA = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}  # omit the date
MOST_PIXELS, LONGEST_SIDE = 100_000_000, 65_535


def plot(paths: Sequence[Path], options: PlotOptions, interval: float = 2.0) -> None:
    """Draw statistics files into one figure; with ``options.follow``, redraw it on new rows.

    Args:
        paths: the files; a last line that is still being written is ignored.
        options: what to draw, and the file to write.
        interval: seconds between two reads of the files while following.

    Raises:
        UsageError: a column is unknown, a file is not a statistics file or has no rows yet (unless
            following), or the figure cannot be made.
    """
    paths = list({os.path.abspath(path): path for path in paths}.values())  # no duplicates
    fields = parse_fields(options.fields)
    target = find_target(paths, options)
    runs = read_runs(paths)
    for path, run in zip(paths, runs, strict=True):
        if run.table.empty:
            logger.warning("%s has no row yet: its first phase is still to end", path)
    try:
        while True:
            if not all(run.table.empty for run in runs):
                figure = draw(runs, fields, options)
                write_atomically(target, render(figure, target.suffix.lower(), options.dpi))
                logger.info("plotted %s", target)
            elif not options.follow:
                raise UsageError("nothing to plot: wait for the first phase to end, or --follow")
            if not options.follow:
                return
            runs = _wait_for_rows(paths, runs, interval)
    except KeyboardInterrupt:  # Ctrl-C is how to stop following
        if not options.follow:
            raise


def parse_fields(text: str) -> list[str]:
    """Return the columns listed in ``text``, without duplicates.

    Raises:
        UsageError: a column cannot be plotted, or none is given.
    """
    fields = list(dict.fromkeys(filter(None, map(str.strip, text.split(",")))))
    for name in fields or [""]:
        if name not in TITLES:
            near = difflib.get_close_matches(name, TITLES, n=2)
            also = f" (did you mean {' or '.join(near)}?)" if near else ""
            every = ", ".join(TITLES)
            raise UsageError(f"--fields: there is no column '{name}' to plot{also}; choose {every}")
    return fields


def find_target(paths: Sequence[Path], options: PlotOptions) -> Path:
    """Return the file to write: ``png_file``, or the first CSV file's name with .png.

    Raises:
        UsageError: the format is unsupported, the target is a folder or one of the input files, or
            the figure would have too many pixels.
    """
    for path in paths:
        if not path.is_file():
            raise UsageError(f"there is no file '{path}'")
    target = Path(options.png_file) if options.png_file else paths[0].with_suffix(".png")
    if target.suffix.lower() not in METADATA:
        raise UsageError(f"--png_file ends in .png, .svg or .pdf, not as '{target}' does")
    require_place(target, "png_file")
    if target.is_dir():
        raise UsageError(f"--png_file '{target}' is a folder: name a file in it")
    if target.exists() and any(path.exists() and target.samefile(path) for path in paths):
        raise UsageError(f"the figure would replace the statistics '{target}': give a --png_file")
    width = int(options.dpi * options.figure_width)
    height = int(options.dpi * options.figure_height)
    if width * height > MOST_PIXELS or max(width, height) > LONGEST_SIDE:
        raise UsageError(f"{width} x {height} pixels are too many: give a lower --dpi")
    return target


def draw(runs: Sequence[Run], fields: Sequence[str], options: PlotOptions) -> Figure:
    """Return the figure: one panel per field, and a legend above them.

    Raises:
        UsageError: a column is in none of the files.
    """
    for field in fields:
        if not any(field in run.table for run in runs):
            raise UsageError(f"--fields: no file has the column {field}; older ones lack it")
    families: dict[str, list[Run]] = {}
    for run in runs:
        if not run.table.empty:
            families.setdefault(run.label, []).append(run)
    x = np.concatenate([run.table.get(options.x_axis, []) for run in runs])
    largest = max(x[np.isfinite(x)], default=0)
    units = UNITS[options.x_axis]
    size, x_label = next((unit for unit in units if largest >= 2 * unit[0]), units[-1])
    colors = _pick_colors(len(families))

    with matplotlib.rc_context(RC_PARAMS):
        layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
        figure = Figure((options.figure_width, options.figure_height), layout=layout)
        rows = int(len(fields) ** 0.5)
        columns = -(-len(fields) // rows)
        first: Axes | None = None
        fewer = False
        for number, field in enumerate(fields, start=1):
            axes = figure.add_subplot(rows, columns, number, sharex=first, title=TITLES[field])
            first = first or axes
            for family, color in zip(families.values(), colors, strict=True):
                for phase in ("train",) if field in ONLY_TRAIN else STYLES:
                    curve = make_curve(family, phase, field, options.x_axis)
                    if len(curve.x):
                        scaled = curve._replace(x=curve.x / size)
                        fewer |= _draw_phase(axes, scaled, phase, color[phase], field in PER_GAME)
            axes.set_xlabel(x_label)
            if options.x_axis == "epoch":
                axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            values = np.concatenate([[], *(line.get_ydata() for line in axes.get_lines())])
            values = values[np.isfinite(values)]
            if not len(values):
                axes.text(0.5, 0.5, "no value yet", transform=axes.transAxes, ha="center")
            elif field == "meancost" and 0 < LOG_RATIO * values.min() < values.max():
                axes.set_yscale("log")
        _add_legend(figure, families, colors, fewer)
    return figure


def render(figure: Figure, suffix: str, dpi: int) -> bytes:
    """Return the bytes of a .png, .svg or .pdf file; equal figures give equal bytes.

    Raises:
        UsageError: the figure is too small for its panels.
    """
    data = io.BytesIO()
    with matplotlib.rc_context(RC_PARAMS), ignoring_missing_letters():
        warnings.filterwarnings("error", "constrained_layout not applied")
        try:
            figure.savefig(data, format=suffix[1:], dpi=dpi, metadata=METADATA[suffix])
        except UserWarning:
            raise UsageError(
                "the panels do not fit: give a larger --figure_width and --figure_height"
            ) from None
    return data.getvalue()


def _pick_colors(labels: int) -> list[dict[str, Any]]:
    """Return {phase: colour} for each label."""
    if labels == 1:
        return [PHASE_COLORS]
    spread: Any = matplotlib.colormaps["viridis"]  # for more labels than COLORS has
    colors = COLORS[:labels] if labels <= len(COLORS) else spread(np.linspace(0, 0.95, labels))
    return [dict.fromkeys(STYLES, color) for color in colors]


def _draw_phase(axes: Axes, curve: Curve, phase: str, color: Any, per_game: bool) -> bool:
    """Draw the line of a phase and its band, or the point and the level of the random phase.

    Returns:
        fewer: whether some of it is of fewer seeds than there are.
    """
    if phase == "random":
        end, level = (np.average(values, weights=curve.seeds) for values in (curve.x, curve.mean))
        fewer = bool(curve.seeds.sum() < curve.runs)
        face = "white" if fewer else color
        axes.plot([end], [level], "D", color=color, markersize=5, markerfacecolor=face)
        if per_game:
            axes.axhline(level, color=color, **STYLES[phase])
        return fewer
    marker = "o" if len(curve.x) <= FEW_POINTS else ""
    style = STYLES[phase] | dict(color=color, marker=marker, markersize=4)
    here, changes = curve.complete, np.flatnonzero(np.diff(curve.sets)) + 1
    if here.any():
        axes.plot(curve.x, np.where(here, curve.mean, np.nan), **style)
    if not here.all():  # nothing joins the means of different sets of runs
        x, others = curve.x, np.where(here, np.nan, curve.mean)
        pieces = np.insert(x, changes, x[changes]), np.insert(others, changes, np.nan)
        axes.plot(*pieces, **style | FEWER)
        lengths = np.diff([0, *changes, len(x)])
        alone = np.repeat(lengths == 1, lengths)
        if alone.any() and not marker:
            axes.plot(x[alone], curve.mean[alone], ".", color=color, markersize=4)
    if curve.std[here].any() and (here[1:] & here[:-1]).any():
        low, high = curve.mean - curve.std, curve.mean + curve.std
        axes.fill_between(curve.x, low, high, where=here, color=color, alpha=0.18, linewidth=0)
    return not here.all()


def _add_legend(
    figure: Figure, families: dict[str, list[Run]], colors: list[dict[str, Any]], fewer: bool
) -> None:
    """Add the legend of colours, styles and bands; with a single label, that is its title.

    Args:
        figure, families, colors: see ``draw``.
        fewer: whether there are lines of fewer seeds than the label has.
    """
    labels: list[Line2D | Patch] = []
    several = len(families) > 1
    for (name, runs), color in zip(families.items(), colors, strict=True):
        seeds = describe_seeds(runs)
        if several:
            text = f"{name} ({seeds})" if seeds else name
            labels.append(Line2D([], [], color=color["test"], linewidth=4, label=text))
        elif seeds:
            labels.append(Patch(color="0.4", alpha=0.3, linewidth=0, label=seeds))
    styles = []
    present = pd.concat([run.table["phase"] for runs in families.values() for run in runs])
    for phase in filter(set(present).__contains__, STYLES):
        tone = "0.25" if several else PHASE_COLORS[phase]
        marker = "D" if phase == "random" else ""
        styles.append(Line2D([], [], color=tone, marker=marker, **STYLES[phase], label=phase))
    if fewer:
        styles.append(Line2D([], [], color="0.4", linestyle="--", label="not all seeds"))
    add_legend(figure, labels, styles, "" if several else next(iter(families)))


def _wait_for_rows(paths: Sequence[Path], old: list[Run], interval: float) -> list[Run]:
    """Return the runs as soon as their rows differ from those of the ``old`` runs."""
    while True:
        time.sleep(interval)
        try:
            runs = read_runs(paths)
            if not all(a.table.equals(b.table) for a, b in zip(runs, old, strict=True)):
                return runs
        except UsageError as error:  # a file is being replaced at this moment
            logger.debug("%s", error)
