"""Learning curves: the statistics of one or more runs as lines, seeds of a label together."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simple_dqn.errors import UsageError
from simple_dqn.options.definitions import PLACES
from simple_dqn.statistics import COLUMNS, Row
from simple_dqn.storage.statistics_file import read_csv

SEED_AND_PLACES = PLACES | {"random_seed"}
PHASES = ("test", "train", "random")  # those of a learning curve; playing is not


class Run(NamedTuple):
    """The label of a run and the rows of its random, train and test phases."""

    label: str
    rows: list[Row]


class Curve(NamedTuple):
    """A line and the deviation from it, each float64 [points]."""

    x: NDArray[np.float64]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]


def make_labels(paths: Sequence[Path]) -> list[str]:
    """Return a label for each file; seeds of one experiment get the same.

    A label is the file's name, after as much of its folder as tells the files apart, without a
    seed number (pong_1, pong-seed2, pong_s3) if there are others that differ in nothing else, nor
    in the options that their records tell.
    """
    parts = [Path(os.path.abspath(path)).with_suffix("").parts for path in paths]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(of_one[-depth:]) for of_one in parts]
        if len(set(names)) == len(names):
            break
    else:
        names = [str(path) for path in paths]  # they differ in the suffix
    families = [re.sub(r"[_-](seed|run|s)?\d+$", "", name) for name in names]
    records = [_configuration(path) for path in paths]
    alike = {
        family: len({r for r, f in zip(records, families, strict=True) if r and f == family}) <= 1
        for family in families
    }
    return [
        family if families.count(family) > 1 and alike[family] else name
        for family, name in zip(families, names, strict=True)
    ]


def _configuration(path: Path) -> str:
    """Return what a run's record, if it has one, says of its options but for the seed."""
    try:
        config = json.loads(path.with_suffix(".json").read_text())["runs"][0]["config"]
        return json.dumps({k: v for k, v in config.items() if k not in SEED_AND_PLACES})
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return ""


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """Read statistics files.

    Raises:
        UsageError: a file is missing, damaged, or no statistics file.
    """
    runs = []
    for path, label in zip(paths, make_labels(paths), strict=True):
        if not path.is_file():
            raise UsageError(f"there is no file '{path}'")
        rows = [row for row in read_csv(path) if row["phase"] in PHASES]
        try:
            for row in rows:
                numbers([row], *COLUMNS[2:])
        except ValueError as error:
            raise UsageError(f"'{path}' is damaged (epoch {row['epoch']}: {error})") from None
        runs.append(Run(label, rows))
    return runs


def make_curve(runs: Sequence[Run], phase: str, field: str, x_axis: str) -> Curve:
    """Return the mean over the runs of one label, and their standard deviation, in a phase.

    At each x they are over the runs that have a value there. The deviation is divided by n, so
    that the band of two runs reaches from one to the other. No two runs have equal times: along
    total_time a run counts with the straight line between its values.
    """
    points = []
    for run in runs:
        x, y = numbers([row for row in run.rows if row["phase"] == phase], x_axis, field)
        finite = np.isfinite(x) & np.isfinite(y)
        if finite.any():
            points.append((x[finite], y[finite]))
    if not points:
        return Curve(np.empty(0), np.empty(0), np.empty(0))
    grid = np.unique(np.concatenate([x for x, _ in points]))
    values = np.full((len(points), len(grid)), np.nan)
    for of_one, (x, y) in zip(values, points, strict=True):
        if x_axis == "total_time":
            of_one[:] = np.interp(grid, x, y, left=np.nan, right=np.nan)
        else:
            of_one[np.searchsorted(grid, x)] = y
    return Curve(grid, np.nanmean(values, axis=0), np.nanstd(values, axis=0))


def numbers(rows: Sequence[Row], *columns: str) -> list[NDArray[np.float64]]:
    """Return each column as float64 [rows], nan where a cell is empty."""
    return [np.array([float(row[column] or "nan") for row in rows]) for column in columns]
