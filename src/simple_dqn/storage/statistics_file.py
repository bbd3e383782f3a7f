"""Reading the statistics file of a run, also after a spreadsheet has saved it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from simple_dqn.errors import UsageError
from simple_dqn.statistics import COLUMNS, PHASES, Row

# The numbers that no row lacks; others may be blank in older files.
NEEDED = ("steps", "total_time", "average_reward", "last_exploration_rate")


def read_text(path: Path) -> str:
    """Return a statistics file as the program writes it, without a half-written last line.

    A spreadsheet may save it with a byte order mark, in UTF-16, with other ends of lines, in
    quotes, with tabs, or with semicolons and decimal commas; rows that a running training appends
    then are as ever.

    Raises:
        OSError, ValueError: it cannot be read, or is not text.
    """
    data = path.read_bytes()
    wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    text = data.decode("utf-16" if wide else "utf-8-sig")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = text[: text.rfind("\n") + 1]  # a line without its end is still being written
    if not any(mark in text for mark in (";", "\t", '"', "\n,")):
        return text
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    for line in filter(None, text.split("\n")):
        mark = next((mark for mark in ";\t" if mark in line), ",")
        (cells,) = csv.reader([line], delimiter=mark)
        if any(cells):
            writer.writerow(cells if mark == "," else [cell.replace(",", ".") for cell in cells])
    return lines.getvalue()


def require_header(text: str, path: Path) -> None:
    """Raise UsageError unless a file that was read begins as a statistics file does."""
    header = next(csv.reader(io.StringIO(text)), [])
    if header[:16] != list(COLUMNS[:16]):
        raise UsageError(f"'{path}' is not a statistics file of Simple DQN")


def require_statistics(path: Path) -> None:
    """Raise UsageError unless ``path`` is a statistics file, be it damaged."""
    try:
        require_header(read_text(path), path)
    except (OSError, ValueError, csv.Error):
        raise UsageError(f"'{path}' is not a statistics file of Simple DQN") from None


def read_csv(path: Path) -> list[Row]:
    """Return the rows of a statistics file as strings, without a partial last row.

    Raises:
        UsageError: it is not a statistics file.
    """
    try:
        text = read_text(path)
        require_header(text, path)
        rows = list(csv.DictReader(io.StringIO(text)))
        for row in rows:
            int(row["epoch"])
            for column in COLUMNS[2:]:
                if column in NEEDED or row.get(column):
                    float(row[column])
            if row["phase"] not in PHASES:
                raise ValueError(f"unknown phase '{row['phase']:.20}'")
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise UsageError(f"'{path}' is damaged ({error})") from None
    return [{column: row.get(column) or "" for column in COLUMNS} for row in rows]
