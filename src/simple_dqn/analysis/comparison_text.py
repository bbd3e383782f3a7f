"""A comparison as text and as CSV."""

from __future__ import annotations

import csv
import io

import numpy as np

from simple_dqn.analysis.aggregate import AGGREGATES, Estimate
from simple_dqn.analysis.comparison import Comparison
from simple_dqn.analysis.study import OUTPUT


def text_of(comparison: Comparison) -> str:
    """Return the comparison as text tables."""
    wide = max(len(label) for label in [*comparison.labels, "label"]) + 2
    lines = []
    head = f"{'label':{wide}}{'runs':>5}{'steps':>12}"
    head += f"{'last test':>26}{'best test':>26}{'normalised':>12}"
    for game in comparison.games:
        lines += [game, head]
        for row in comparison.game_scores:
            if row.game == game:
                steps = max(run.steps for run in row.runs)
                lines.append(
                    f"{row.label:{wide}}{len(row.runs):5}{steps:12,}{interval_text(row.last):>26}"
                    f"{interval_text(row.best):>26}{np.mean(row.normalised):12.3f}"
                )
        if published := comparison.published.get(game):
            parts = [f"{name} {score:g}" for name, score in published.items()]
            lines.append("published: " + ", ".join(parts))
        lines.append("")
    lines.append(f"over games, normalised: 1 is {comparison.reference}; 95% intervals")
    lines.append(
        f"{'label':{wide}}{'games':>6}{'runs':>5}" + "".join(f"{n:>24}" for n in AGGREGATES)
    )
    for label, found in comparison.aggregates.items():
        own = comparison.of(label)
        lines.append(
            f"{label:{wide}}{len(own):6}{sum(len(row.runs) for row in own):5}"
            + "".join(f"{interval_text(found[name], 3):>24}" for name in AGGREGATES)
        )
    if comparison.improvements:
        lines += ["", "probability that a run of the first beats one of the second"]
        lines += [
            f"{first} over {second}: {interval_text(value, 3)}, {games} game{'s'[: games > 1]}"
            for first, second, games, value in comparison.improvements
        ]
    if comparison.published:
        lines += ["", "published scores"]
        lines += [f"{name}: {note}" for name, note in comparison.protocols.items()]
    lines += ["", *(f"note: {warning}" for warning in comparison.warnings)]
    return "\n".join(lines).rstrip() + "\n"


def interval_text(found: Estimate, digits: int = 2) -> str:
    """Return a value with its interval, as 12.3 [10.1, 14.5]."""
    if np.isnan(found.low):
        return f"{found.value:.{digits}f}"
    return f"{found.value:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


def csv_of(comparison: Comparison) -> str:
    """Return the comparison as CSV: a row per measure of a label, on a game or over games."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*OUTPUT.rstrip(",").split(","), "value", "low", "high", "runs", "steps"])
    for row in comparison.game_scores:
        steps = max(run.steps for run in row.runs)
        mean = Estimate(float(np.mean(row.normalised)), float("nan"), float("nan"))
        for name, found in (("last", row.last), ("best", row.best), ("normalised", mean)):
            writer.writerow([row.label, row.game, name, *found, len(row.runs), steps])
    for label, aggregates in comparison.aggregates.items():
        count = sum(len(row.runs) for row in comparison.of(label))
        for name, found in aggregates.items():
            writer.writerow([label, "", name, *found, count, ""])
    for first, second, _, found in comparison.improvements:
        writer.writerow([first, "", f"probability of improvement over {second}", *found, "", ""])
    return text.getvalue()
