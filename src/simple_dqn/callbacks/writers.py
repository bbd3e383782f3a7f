"""Writers of statistics: a CSV file, TensorBoard."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from simple_dqn.errors import UsageError
from simple_dqn.statistics import COLUMNS, PHASES, Row
from simple_dqn.storage.files import (
    naming,
    require_place,
    require_writable,
    set_aside,
    write_atomically,
)
from simple_dqn.storage.statistics_file import read_csv

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

EVENTS = "events.out.tfevents."  # how TensorBoard's files begin; a time and a host follow
LONGEST_EVENTS = 200


class CSVFile:
    """The statistics file of a run: a header, then one row per phase, flushed to disk.

    Args:
        path: the file.
        keep_before: None for a new file; otherwise continue an existing one after the rows that
            precede this (epoch, phase).
        drop_others: the remaining rows will be written again and can be dropped; otherwise, if
            there are any, the file is renamed first to keep them.

    Attributes:
        rows: those kept, as texts.
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
        self.rows: list[Row] = []
        if keep_before is not None and path.exists():
            epoch, phase = keep_before
            bound = epoch, PHASES.index(phase)
            try:
                every = read_csv(path)
            except UsageError as error:
                raise UsageError(f"{error}: move it away to continue") from None
            self.rows = [r for r in every if (int(r["epoch"]), PHASES.index(r["phase"])) < bound]
            self.total_time = float(self.rows[-1]["total_time"]) if self.rows else 0.0
            if len(self.rows) < len(every) and not drop_others:
                self.backup = set_aside(path)
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_atomically(path, text.getvalue().encode())

    def __call__(self, row: Row) -> None:
        """Append a row and flush it to disk.

        The file may have been removed since, or saved without its last end of line.
        """
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        with naming(self.path), open(self.path, "ab+") as file:
            if size := file.seek(0, os.SEEK_END):
                file.seek(size - 1)
                text.write("" if file.read() in b"\r\n" else "\n")
            else:
                writer.writeheader()
            writer.writerow(row)
            file.write(text.getvalue().encode())
            file.flush()
            os.fsync(file.fileno())


class TensorBoard:
    """Mirrors the rows of a run's CSV file as TensorBoard scalars, tagged <phase>/<column>.

    The files of a run have a suffix of their own, which tells those that it wrote before it was
    resumed from other files in the same folder.

    Args:
        folder: of the board.
        prefix: of the run's snapshots: what makes it the same run.

    Raises:
        UsageError: TensorBoard is not installed, or the folder cannot be written.
    """

    def __init__(self, folder: str, prefix: str) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UsageError(
                f"--tensorboard needs the package tensorboard: "
                f"{sys.executable} -m pip install tensorboard"
            ) from None
        self.folder = Path(folder)
        require_place(self.folder, "tensorboard", inside=LONGEST_EVENTS)
        require_writable(self.folder, "tensorboard")
        # As seen from the board: the same after both have moved together.
        place = os.path.relpath(os.path.realpath(prefix), os.path.realpath(folder))
        self.end = f".simple_dqn-{hashlib.sha256(os.fsencode(place)).hexdigest()[:12]}"
        self._make_writer = partial(SummaryWriter, folder, filename_suffix=self.end)
        self._writer: SummaryWriter | None = None

    def begin(self, rows: list[Row]) -> None:
        """Let the board hold ``rows`` of this run, which the CSV file keeps, and no others."""
        for path in self.folder.iterdir():
            if path.name.startswith(EVENTS) and path.name.endswith(self.end):
                path.unlink(missing_ok=True)
        for row in rows:
            self._add(row)
        if self._writer is not None:
            self._writer.flush()

    def __call__(self, row: Row) -> None:
        """Write the numbers of the row at its training step."""
        self._add(row)
        assert self._writer is not None
        self._writer.flush()

    def _add(self, row: Row) -> None:
        """Add a row, also one of texts as it is read from the CSV file."""
        if self._writer is None:  # with the first row: a run that has none leaves no file behind
            self._writer = self._make_writer()
        for column, text in row.items():
            if column not in ("epoch", "phase") and text != "":
                value = float(text)
                if value == value:  # nan cannot be plotted
                    tag, step = f"{row['phase']}/{column}", int(float(row["total_train_steps"]))
                    self._writer.add_scalar(tag, value, step)
