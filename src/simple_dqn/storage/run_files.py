"""Where the files of a run are, which exist already, and whether they can be written."""

from __future__ import annotations

import logging
import math
import os
import re
from pathlib import Path

from simple_dqn.errors import UsageError
from simple_dqn.options.definitions import Config
from simple_dqn.storage.checkpoint import LONGEST_NAME
from simple_dqn.storage.files import require_place, set_aside, write_atomically
from simple_dqn.storage.snapshot import Snapshot, load_snapshot, snapshot_path
from simple_dqn.storage.statistics_file import read_csv

logger = logging.getLogger(__name__)


def file_name(game: str) -> str:
    """Return the name of a game's files."""
    return game.replace("/", "-").replace(":", "-")


def require_places(config: Config) -> None:
    """Raise UsageError unless results and snapshots can be written."""
    if not os.path.basename(config.run.save_weights_prefix):
        raise UsageError(
            f"--save_weights_prefix '{config.run.save_weights_prefix}' is a folder: "
            f"add a prefix for the snapshots' names"
        )
    csv_file = Path(config.run.csv_file)
    if os.path.exists(csv_file) and not os.path.isfile(csv_file):  # of any length
        what = "a folder: add a file's name" if csv_file.is_dir() else "not a file"
        raise UsageError(f"--csv_file '{csv_file}' is {what}")
    last = snapshot_path(config.run.save_weights_prefix, max(config.run.epochs, 10**6))
    folder = checkpoint_path(config)
    require_place(csv_file, "csv_file", instead="label or ")
    require_place(record_path(config), "csv_file", instead="label or ")
    require_place(last, "save_weights_prefix", instead="label or ")
    require_place(folder, "save_weights_prefix", inside=LONGEST_NAME, instead="label or ")


def csv_of(save_weights_prefix: str) -> str:
    """Return the default CSV file for a prefix of snapshots."""
    return f"results/{Path(save_weights_prefix).name}.csv"


def last_snapshot(save_weights_prefix: str) -> Path | None:
    """Return the snapshot of the last epoch with this prefix; None if there is none."""
    files = snapshot_files(save_weights_prefix)
    epochs = [epoch for path, epoch in files.items() if path.suffix == ".safetensors"]
    return snapshot_path(save_weights_prefix, max(epochs)) if epochs else None


def named_snapshot(name: str) -> Snapshot:
    """Read the snapshot that the user named.

    Raises:
        UsageError: there is none; where the name is a run's, its last snapshot is named.
    """
    latest = None if Path(name).is_file() else last_snapshot(default_prefix(name))
    if latest:
        raise UsageError(f"'{name}' is a run, not a snapshot: its last one is {latest}")
    return load_snapshot(Path(name))


def default_prefix(run: str) -> str:
    """Return the prefix of the snapshots of a run; its folder may be left out."""
    return run if "/" in run else f"snapshots/{run}"


def snapshot_files(save_weights_prefix: str) -> dict[Path, int]:
    """Return the existing snapshots and training states with this prefix: {path: epoch}."""
    prefix = Path(save_weights_prefix)
    pattern = re.compile(re.escape(prefix.name) + r"_(\d+)\.(safetensors|resume)")
    try:
        names = os.listdir(prefix.parent)
    except OSError:
        return {}
    matches = [(name, pattern.fullmatch(name)) for name in sorted(names)]
    return {prefix.parent / name: int(match[1]) for name, match in matches if match}


def require_new(config: Config) -> None:
    """Raise UsageError if an earlier run of this name has left results."""
    csv_file = Path(config.run.csv_file)
    snapshots = snapshot_files(config.run.save_weights_prefix)
    files = (csv_file, record_path(config), *snapshots, best_path(config))
    there = [path for path in (*files, checkpoint_path(config)) if path.exists()]
    if there and not config.run.overwrite:
        kept = checkpoint_path(config).exists() or snapshots
        resume = "resume it with resume.sh, " if kept else ""
        raise UsageError(
            f"'{there[0]}' exists: give this run another label, {resume}"
            f"or replace the earlier run with --overwrite"
        )


def remove_leftovers(config: Config) -> None:
    """Remove partial files of a killed run of this name; the caller must hold its locks."""
    prefix, csv_file = Path(config.run.save_weights_prefix), Path(config.run.csv_file)
    snapshots = re.escape(prefix.name) + r"_(\d+|best)\.(safetensors|resume)"
    tables = "|".join(re.escape(path.name) for path in (csv_file, record_path(config)))
    for folder, names in ((prefix.parent, snapshots), (csv_file.parent, tables)):
        for path in folder.glob(".*.tmp"):
            if re.fullmatch(rf"\.({names})\.\d+\.tmp", path.name):
                path.unlink(missing_ok=True)


def set_later_aside(config: Config) -> None:
    """Rename the snapshots of later epochs than the start, so that none is overwritten.

    If the best one is among them, the best of those that stay takes its name.
    """
    for path, epoch in snapshot_files(config.run.save_weights_prefix).items():
        if epoch > config.run.start_epoch:
            logger.warning("%s is now %s", path, set_aside(path))
    best = best_path(config)
    if best.exists():
        try:
            epoch = load_snapshot(best).epoch
        except UsageError:  # it is damaged: the next test makes a new one
            return
        if epoch > config.run.start_epoch:
            logger.warning("%s is now %s", best, set_aside(best))
            keep_best(config)


def keep_best(config: Config) -> None:
    """Make PREFIX_best.safetensors the snapshot of the epoch with the highest test score so far.

    Ties go to the latest epoch, which has learnt longest. Earlier scores come from the CSV file, so
    that a resumed run continues as if uninterrupted.
    """
    try:
        rows = read_csv(Path(config.run.csv_file))
    except UsageError as error:  # a changed file does not end a run
        logger.warning("no best snapshot: %s", error)
        return
    scores = {
        int(row["epoch"]): float(row["average_reward"])
        for row in rows
        if row["phase"] == "test" and float(row["average_reward"]) > -math.inf  # not nan
    }
    if not scores:
        return
    epoch = max(scores, key=lambda epoch: (scores[epoch], epoch))
    source, best = snapshot_path(config.run.save_weights_prefix, epoch), best_path(config)
    if not source.exists():
        return
    data = source.read_bytes()
    if not best.exists() or best.read_bytes() != data:
        write_atomically(best, data)
        logger.info("%s is of epoch %d, score %.2f", best, epoch, scores[epoch])


def best_path(config: Config) -> Path:
    """Return the file of the best snapshot."""
    return Path(f"{config.run.save_weights_prefix}_best.safetensors")


def checkpoint_path(config: Config) -> Path:
    """Return the folder of the checkpoint."""
    return Path(f"{config.run.save_weights_prefix}.checkpoint")


def record_path(config: Config) -> Path:
    """Return the file beside the results with all that is needed to repeat the run."""
    return Path(config.run.csv_file.removesuffix(".csv") + ".json")
