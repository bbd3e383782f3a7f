"""Aggregates of many runs: by hand, and against rliable's own figures (see tests/rliable)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from simple_dqn.analysis.aggregate import (
    AGGREGATES,
    estimate,
    improvement,
    interquartile_mean,
    matrix,
    mean_interval,
    performance_profile,
    probability_of_improvement,
    resampled,
)

REFERENCE = json.loads((Path(__file__).parent / "rliable" / "reference.json").read_text())


def table(name):
    return np.array(REFERENCE["scores"][name])


@pytest.mark.parametrize("name", ["first", "second"])
def test_aggregates_are_those_of_rliable(name):
    """Values to 1e-9; intervals to a twentieth of their width, the noise of a bootstrap."""
    assert list(AGGREGATES) == REFERENCE["names"]
    for aggregate, value, (low, high) in zip(
        AGGREGATES.values(), REFERENCE["values"][name], REFERENCE["intervals"][name], strict=True
    ):
        own = estimate(table(name), aggregate, samples=10_000)
        assert own.value == pytest.approx(value, abs=1e-9)
        assert (own.low, own.high) == pytest.approx((low, high), abs=(high - low) / 20)


def test_probability_of_improvement_is_that_of_rliable():
    low, high = REFERENCE["improvement_interval"]
    own = probability_of_improvement(table("first"), table("second"), samples=10_000)
    assert own.value == pytest.approx(REFERENCE["improvement"], abs=1e-9)
    assert (own.low, own.high) == pytest.approx((low, high), abs=(high - low) / 20)


@pytest.mark.parametrize("name", ["first", "second"])
def test_performance_profile_is_that_of_rliable(name):
    shares, bands = performance_profile(
        table(name), np.array(REFERENCE["thresholds"]), samples=10_000
    )
    assert shares == pytest.approx(REFERENCE["profiles"][name], abs=1e-9)
    assert bands == pytest.approx(np.array(REFERENCE["bands"][name]), abs=0.03)


def test_aggregates_by_hand():
    """Two games: runs 0, 1, 2, 3 and 4, 4, 8, 8."""
    scores = matrix([[0, 1, 2, 3], [4, 4, 8, 8]])
    values = {name: float(aggregate(scores)) for name, aggregate in AGGREGATES.items()}
    assert values == {
        "IQM": (2 + 3 + 4 + 4) / 4,  # of 8 runs the two lowest and the two highest are left out
        "median": (1.5 + 6) / 2,
        "mean": (1.5 + 6) / 2,
        "optimality gap": 1 - (0 + 7) / 8,
    }


def test_games_with_fewer_runs():
    """Missing runs are left out of everything, and never drawn."""
    scores = matrix([[1.0], [2.0, 4.0, 6.0]])
    assert float(interquartile_mean(scores)) == (2 + 4) / 2  # of 4 runs one from either end
    assert float(AGGREGATES["mean"](scores)) == (1 + 4) / 2
    drawn = resampled(scores, np.random.default_rng(0), 200)
    assert (drawn[:, 0, 0] == 1).all()
    assert np.isnan(drawn[:, 0, 1:]).all()
    assert set(np.unique(drawn[:, 1])) == {2, 4, 6}


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.integers(1, 7), st.integers(0, 2**32 - 1))
def test_interquartile_mean_is_the_trimmed_mean(games, runs, seed):
    scores = np.random.default_rng(seed).normal(size=(games, runs))
    expected = stats.trim_mean(scores, 0.25, axis=None)
    assert float(interquartile_mean(scores)) == pytest.approx(expected, abs=1e-12)


def test_improvement_by_hand():
    """Game 1: 3 beats 1 and 2, ties with 3; game 2: never."""
    first, second = matrix([[3.0], [0.0]]), matrix([[1.0, 2.0, 3.0], [5.0, 5.0]])
    assert float(improvement(first, second)) == pytest.approx((2.5 / 3 + 0) / 2)
    assert float(improvement(second, first)) == pytest.approx(1 - (2.5 / 3 + 0) / 2)


def test_mean_interval_by_hand():
    """1, 2, 3: standard error 1/√3, and t(.975; 2) = 4.3027."""
    value, low, high = mean_interval([1, 2, 3])
    assert value == 2
    assert (low, high) == pytest.approx((2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5))
    assert np.isnan(mean_interval([7]).low)


def test_intervals_are_the_same_each_time():
    scores = table("first")
    assert estimate(scores, interquartile_mean) == estimate(scores, interquartile_mean)
