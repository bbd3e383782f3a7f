"""The page of a comparison, one HTML file that needs no server: curves, tables, options, runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from os.path import relpath
from pathlib import Path

import numpy as np
from bokeh.embed import components
from bokeh.models import HoverTool, NumeralTickFormatter
from bokeh.models.plots import Plot
from bokeh.plotting import figure
from bokeh.resources import Resources

from simple_dqn.analysis.aggregate import AGGREGATES
from simple_dqn.analysis.comparison import THRESHOLDS, Comparison
from simple_dqn.analysis.comparison_figure import color_of
from simple_dqn.analysis.comparison_text import interval_text
from simple_dqn.analysis.curves import Run, make_curve
from simple_dqn.analysis.study import StudyRun

STYLE = """
body { margin: 0 auto; max-width: 1280px; padding: 0 16px 48px; color: #222; background: #fff;
  font: 15px/1.45 system-ui, sans-serif }
h1 { font-size: 24px; margin: 24px 0 4px } h2 { font-size: 18px; margin: 32px 0 8px }
.wide { overflow-x: auto } table { border-collapse: collapse; font-size: 14px }
th, td { padding: 3px 12px 3px 0; text-align: left; border-bottom: 1px solid #ddd;
  vertical-align: top } td.n, th.n { text-align: right; white-space: nowrap }
.plots { display: grid; gap: 12px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 380px), 1fr)) }
.plots > div { min-width: 0 } code { font-size: 13px; overflow-wrap: anywhere }
i.dot { display: inline-block; width: 10px; height: 10px; border-radius: 5px; margin-right: 6px }
li { margin: 2px 0 } .name { white-space: nowrap } .plots, .wide { margin-bottom: 12px }
"""

PLOTS = Resources(mode="inline", components=["bokeh"])  # a third of all that Bokeh brings

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{style}</style>{resources}{script}</head>
<body><h1>{title}</h1>{body}</body></html>
"""


def page_html(comparison: Comparison, title: str, folder: Path) -> str:
    """Return the page.

    Args:
        comparison: what it shows.
        title: its heading.
        folder: where it will lie; links to videos and filter pages are relative to it.
    """
    aggregates = [_profiles(comparison), _curves(comparison)]
    of_games = [_game(comparison, game) for game in comparison.games]
    script, divs = components([*aggregates, *of_games])
    body = [
        _legend(comparison),
        _notes(comparison),
        "<h2>Over games</h2>",
        f"<p>Normalised scores of the last tests: 1 is {escape(comparison.reference)}. In brackets "
        "95% intervals by a stratified bootstrap over runs (Agarwal et al. 2021).</p>",
        _aggregate_table(comparison),
        _improvement_table(comparison),
        _plots(divs[: len(aggregates)]),
        "<h2>By game</h2>",
        "<p>Mean of a label's tests over its runs, and their standard deviation.</p>",
        _plots(divs[len(aggregates) :]),
        _game_table(comparison),
        _published(comparison),
        _options(comparison),
        _runs(comparison, folder),
    ]
    return PAGE.format(
        title=escape(title), style=STYLE, resources=PLOTS.render(), script=script,
        body="\n".join(body),
    )  # fmt: skip


def _new_figure(title: str, x: str, y: str) -> figure:
    return figure(
        title=title, x_axis_label=x, y_axis_label=y, height=330, sizing_mode="stretch_width",
        tools="pan,wheel_zoom,box_zoom,reset,save", active_scroll=None,
    )  # fmt: skip


def _draw(
    plot: figure, index: int, label: str, x: Sequence[float], y: Sequence[float],
    low: Sequence[float], high: Sequence[float],
) -> None:  # fmt: skip
    """Draw a curve with its band and what hovering shows."""
    color = color_of(index)
    if len(x) > 1:
        plot.varea(x, low, high, fill_color=color, fill_alpha=0.15)
        plot.line(x, y, line_color=color, line_width=2)
    dots = plot.scatter(x, y, size=5 if len(x) < 60 else 2, color=color)
    text = [("", label), ("x", "@x{0,0.[00]}"), ("y", "@y{0,0.[000]}")]
    plot.add_tools(HoverTool(renderers=[dots], tooltips=text))


def _profiles(comparison: Comparison) -> Plot:
    plot = _new_figure("Performance profile", "normalised score τ", "share of runs above τ")
    for i, label in enumerate(comparison.labels):
        shares, (low, high) = comparison.profiles[label]
        _draw(plot, i, label, list(THRESHOLDS), list(shares), list(low), list(high))
    return plot


def _curves(comparison: Comparison) -> Plot:
    plot = _new_figure("Interquartile mean over training", "training steps", "IQM, normalised")
    plot.xaxis.formatter = NumeralTickFormatter(format="0.[0]a")
    for i, label in enumerate(comparison.labels):
        steps, values, low, high = map(list, comparison.curves[label])
        _draw(plot, i, label, steps, values, low, high)
    return plot


def _game(comparison: Comparison, game: str) -> Plot:
    plot = _new_figure(game, "training steps", "score of a test")
    plot.xaxis.formatter = NumeralTickFormatter(format="0.[0]a")
    for row in comparison.game_scores:
        if row.game == game:
            tables = [Run(row.label, run.table) for run in row.runs]
            found = make_curve(tables, "test", "average_reward", "total_train_steps")
            low, high = found.mean - found.std, found.mean + found.std
            index = comparison.labels.index(row.label)
            _draw(plot, index, row.label, *map(list, (found.x, found.mean, low, high)))
    return plot


