"""What a study comes to: scores per game beside published ones, and aggregates over games."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from simple_dqn.analysis.aggregate import (
    AGGREGATES,
    Estimate,
    Scores,
    estimate,
    interquartile_mean,
    matrix,
    mean_interval,
    performance_profile,
    probability_of_improvement,
)
from simple_dqn.analysis.study import StudyRun, differences, read_published
from simple_dqn.errors import UsageError
from simple_dqn.options.option import number_text

CURVE_POINTS = 50  # of the interquartile mean over steps
THRESHOLDS = np.linspace(0, 2, 81)  # of performance profiles, in normalised scores

# The protocol of the published scores (Mnih et al. 2015), by option
PROTOCOL = {
    "exploration_rate_test": 0.05, "random_starts": 30, "test_frame_cap": 18_000,
    "repeat_action_probability": 0.0, "frame_skip": 4, "minimal_action_set": True,
}  # fmt: skip
PUBLISHED_STEPS = 50_000_000


@dataclass(frozen=True)
class GameScores:
    """The runs of one label on one game.

    Attributes:
        runs: in the order of their files.
        last, best: mean over runs of the last and the best test score, with a 95% interval.
        normalised: the last test score of each run, 0 for random and 1 for the reference.
    """

    label: str
    game: str
    runs: list[StudyRun]
    last: Estimate
    best: Estimate
    normalised: list[float]


@dataclass(frozen=True)
class Comparison:
    """Everything that a comparison shows.

    Attributes:
        labels, games: in the order of the files.
        games_scores: a row per game and label with runs.
        reference: what a normalised score of 1 is, in words.
        published: {game: {source: score}}, those that exist.
        protocols: {source: how its scores were got}.
        aggregates: {label: {"IQM", "median", ...: estimate}}, over the games of that label.
        profiles: {label: (shares [T], intervals [2, T])} at ``THRESHOLDS``.
        curves: {label: (steps [P], IQM [P], low [P], high [P])}.
        improvements: [(first, second, games, P(first > second))], over the games of both.
        warnings: about what the numbers do not show.
        differing: the options in which labels differ, {option: {label: values}}.
    """

    labels: list[str]
    games: list[str]
    game_scores: list[GameScores]
    reference: str
    published: dict[str, dict[str, float]]
    protocols: dict[str, str]
    aggregates: dict[str, dict[str, Estimate]]
    profiles: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]
    curves: dict[str, tuple[NDArray[np.float64], ...]]
    improvements: list[tuple[str, str, int, Estimate]]
    warnings: list[str]
    differing: dict[str, dict[str, str]] = field(default_factory=dict)

    def of(self, label: str) -> list[GameScores]:
        """Return the rows of a label."""
        return [row for row in self.game_scores if row.label == label]


def compare(runs: Sequence[StudyRun], normalize: str = "auto") -> Comparison:
    """Compare runs.

    Args:
        runs: see ``read_study``.
        normalize: what a normalised score of 1 is: "human", "best" (the best label's mean last
            score on the game), or "auto": human if all games have a human score. 0 is the published
            score of a random player, or with "best" the mean of the runs' random phases.

    Raises:
        UsageError: "human" and a game has no human score, or "best" and no run has a random phase.
    """
    labels = list(dict.fromkeys(run.label for run in runs))
    games = list(dict.fromkeys(run.game for run in runs))
    published = read_published()
    known = {game: published.scores.loc[game].dropna().to_dict() for game in games if game in
             published.scores.index}  # fmt: skip
    scales, reference = _scales(runs, games, known, normalize)

    rows = []
    for game in games:
        for label in labels:
            own = [run for run in runs if (run.label, run.game) == (label, game)]
            if own:
                zero, one = scales[game]
                rows.append(
                    GameScores(
                        label, game, own, mean_interval([r.last for r in own]),
                        mean_interval([r.best for r in own]),
                        [(r.last - zero) / (one - zero) for r in own],
                    )
                )  # fmt: skip
    tables = {
        label: {row.game: row.normalised for row in rows if row.label == label} for label in labels
    }
    matrices: dict[str, Scores] = {label: matrix(list(t.values())) for label, t in tables.items()}
    return Comparison(
        labels=labels,
        games=games,
        game_scores=rows,
        reference=reference,
        published={game: {str(k): float(v) for k, v in s.items()} for game, s in known.items()},
        protocols=published.protocols,
        aggregates={
            label: {name: estimate(m, f) for name, f in AGGREGATES.items()}
            for label, m in matrices.items()
        },
        profiles={label: performance_profile(m, THRESHOLDS) for label, m in matrices.items()},
        curves={label: _curve(runs, label, scales) for label in labels},
        improvements=_improvements(tables),
        warnings=_warnings(runs, rows, labels, games, known),
        differing=_differing(runs, labels),
    )


def _scales(
    runs: Sequence[StudyRun], games: list[str], known: dict[str, Any], normalize: str
) -> tuple[dict[str, tuple[float, float]], str]:
    """Return (score of 0, score of 1) of each game, and what 1 is."""
    missing = [game for game in games if "human" not in known.get(game, {})]
    if normalize == "human" and missing:
        raise UsageError(f"--normalize human: there is no human score of {', '.join(missing)}")
    if normalize == "human" or (normalize == "auto" and not missing):
        scales = {g: (float(known[g]["random"]), float(known[g]["human"])) for g in games}
        return scales, "human (0: random), both as published"
    scales = {}
    for game in games:
        own = [run for run in runs if run.game == game]
        random = [score for run in own if not np.isnan(score := run.random_score)]
        if not random:
            raise UsageError(
                f"scores of {game} cannot be normalised: none of its runs has a random phase in "
                f"which a game ended (--random_steps)"
            )
        zero = float(np.mean(random))
        means = pd.Series([r.last for r in own]).groupby([r.label for r in own]).mean()
        one = float(means.max())
        if not zero < one:
            raise UsageError(
                f"scores of {game} cannot be normalised: the best label has {one:g}, the random "
                f"phases {zero:g}"
            )
        scales[game] = zero, one
    return scales, "the best label's mean last score (0: random phase)"


def _curve(
    runs: Sequence[StudyRun], label: str, scales: dict[str, tuple[float, float]]
) -> tuple[NDArray[np.float64], ...]:
    """Return the IQM of a label's tests over the training steps that all its runs have, 4 x [P]."""
    own = [run for run in runs if run.label == label]
    end = min(run.steps for run in own)
    start = max(float(run.tests["total_train_steps"].iloc[0]) for run in own)
    steps = np.unique(np.concatenate([run.tests["total_train_steps"] for run in own]))
    steps = steps[(steps >= start) & (steps <= end)]
    if len(steps) > CURVE_POINTS:
        steps = np.linspace(start, end, CURVE_POINTS)
    found = []
    for at in steps:
        of_games: dict[str, list[float]] = {}
        for run in own:
            zero, one = scales[run.game]
            score = np.interp(at, run.tests["total_train_steps"], run.tests["average_reward"])
            of_games.setdefault(run.game, []).append((float(score) - zero) / (one - zero))
        found.append(estimate(matrix(list(of_games.values())), interquartile_mean, samples=500))
    values = np.array(found, np.float64).reshape(-1, 3)
    return steps.astype(np.float64), values[:, 0], values[:, 1], values[:, 2]


