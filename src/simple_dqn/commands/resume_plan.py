"""What the command resume is going to do: a pure function of the options and the files on disk."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from simple_dqn.errors import UsageError
from simple_dqn.options.definitions import Config, without_places
from simple_dqn.options.resolve import changes, resolve
from simple_dqn.storage.run_state import SavedRun
from simple_dqn.storage.snapshot import Snapshot

Given = dict[str, Any]  # the options that the user gave


class Found(NamedTuple):
    """The files on disk of the run to resume."""

    name: str  # of the run, without folder
    files: dict[str, str]  # save_weights_prefix and csv_file: where it will write
    checkpoint: SavedRun | None
    snapshot: Snapshot | None  # the one named; else, without a checkpoint, the last one
    rows: Mapping[tuple[int, str], float]  # {(epoch, phase): score} of the rows of the statistics
    epochs: frozenset[int]  # with a snapshot


@dataclass(frozen=True)
class Plan:
    """How to resume a run.

    Attributes:
        config: its options.
        exactly: whether to resume from the checkpoint; otherwise from the snapshot.
        keep_before: (epoch, phase): earlier rows are kept.
        refill: whether to refill the replay memory.
        ended: whether the phase of the checkpoint has its row already: it must only be left.
        finished: why nothing is left to do; empty if something is.
        changed: options that change what the run computes, as --name.
        warnings: messages for the user.
    """

    config: Config
    exactly: bool
    keep_before: tuple[int, str]
    refill: bool
    ended: bool = False
    finished: str = ""
    changed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def plan_resume(named_snapshot: bool, given: Mapping[str, Any], found: Found) -> Plan:
    """Decide how to resume a run.

    Args:
        named_snapshot: whether the user named a snapshot rather than a run.
        given: the options that the user gave.
        found: the files on disk.

    Raises:
        UsageError: nothing is left to do, or the options do not fit.
    """
    saved, snapshot = found.checkpoint, found.snapshot
    if saved and (not named_snapshot or (snapshot and snapshot.epoch == saved.snapshot_epoch)):
        return _plan_exactly(saved, given, found)
    assert snapshot is not None
    warnings = (
        (
            f"'{snapshot.path}' is of epoch {snapshot.epoch}, and its run can be resumed exactly "
            f"in epoch {saved.epoch}: resume.sh {found.name}",
        )
        if saved
        else ()
    )
    config = resolve({**found.files, **given, "start_epoch": snapshot.epoch}, snapshot.config)
    if config.run.epochs <= snapshot.epoch:
        raise UsageError(
            f"'{snapshot.path}' is of epoch {snapshot.epoch} and --epochs is {config.run.epochs}: "
            f"nothing is left to do; give more --epochs"
        )
    before = snapshot.epoch + 1, "train"
    return Plan(config, exactly=False, keep_before=before, refill=True, warnings=warnings)


def _plan_exactly(saved: SavedRun, given: Mapping[str, Any], found: Found) -> Plan:
    """Plan to continue from the checkpoint ``saved``."""
    for option, was in saved.asked_for.items():
        if was and option not in given:
            without = "" if option == "csv_file" else f", or --{option} '' to continue without"
            raise UsageError(f"this run had --{option} {was}: give it again{without}")
    config = resolve({**found.files, **given, "start_epoch": saved.start_epoch}, saved.config)
    if given.get("load_experience"):
        raise UsageError(
            "--load_experience has no effect: the checkpoint holds the whole replay memory"
        )
    if config.run.epochs < saved.epoch:
        raise UsageError(f"the run is in epoch {saved.epoch} already: give more --epochs")
    network = config.network
    warnings: tuple[str, ...] = ()
    replay = config.replay
    falls = (
        (network.learning_rate_schedule != "constant" and not network.learning_rate_decay_steps)
        or (replay.n_step_end is not None and not replay.n_step_decay_steps)
        or replay.prioritized
    )
    if falls and config.run.epochs != saved.config.get("epochs"):
        warnings = (
            f"schedules of the whole run now extend over {config.run.epochs} epochs: the result "
            f"is not that of a run with as many epochs from the start",
        )
    # A run may have died between its last checkpoint and its last files.
    whole = (saved.epoch, saved.phase) in found.rows and (
        not config.run.train_steps or saved.epoch in found.epochs
    )
    ended = saved.complete and whole
    last = saved.phase == ("test" if config.run.test_steps else "train")  # of its epoch
    reached = found.rows.get((saved.epoch, saved.phase), -math.inf)
    finished = ""
    if ended and last and config.run.epochs <= saved.epoch:
        finished = f"it is at the end of its {saved.epoch} epochs; give more --epochs"
    elif ended and config.run.stop_at is not None and reached >= config.run.stop_at:
        finished = f"it has reached --stop_at {config.run.stop_at:g}; give a higher one"
    before = saved.epoch, saved.phase
    if ended and not last:
        before = saved.epoch, "test"
    elif ended or saved.refill:
        before = saved.epoch + 1, "train"
    return Plan(
        config,
        exactly=True,
        keep_before=before,
        refill=saved.refill,
        ended=ended,
        finished=finished,
        changed=changed_options(given, saved.config),
        warnings=warnings,
    )


def changed_options(given: Mapping[str, Any], before: Mapping[str, Any]) -> tuple[str, ...]:
    """Return as --name the options given with another value that change what a run computes."""
    names = [n for n in without_places(given) if n != "epochs" and changes(given, before, n)]
    return tuple(f"--{name}" for name in names)