def _plots(divs: Iterable[str]) -> str:
    return '<div class="plots">' + "".join(f"<div>{div}</div>" for div in divs) + "</div>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: int = 0) -> str:
    """Return an HTML table of escaped cells; the last ``numbers`` columns are right-aligned."""
    first = len(head) - numbers

    def cells(row: Sequence[str], tag: str) -> str:
        marks = (f'{tag} class="n"' if i >= first else tag for i in range(len(row)))
        return "".join(f"<{mark}>{cell}</{tag}>" for mark, cell in zip(marks, row, strict=True))

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return (
        f'<div class="wide"><table><thead><tr>{cells(head, "th")}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _name(comparison: Comparison, label: str) -> str:
    color = color_of(comparison.labels.index(label))
    dot = f'<i class="dot" style="background: {color}"></i>'
    return f'<span class="name">{dot}{escape(label)}</span>'


def _legend(comparison: Comparison) -> str:
    names = " &nbsp; ".join(_name(comparison, label) for label in comparison.labels)
    runs = sum(len(row.runs) for row in comparison.game_scores)
    games = len(comparison.games)
    return f"<p>{runs} runs, {games} game{'s'[: games > 1]}. {names}</p>"


def _notes(comparison: Comparison) -> str:
    if not comparison.warnings:
        return ""
    return "<ul>" + "".join(f"<li>{escape(note)}</li>" for note in comparison.warnings) + "</ul>"


def _aggregate_table(comparison: Comparison) -> str:
    rows = [
        [
            _name(comparison, label), str(len(comparison.of(label))),
            str(sum(len(row.runs) for row in comparison.of(label))),
            *(interval_text(found[name], 3) for name in AGGREGATES),
        ]
        for label, found in comparison.aggregates.items()
    ]  # fmt: skip
    return table(["label", "games", "runs", *AGGREGATES], rows, 2 + len(AGGREGATES))


def _improvement_table(comparison: Comparison) -> str:
    if not comparison.improvements:
        return ""
    rows = [
        [_name(comparison, first), _name(comparison, second), str(games), interval_text(value, 3)]
        for first, second, games, value in comparison.improvements
    ]
    return table(["label", "other", "games", "P(a run of label beats other)"], rows, 2)


def _game_table(comparison: Comparison) -> str:
    rows = [
        [
            escape(row.game), _name(comparison, row.label), str(len(row.runs)),
            f"{max(run.steps for run in row.runs):,}", interval_text(row.last),
            interval_text(row.best), f"{np.mean(row.normalised):.3f}",
        ]
        for row in comparison.game_scores
    ]  # fmt: skip
    head = ["game", "label", "runs", "steps", "last test", "best test", "normalised"]
    return table(head, rows, 5)


def _published(comparison: Comparison) -> str:
    if not comparison.published:
        return ""
    names = list(comparison.protocols)
    rows = [
        [escape(game), *(f"{scores[n]:g}" if n in scores else "" for n in names)]
        for game, scores in comparison.published.items()
    ]
    notes = "".join(
        f"<li>{escape(name)}: {escape(note)}</li>" for name, note in comparison.protocols.items()
    )
    return f"<h2>Published scores</h2>{table(['game', *names], rows, len(names))}<ul>{notes}</ul>"


def _options(comparison: Comparison) -> str:
    if not comparison.differing:
        return "<h2>Options</h2><p>The records of all runs of a game agree, or there is none.</p>"
    rows = [
        [f"<code>--{escape(option)}</code>", *(escape(of[label]) for label in comparison.labels)]
        for option, of in comparison.differing.items()
    ]
    head = ["", *(_name(comparison, label) for label in comparison.labels)]
    return f"<h2>Options that differ</h2>{table(head, rows)}"


def _runs(comparison: Comparison, folder: Path) -> str:
    rows = []
    for of_game in comparison.game_scores:
        for run in of_game.runs:
            versions = run.record.get("versions") or {}
            command = " ".join(map(str, run.record.get("command_line") or []))
            links = ", ".join(
                f'<a href="{escape(relpath(path, folder))}">{escape(path.name)}</a>'
                for path in shown_elsewhere(run)
            )
            rows.append(
                [
                    escape(run.path.name), _name(comparison, run.label),
                    "" if run.seed is None else str(run.seed),
                    escape(", ".join(f"{k} {v}" for k, v in versions.items() if v)),
                    f"<code>{escape(command)}</code>", links,
                ]
            )  # fmt: skip
    head = ["run", "label", "seed", "versions", "command", "videos and filter pages"]
    return f"<h2>Runs</h2>{table(head, rows)}"


def shown_elsewhere(run: StudyRun) -> list[Path]:
    """Return the videos and filter pages of a run, where the scripts put them."""
    name = run.path.stem
    places = (
        (run.path.parent.parent / "videos", f"{name}*.mp4"),
        (run.path.parent, f"{name}_*.html"),
    )
    return [path for folder, pattern in places for path in sorted(folder.glob(pattern))]
