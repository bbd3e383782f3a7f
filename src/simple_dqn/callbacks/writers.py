"""Writers of statistics: a CSV file, TensorBoard."""

from __future__ import annotations

import csv
import io
import os
import sys
from pathlib import Path

from simple_dqn.errors import UsageError
from simple_dqn.statistics import COLUMNS, PHASES, Row
from simple_dqn.storage.files import naming, set_aside, write_atomically
from simple_dqn.storage.statistics_file import read_csv


class CSVFile:
    """The statistics file of a run: a header, then one row per phase, flushed to disk.

    Args:
        path: the file.
        keep_before: None for a new file; otherwise continue an existing one after the rows that
            precede this (epoch, phase).
        drop_others: the remaining rows will be written again and can be dropped; otherwise, if
            there are any, the file is renamed first to keep them.

    Attributes:
        total_time: seconds of the run so far, from the last row kept.

    Raises:
        UsageError: the existing file is not a statistics file.
    """

    def __init__(
        self,
        path: Path,
        keep_before: tuple[int, str] | None = None,
        drop_others: bool = False,
    ) -> None:
        self.path = path
        self.total_time = 0.0
        self.backup: Path | None = None
        rows: list[Row] = []
        if keep_before is not None and path.exists():
            epoch, phase = keep_before
            bound = epoch, PHASES.index(phase)
            try:
                every = read_csv(path)
            except UsageError as error:
                raise UsageError(f"{error}: move it away to continue") from None
            rows = [r for r in every if (int(r["epoch"]), PHASES.index(r["phase"])) < bound]
            self.total_time = float(rows[-1]["total_time"]) if rows else 0.0
            if len(rows) < len(every) and not drop_others:
                self.backup = set_aside(path)
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(path, text.getvalue().encode())

    def __call__(self, row: Row) -> None:
        """Append a row and flush it to disk."""
        with naming(self.path), open(self.path, "a", newline="") as file:
            csv.DictWriter(file, COLUMNS, lineterminator="\n").writerow(row)
            file.flush()
            os.fsync(file.fileno())


class TensorBoard:
    """Writes every row as TensorBoard scalars, tagged <phase>/<column>.

    Raises:
        UsageError: TensorBoard is not installed.
    """

    def __init__(self, folder: str) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UsageError(
                f"--tensorboard needs the package tensorboard: "
                f"{sys.executable} -m pip install tensorboard"
            ) from None
        self.writer = SummaryWriter(folder)

    def __call__(self, row: Row) -> None:
        """Write the numbers of the row at its training step."""
        for column, value in row.items():
            if column not in ("epoch", "phase") and value == value:  # nan cannot be plotted
                tag, step = f"{row['phase']}/{column}", row["total_train_steps"]
                self.writer.add_scalar(tag, value, step)
        self.writer.flush()
