"""Learning curves: the statistics of runs as tables, and the mean and spread over seeds."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from simple_dqn.errors import UsageError
from simple_dqn.options.definitions import PLACES
from simple_dqn.statistics import COLUMNS, PHASES
from simple_dqn.storage.statistics_file import read_text, require_header

SEED_AND_PLACES = PLACES | {"random_seed"}


class Run(NamedTuple):
    """The label of a run and the table of its random, train and test phases.

    The table has the columns epoch (int64), phase (str) and, as float64, every other one of
    ``statistics.COLUMNS`` in which the file holds a value.
    """

    label: str
    table: pd.DataFrame


class Curve(NamedTuple):
    """The mean of a column over runs and its standard deviation, each float64 [points].

    Between points of different sets of runs a mean may jump though no run does.
    """

    x: NDArray[np.float64]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    seeds: NDArray[np.int64]  # the runs that have a value there, [points]
    sets: NDArray[np.int64]  # a number for each set of runs, [points]
    runs: int  # in all

    @property
    def complete(self) -> NDArray[np.bool_]:
        """Where all runs have a value, [points]."""
        return np.equal(self.seeds, self.runs)


def make_labels(paths: Sequence[Path]) -> list[str]:
    """Return a label for each file; seeds of one experiment share a label.

    A label is the file name, preceded by as many of its folders as are needed to tell the files
    apart. A seed number (pong_1, pong-seed2, pong_s3) is dropped if several files differ in
    nothing else and their run records agree in all options but the seed.
    """
    parts = [Path(os.path.abspath(path)).with_suffix("").parts for path in paths]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(of_one[-depth:]) for of_one in parts]
        if len(set(names)) == len(names):
            break
    else:
        names = [str(path) for path in paths]  # they differ only in the suffix
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
    """Return the options in a run's record, without seed and file names; "" without a record."""
    try:
        config = json.loads(path.with_suffix(".json").read_text())["runs"][0]["config"]
        return json.dumps({k: v for k, v in config.items() if k not in SEED_AND_PLACES})
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return ""


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """Read statistics files.

    Raises:
        UsageError: a file is missing, damaged, or not a statistics file.
    """
    return [Run(label, read_table(p)) for p, label in zip(paths, make_labels(paths), strict=True)]


def read_table(path: Path) -> pd.DataFrame:
    """Return the table of a statistics file, see ``Run``, without a half-written last line.

    Raises:
        UsageError: the file is missing, damaged, or not a statistics file.
    """
    if not path.is_file():
        raise UsageError(f"there is no file '{path}'")
    try:
        text = read_text(path)
        require_header(text, path)
        # As strings: an empty cell differs from a nan, and errors quote the cell. usecols ignores
        # unknown columns and cells beyond the header.
        cells = pd.read_csv(
            io.StringIO(text), dtype=object, keep_default_na=False, index_col=False,
            usecols=lambda column: column in COLUMNS,
        ).fillna("")  # fmt: skip
        for column, dtype in ("epoch", int), ("total_time", float), ("average_reward", float):
            cells[column] = cells[column].astype(dtype)
        if not (known := cells["phase"].isin(PHASES)).all():
            raise ValueError(f"no phase '{cells['phase'][~known].iloc[0]:.20}'")
    except (OSError, ValueError, OverflowError, csv.Error) as error:
        raise UsageError(f"'{path}' is damaged ({error})") from None

    cells = cells[cells["phase"] != "play"].reset_index(drop=True)  # no part of a learning curve
    named = cells[["epoch", "phase"]]
    numbers = cells.drop(columns=["epoch", "phase"])
    # What older versions did not write is left out; what each run has is there without rows, too.
    there = (numbers != "").any() | numbers.columns.isin(COLUMNS[:16])
    try:
        return named.join(numbers.loc[:, there].replace("", "nan").astype(float))
    except ValueError:
        where = _first_damage(numbers.set_index(named["epoch"]))
        raise UsageError(f"'{path}' is damaged ({where})") from None


def _first_damage(cells: pd.DataFrame) -> str:
    """Return the first row with a cell that is not a number, by its index, the epoch, and why."""
    for epoch, row in cells.iterrows():
        try:
            row.astype(float)
        except ValueError as error:
            return f"epoch {epoch}: {error}"
    return ""


def make_curve(runs: Sequence[Run], phase: str, field: str, x_axis: str) -> Curve:
    """Return the mean and the standard deviation of a column over the runs of one label.

    At each x they are over the runs that have a value there. The deviation is divided by n, so the
    band of two runs reaches from one to the other. Times and steps may differ between runs: along
    them a run is interpolated linearly between its rows, but not over a row without a value.
    """
    lines = []
    for run in runs:
        rows = run.table[run.table["phase"] == phase].reindex(columns=list(COLUMNS))
        points = pd.DataFrame({"x": rows[x_axis], "y": rows[field]}, dtype=float)
        points = points.replace([np.inf, -np.inf], np.nan).dropna(subset="x")
        lines.append(points.groupby("x")["y"].last())
    x = np.unique(np.concatenate([line.index for line in lines]))
    values = np.full((len(lines), len(x)), np.nan)
    for own, line in zip(values, lines, strict=True):
        if x_axis == "epoch":
            own[:] = line.reindex(x)
        elif len(line):
            own[:] = np.interp(x, line.index, line, left=np.nan, right=np.nan)
    there = ~np.isnan(values)
    x, values, there = (array[..., there.any(axis=0)] for array in (x, values, there))
    mean, std = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    sets = np.unique(there, axis=1, return_inverse=True)[1].ravel()
    return Curve(x, mean, std, there.sum(axis=0), sets, len(lines))


def describe_seeds(runs: Sequence[Run]) -> str:
    """Return what the mean of a label is of: how many runs, and how many after some have ended."""
    if len(runs) == 1:
        return ""
    ends = sorted(int(run.table["epoch"].max()) for run in runs)
    shorter = sorted(set(ends) - {ends[-1]})
    text = f"mean ± std of {len(runs)} seeds"
    if len(shorter) > 2:
        return f"{text}, fewer after epoch {shorter[0]}"
    left = [f"{sum(end > epoch for end in ends)} after epoch {epoch}" for epoch in shorter]
    return ", ".join([text, *left])
