"""The command train: a new run, or a repetition from the record of an earlier one."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from simple_dqn.commands.build import Run, build, count_updates
from simple_dqn.commands.epochs import (
    Outputs,
    alone,
    ended_by_signals,
    fill_memory,
    open_outputs,
    run_with_checkpoints,
)
from simple_dqn.commands.show import announce, show_and_record
from simple_dqn.commands.snapshots import load_weights, open_test_csv
from simple_dqn.environments.games import find_game, find_preset
from simple_dqn.errors import Interrupted, UsageError
from simple_dqn.options.definitions import PLACES, REPEATED, Config
from simple_dqn.options.resolve import resolve
from simple_dqn.storage.checkpoint import Checkpoint
from simple_dqn.storage.record import differences, read_record, write_record
from simple_dqn.storage.run_files import (
    best_path,
    checkpoint_path,
    csv_of,
    file_name,
    record_path,
    require_new,
    require_places,
    snapshot_files,
)
from simple_dqn.storage.snapshot import Snapshot, load_snapshot

logger = logging.getLogger(__name__)

Given = dict[str, Any]  # the options that the user gave


@ended_by_signals()
def train(
    name: str, label: str, given: Given, command_line: list[str], record: Given | None = None
) -> None:
    """Train on a game from scratch, or from ``--load_weights``.

    Args:
        name, label: of the game and of the run.
        given: the options that the user gave.
        command_line: for the record.
        record: the run to repeat, see ``storage.record``; None for a new one.
    """
    kind, game, rom = find_game(name, given.get("environment", "auto"))
    config = configure(kind, game, label, given, record)
    load = config.run.load_weights
    snapshot = load_snapshot(Path(load)) if load else None
    if config.run.play_games:
        play_games(config, game, rom, snapshot)
        return
    require_places(config)
    with alone(config):
        require_new(config)
        with build(config, game, rom, updates=count_updates(config)) as run:
            if snapshot:
                load_weights(run, snapshot)
            fill_memory(run)
            show_and_record(run)
            run.agent.total_train_steps = config.run.start_epoch * config.run.train_steps
            for what, theirs, own in differences(record, rom) if record else ():
                logger.warning(
                    "the results may differ from the record: %s was %s and is %s", what, theirs, own
                )
            outputs, checkpoint = open_files(config, game, rom, command_line)
            announce(run)
            with leaving_nothing_behind(run, checkpoint):
                run_with_checkpoints(run, checkpoint, outputs)


def configure(
    kind: str, game: str, label: str, given: Given, record: Given | None = None
) -> Config:
    """Return the options of a new run: its preset or record, overridden by the user's options.

    Raises:
        UsageError: the label or an option cannot be used.
    """
    if label and not re.fullmatch(r"[\w.-]+", label):
        raise UsageError(f"the label '{label}' may only contain letters, digits, '_', '-' and '.'")
    if label.endswith((".safetensors", ".checkpoint")):
        raise UsageError(f"the label '{label}' looks like a file of a run: leave out the suffix")
    name = file_name(game) + (f"_{label}" if label else "")
    given = {**given, "environment": kind}
    base = repeatable(record) if record else None
    if "preset" not in given and base is None:
        given["preset"] = find_preset(kind, game)
    if not given.get("play_games"):  # playing writes nothing by default
        given.setdefault("csv_file", csv_of(name))
        given.setdefault("save_weights_prefix", f"snapshots/{name}")
    return resolve(given, base)


def open_files(
    config: Config, game: str, rom: Path | None, command_line: list[str]
) -> tuple[Outputs, Checkpoint]:
    """Create the files of a new run, replacing an earlier one's; return its outputs."""
    outputs, _ = open_outputs(config, keep_before=None)
    write_record(config, game, rom, command_line, [])
    for old in (*snapshot_files(config.run.save_weights_prefix), best_path(config)):
        if old.exists():  # only with --overwrite
            logger.warning("removing %s", old)
            old.unlink()
    checkpoint = Checkpoint(checkpoint_path(config))
    checkpoint.remove()
    return outputs, checkpoint


@contextmanager
def leaving_nothing_behind(run: Run, checkpoint: Checkpoint) -> Iterator[None]:
    """Remove the files of a run that ends before its first row; they would block the next run."""
    try:
        yield
    except BaseException as error:
        if not run.statistics.row and not checkpoint.path.exists():
            Path(run.config.run.csv_file).unlink(missing_ok=True)
            record_path(run.config).unlink(missing_ok=True)
            if isinstance(error, Interrupted | KeyboardInterrupt):
                error.args = ("; this run left no files",)
        raise


def repeat(path: Path, label: str, given: Given, command_line: list[str]) -> None:
    """Repeat a run from its record: game, options and seed."""
    record, later = read_record(path)
    kind = str(record["config"].get("environment"))
    codes = {"environment": kind, "callback": str(record["config"].get("callback", ""))}
    for option, code in codes.items():  # a record can come from anyone
        if ":" in code and option not in given:
            raise UsageError(
                f"'{path}' runs the code of {code}: give --{option} {code} to allow it"
            )
    if ":" in record["game"] and ":" not in kind and given.get("environment") != "gym":
        module = record["game"].partition(":")[0]
        raise UsageError(f"'{path}': --environment gym allows importing the module {module}")
    for what in ("epochs", *sorted(repeatable(record))):
        if any(repeatable(entry).get(what) != record["config"].get(what) for entry in later):
            logger.warning("the run was resumed with another --%s; this repeats its start", what)
            break
    train(record["game"], label, {"environment": kind, **given}, command_line, record)


def repeatable(record: Given) -> Given:
    """Return the options of a record that a repetition uses."""
    options = record["config"].items()
    return {k: v for k, v in options if k not in PLACES or k in REPEATED}


def play_games(config: Config, game: str, rom: Path | None, snapshot: Snapshot | None) -> None:
    """Only play, for ``--play_games``."""
    with build(config, game, rom, with_memory=False) as run:
        if snapshot:
            load_weights(run, snapshot)
        show_and_record(run)
        run.statistics.on_row += open_test_csv(config)
        announce(run)
        run.agent.play(config.run.play_games)
