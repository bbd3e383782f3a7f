"""A study: the statistics files of many runs, by label and game, with what they were run with."""

from __future__ import annotations

import functools
import json
import logging
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from simple_dqn.analysis.curves import SEED_AND_PLACES, read_table
from simple_dqn.errors import UsageError
from simple_dqn.options.definitions import Config
from simple_dqn.storage.run_files import file_name

logger = logging.getLogger(__name__)

PUBLISHED = Path(__file__).with_name("published.csv")
OUTPUT = "label,game,measure,"  # how a file begins that a comparison has written


class StudyRun(NamedTuple):
    """A run and what is known about it.

    Attributes:
        path: its statistics file.
        game: ALE's name of the game, or a Gymnasium id.
        label: what it is compared as; seeds of one experiment share a label.
        seed: None without a record.
        options: those of its record, without seed and places; empty without a record.
        record: what its record says about the training; empty without one.
        table: see ``curves.Run``.
    """

    path: Path
    game: str
    label: str
    seed: int | None
    options: dict[str, Any]
    record: dict[str, Any]
    table: pd.DataFrame

    @property
    def tests(self) -> pd.DataFrame:
        """The rows of the tests in which a game ended."""
        rows = self.table[self.table["phase"] == "test"]
        return rows[rows["average_reward"].notna()]

    @property
    def random_score(self) -> float:
        """The mean score of the random phase; nan without one."""
        rows = self.table[self.table["phase"] == "random"]
        return float(rows["average_reward"].iloc[0]) if len(rows) else float("nan")

    @property
    def steps(self) -> int:
        """Training steps until the last test."""
        return int(self.tests["total_train_steps"].iloc[-1])

    @property
    def last(self) -> float:
        """The score of the last test."""
        return float(self.tests["average_reward"].iloc[-1])

    @property
    def best(self) -> float:
        """The score of the best test."""
        return float(self.tests["average_reward"].max())


class Published(NamedTuple):
    """The published scores of single games, see ``published.csv``.

    Attributes:
        scores: a row per game, a column per source; nan where there is none.
        protocols: how the scores of each column were got, with its source.
    """

    scores: pd.DataFrame
    protocols: dict[str, str]


@functools.cache
def read_published() -> Published:
    """Return the published scores."""
    lines = PUBLISHED.read_text().splitlines()
    notes = [line[2:].partition(": ") for line in lines if line.startswith("# ")]
    scores = pd.read_csv(PUBLISHED, comment="#", index_col="game")
    return Published(scores, {name: note for name, _, note in notes if name in scores})


def find_files(paths: Sequence[Path]) -> list[Path]:
    """Return the files given and the CSV files in the folders given, without duplicates.

    Raises:
        UsageError: a path does not exist, or a folder has no CSV file.
    """
    found: dict[str, Path] = {}
    for path in paths:
        files = [path]
        if path.is_dir():
            files = [file for file in sorted(path.glob("*.csv")) if not _is_output(file)]
            if not files:
                raise UsageError(f"there is no statistics file (*.csv) in the folder '{path}'")
        elif not path.is_file():
            raise UsageError(f"there is no file or folder '{path}'")
        found |= {os.path.realpath(file): file for file in files}
    return list(found.values())


def read_study(paths: Sequence[Path]) -> list[StudyRun]:
    """Read statistics files and folders of them; what cannot be compared is logged.

    Runs that share a label and a game, but not their options, get labels of their own. Of runs that
    share label, game, options and seed one counts.

    Raises:
        UsageError: a file is missing or damaged, or there is no run with a test.
    """
    runs = []
    for path in find_files(paths):
        run = _read(path)
        if run.tests.empty:
            logger.warning("%s is left out: no game ended in a test", path)
        elif not np.isfinite(run.tests[["average_reward", "total_train_steps"]]).all(axis=None):
            raise UsageError(f"'{path}' is damaged: a test without its score or training steps")
        else:
            runs.append(run)
    if not runs:
        raise UsageError("there is nothing to compare: no run with a test in which a game ended")
    return _without_copies(_apart(runs))


def _is_output(path: Path) -> bool:
    with open(path, errors="replace") as file:
        return file.read(len(OUTPUT)) == OUTPUT


def _read(path: Path) -> StudyRun:
    """Return the run of a statistics file, with its record if that lies beside it."""
    table = read_table(path)
    record: dict[str, Any] = {}
    try:
        record = json.loads(path.with_suffix(".json").read_text())["runs"][0]
        config, game = dict(record["config"]), str(record["game"])
        seed = int(config["random_seed"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        record, config, game, seed = {}, {}, _game_of(path.stem), None
    if record:  # an option that is newer than the run had its default: what programs did before it
        config = {**Config().to_dict(), **config}
    options = {name: value for name, value in config.items() if name not in SEED_AND_PLACES}
    label = _label_of(path, game) or str(options.get("preset", "runs"))
    return StudyRun(path, game, label, seed, options, record, table)


def _game_of(name: str) -> str:
    """Return the game that a file is named after; without a known one, its first word."""
    known = [game for game in read_published().scores.index if f"{name}_".startswith(f"{game}_")]
    return max(known, key=len) if known else name.partition("_")[0]


def _label_of(path: Path, game: str) -> str:
    """Return what the file's name, or else its folder's, says besides the game and a seed."""
    name, spelling = _text(path.stem), file_name(game)
    if f"{name}_".startswith(f"{spelling}_"):
        name = name[len(spelling) :].lstrip("_")
    label = re.sub(r"(^|[_-])(seed|run|s)?\d+$", "", name)
    folder = _text(path.absolute().parent.name)
    return label or ("" if folder == "results" else folder)


def _text(name: str) -> str:
    """Return a file's name as text that can be printed, also where it is not UTF-8."""
    return os.fsencode(name).decode(errors="replace")


def _apart(runs: list[StudyRun]) -> list[StudyRun]:
    """Give runs of one label and game that differ in more than the seed labels that say so."""
    renamed = []
    for run in runs:
        others = [o for o in runs if (o.label, o.game) == (run.label, run.game) and o.options]
        differing = differences(other.options for other in others)
        if run.options and differing:
            named = ", ".join(f"{name}={run.options.get(name)}" for name in differing)
            renamed.append(run._replace(label=f"{run.label} ({named})"))
        else:
            renamed.append(run)
    for label in sorted(
        {r.label for r, n in zip(runs, renamed, strict=True) if r.label != n.label}
    ):
        logger.warning("runs of '%s' differ in more than the seed: they are not pooled", label)
    return renamed


def differences(several: Iterable[dict[str, Any]]) -> list[str]:
    """Return the options that do not have the same value in all of ``several``."""
    each = list(several)
    names = dict.fromkeys(name for options in each for name in options)
    texts = {name: {json.dumps(options.get(name)) for options in each} for name in names}
    return [name for name in names if len(texts[name]) > 1]


def _without_copies(runs: list[StudyRun]) -> list[StudyRun]:
    """Leave out runs that are there already: the same label, game and seed, or the same rows."""
    kept: list[StudyRun] = []
    for run in runs:
        for other in kept:
            if (run.label, run.game) != (other.label, other.game):
                continue
            same_seed = run.seed is not None and run.seed == other.seed
            if same_seed or (run.seed is None and run.table.equals(other.table)):
                logger.warning("%s is left out: the same game and seed as %s", run.path, other.path)
                break
        else:
            kept.append(run)
    return kept