def _improvements(
    tables: dict[str, dict[str, list[float]]],
) -> list[tuple[str, str, int, Estimate]]:
    """Return P(first > second) of every two labels, over the games that both have."""
    found = []
    labels = list(tables)
    for i, second in enumerate(labels):
        for first in labels[i + 1 :]:
            both = [game for game in tables[first] if game in tables[second]]
            if both:
                better, worse = (matrix([tables[x][g] for g in both]) for x in (first, second))
                found.append((first, second, len(both), probability_of_improvement(better, worse)))
    return found


def _differing(runs: Sequence[StudyRun], labels: list[str]) -> dict[str, dict[str, str]]:
    """Return the options in which labels differ on a game that they share."""
    names: dict[str, None] = {}
    for game in dict.fromkeys(run.game for run in runs):
        of_game = [run.options for run in runs if run.game == game and run.options]
        names |= dict.fromkeys(differences(of_game))
    return {
        name: {
            label: ", ".join(
                dict.fromkeys(
                    _text(run.options[name])
                    for run in runs
                    if run.label == label and name in run.options
                )
            )
            for label in labels
        }
        for name in names
    }


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return number_text(value) if isinstance(value, int | float) else str(value)


def _warnings(
    runs: Sequence[StudyRun],
    rows: list[GameScores],
    labels: list[str],
    games: list[str],
    known: dict[str, Any],
) -> list[str]:
    """Return what a reader must know before comparing these numbers."""
    found = []
    if few := [row for row in rows if len(row.runs) < 3]:
        names = ", ".join(f"{row.game} of {row.label}" for row in few[:4])
        more = f" and {len(few) - 4} more" if len(few) > 4 else ""
        found.append(f"fewer than 3 runs: {names}{more}; an interval of so few says little")
    for label in labels:
        if absent := [g for g in games if all((r.label, r.game) != (label, g) for r in rows)]:
            found.append(
                f"'{label}' has no run of {', '.join(absent)}: its aggregates are of fewer"
            )
    for game in games:
        lengths = {run.steps for run in runs if run.game == game}
        if len(lengths) > 1:
            texts = " to ".join(f"{n:,}" for n in (min(lengths), max(lengths)))
            found.append(f"runs of {game} are of different lengths: {texts} training steps")
    tested = {
        name: {_text(run.options[name]) for run in runs if name in run.options} for name in PROTOCOL
    }
    for game, name in itertools.product(games, PROTOCOL):
        own = {_text(r.options[name]) for r in runs if r.game == game and name in r.options}
        if len(own) > 1:
            found.append(f"tests of {game} differ: --{name} {' and '.join(sorted(own))}")
    if known:
        found.append(
            "published scores are of other protocols: their best checkpoint of up to "
            f"{PUBLISHED_STEPS:,} training steps, these of single test phases"
            + "".join(
                f", --{name} {' or '.join(sorted(values))} instead of {_text(PROTOCOL[name])}"
                for name, values in tested.items()
                if values and values != {_text(PROTOCOL[name])}
            )
        )
    return found
