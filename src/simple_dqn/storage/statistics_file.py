"""Reading the statistics file of a run."""

from __future__ import annotations

import csv
from pathlib import Path

from simple_dqn.errors import UsageError
from simple_dqn.statistics import COLUMNS, PHASES, Row


def read_csv(path: Path) -> list[Row]:
    """Return the rows of a statistics file as strings, without a partial last row.

    Raises:
        UsageError: it is not a statistics file.
    """
    try:
        lines = path.read_text().splitlines(keepends=True)
        reader = csv.DictReader(line for line in lines if line.endswith("\n"))
        if list(reader.fieldnames or ())[:16] != list(COLUMNS[:16]):
            raise UsageError(f"'{path}' is not a statistics file of Simple DQN")
        rows = list(reader)
        for row in rows:
            int(row["epoch"]), float(row["total_time"]), float(row["average_reward"])
            if row["phase"] not in PHASES:
                raise ValueError(f"unknown phase '{row['phase']:.20}'")
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise UsageError(f"'{path}' is damaged ({error})") from None
    return [{column: row.get(column, "") for column in COLUMNS} for row in rows]
