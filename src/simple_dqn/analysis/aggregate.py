"""Statistics of many runs, those of Agarwal et al. 2021 (arXiv 2108.13264).

Scores are normalised ones, [games, runs]: nan where a game has fewer runs than another. An interval
is the middle 95% of what bootstrap samples of the runs give; each game's runs are drawn anew and
apart from the others' (stratified), since the games are what they are and the seeds are a sample.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Scores = NDArray[np.float64]  # [games, runs] or, of samples, [samples, games, runs]

SAMPLES = 2_000  # of a bootstrap
LEVEL = 0.95
SEED = 0  # of the bootstrap: the same runs give the same intervals
MOST_NUMBERS = 20_000_000  # held at once by a bootstrap


class Estimate(NamedTuple):
    """A value and its interval."""

    value: float
    low: float
    high: float


def interquartile_mean(scores: Scores) -> NDArray[np.float64]:
    """Return the mean of the middle half of all runs of all games, over the last two axes.

    As ``scipy.stats.trim_mean(scores, .25)``: of n runs, n // 4 are left out at either end.
    """
    flat = np.sort(scores.reshape(*scores.shape[:-2], -1), axis=-1)  # nan last
    counts = (~np.isnan(flat)).sum(axis=-1)
    cut = counts // 4
    places = np.arange(flat.shape[-1])
    middle = (places >= cut[..., None]) & (places < (counts - cut)[..., None])
    return np.asarray(np.where(middle, flat, 0).sum(axis=-1) / middle.sum(axis=-1))


def mean(scores: Scores) -> NDArray[np.float64]:
    """Return the mean over games of the mean over runs."""
    return np.asarray(np.nanmean(scores, axis=-1).mean(axis=-1))


def median(scores: Scores) -> NDArray[np.float64]:
    """Return the median over games of the mean over runs."""
    return np.asarray(np.median(np.nanmean(scores, axis=-1), axis=-1))


def optimality_gap(scores: Scores, target: float = 1.0) -> NDArray[np.float64]:
    """Return how far the runs are below ``target``, 1 for human, on average; lower is better."""
    return np.asarray(target - np.nanmean(np.minimum(scores, target), axis=(-2, -1)))


AGGREGATES: dict[str, Callable[[Scores], NDArray[np.float64]]] = {
    "IQM": interquartile_mean,
    "median": median,
    "mean": mean,
    "optimality gap": optimality_gap,
}


def matrix(runs: Sequence[Sequence[float]]) -> Scores:
    """Return the scores of the runs of each game as an array, filled up with nan."""
    longest = max(map(len, runs))
    return np.array([[*own, *[np.nan] * (longest - len(own))] for own in runs], np.float64)


def resampled(
    scores: Scores, rng: np.random.Generator, samples: int = SAMPLES
) -> NDArray[np.float64]:
    """Return bootstrap samples, [samples, games, runs]: in each game, its runs with replacement."""
    counts = (~np.isnan(scores)).sum(axis=1)
    drawn = rng.random((samples, *scores.shape))
    chosen = (drawn * counts[:, None]).astype(np.int64)  # runs of a game come before its nans
    picked = np.take_along_axis(np.broadcast_to(scores, drawn.shape), chosen, axis=2)
    return np.where(np.arange(scores.shape[1]) < counts[:, None], picked, np.nan)


def estimate(
    scores: Scores, aggregate: Callable[[Scores], NDArray[np.float64]], samples: int = SAMPLES
) -> Estimate:
    """Return an aggregate of scores [games, runs] and its interval by a stratified bootstrap.

    With a single run per game there is no interval: nan.
    """
    if scores.shape[1] == 1:
        return Estimate(float(aggregate(scores)), float("nan"), float("nan"))
    rng = np.random.default_rng(SEED)
    at_once = max(MOST_NUMBERS // scores.size, 1)
    values = np.concatenate(
        [
            aggregate(resampled(scores, rng, min(at_once, samples - begun)))
            for begun in range(0, samples, at_once)
        ]
    )
    return Estimate(float(aggregate(scores)), *_interval(values))


def improvement(first: Scores, second: Scores) -> NDArray[np.float64]:
    """Return the probability that a run of ``first`` beats one of ``second``, mean over games.

    In each game it is the Mann-Whitney statistic over the number of pairs; a tie is half a win.
    """
    pairs = first[..., :, None] - second[..., None, :]
    there = ~np.isnan(pairs)
    wins = ((pairs > 0) + 0.5 * (pairs == 0)).sum(axis=(-2, -1))
    return np.asarray((wins / there.sum(axis=(-2, -1))).mean(axis=-1))


def probability_of_improvement(first: Scores, second: Scores, samples: int = SAMPLES) -> Estimate:
    """Return ``improvement`` and its interval; the runs of both sides are drawn apart."""
    if first.shape[1] == second.shape[1] == 1:
        return Estimate(float(improvement(first, second)), float("nan"), float("nan"))
    rng = np.random.default_rng(SEED)
    values = improvement(resampled(first, rng, samples), resampled(second, rng, samples))
    return Estimate(float(improvement(first, second)), *_interval(values))


def performance_profile(
    scores: Scores, thresholds: NDArray[np.float64], samples: int = SAMPLES
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the share of runs above each threshold, [T], and its intervals, [2, T].

    The runs of all games together, their "score distribution", equation 3 there.
    """

    def shares(of: Scores) -> NDArray[np.float64]:
        flat = of.reshape(*of.shape[:-2], -1)
        count = (~np.isnan(flat)).sum(axis=-1)
        return np.stack([(flat > t).sum(axis=-1) / count for t in thresholds], axis=-1)

    drawn = shares(resampled(scores, np.random.default_rng(SEED), samples))
    return shares(scores), np.quantile(drawn, _tails(), axis=0)


def mean_interval(values: Sequence[float]) -> Estimate:
    """Return the mean of a game's runs and its 95% interval by Student's t; nan for one run."""
    numbers = np.asarray(values, np.float64)
    middle = float(numbers.mean())
    if len(numbers) < 2:
        return Estimate(middle, float("nan"), float("nan"))
    half = float(stats.t.ppf(_tails()[1], len(numbers) - 1) * stats.sem(numbers))
    return Estimate(middle, middle - half, middle + half)


def _interval(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(values, _tails())
    return float(low), float(high)


def _tails() -> tuple[float, float]:
    return (1 - LEVEL) / 2, (1 + LEVEL) / 2
