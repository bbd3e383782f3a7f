"""Write reference.json: what rliable gives for two random tables of 10 games x 5 runs.

    python -m venv /tmp/rliable && /tmp/rliable/bin/pip install rliable "arch<8" "pandas<3"
    /tmp/rliable/bin/python tests/rliable/make_reference.py

Python 3.10: with newer ones rliable 1.2.0 does not import.
"""

# mypy: ignore-errors
# These imports are installed in an environment of their own, which mypy does not see.

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
from rliable import library, metrics

AGGREGATES = {
    "IQM": metrics.aggregate_iqm,
    "median": metrics.aggregate_median,
    "mean": metrics.aggregate_mean,
    "optimality gap": metrics.aggregate_optimality_gap,
}


def main() -> None:
    """Compute and write everything."""
    rng = np.random.default_rng(2021)
    level = rng.lognormal(-0.3, 0.8, 10)  # of a game
    first = level * rng.lognormal(0.1, 0.4, (5, 10))  # rliable has [runs, games]
    second = level * rng.lognormal(0.0, 0.3, (5, 10))
    np.random.seed(0)  # noqa: NPY002 (what rliable draws from)
    scores = {"first": first, "second": second}
    points, intervals = library.get_interval_estimates(
        scores, lambda x: np.array([f(x) for f in AGGREGATES.values()]), reps=50_000
    )
    pair, pair_interval = library.get_interval_estimates(
        {"pair": (first, second)}, metrics.probability_of_improvement, reps=5_000
    )
    thresholds = np.linspace(0, 3, 13)
    profiles, bands = library.create_performance_profile(scores, thresholds, reps=10_000)
    found = {
        "rliable": version("rliable"),
        "names": list(AGGREGATES),
        "scores": {name: table.T.tolist() for name, table in scores.items()},
        "values": {name: points[name].tolist() for name in scores},
        "intervals": {name: intervals[name].T.tolist() for name in scores},
        "improvement": float(pair["pair"]),
        "improvement_interval": pair_interval["pair"].ravel().tolist(),
        "thresholds": thresholds.tolist(),
        "profiles": {name: profiles[name].tolist() for name in scores},
        "bands": {name: bands[name].tolist() for name in scores},
    }
    path = Path(__file__).with_name("reference.json")
    path.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
