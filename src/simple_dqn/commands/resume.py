"""The command resume: continue an interrupted or finished run.

From a checkpoint it continues exactly. From a snapshot alone it continues as the original did: with
weights, optimiser and counters restored, and the replay memory refilled.

``resume_plan`` decides what to do.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from simple_dqn.commands.build import Run, build, count_updates
from simple_dqn.commands.epochs import (
    alone,
    ended_by_signals,
    explaining,
    fill_memory,
    open_outputs,
    run_with_checkpoints,
)
from simple_dqn.commands.resume_plan import Found, Given, Plan, plan_resume
from simple_dqn.commands.show import announce, show_and_record
from simple_dqn.commands.snapshots import find_snapshots_game, load_snapshot_into
from simple_dqn.errors import UsageError
from simple_dqn.options.definitions import Config
from simple_dqn.options.resolve import changes_optimizer
from simple_dqn.storage.checkpoint import Checkpoint
from simple_dqn.storage.files import set_aside
from simple_dqn.storage.record import read_records, write_record
from simple_dqn.storage.run_files import (
    best_path,
    checkpoint_path,
    csv_of,
    default_prefix,
    keep_best,
    last_snapshot,
    require_new,
    require_places,
    set_later_aside,
    snapshot_files,
)
from simple_dqn.storage.run_state import SavedRun, load_run_state, read_saved_run
from simple_dqn.storage.snapshot import (
    Snapshot,
    fitting_training_state,
    load_snapshot,
    load_training_state,
    resume_path,
)
from simple_dqn.storage.statistics_file import read_csv

logger = logging.getLogger(__name__)


@ended_by_signals()
def resume(what: str, given: Given, command_line: list[str]) -> None:
    """Resume a training from its checkpoint or, if there is none, from a snapshot.

    Args:
        what: the name of a run, or a snapshot; the checkpoint is used with a snapshot if it was
            written between this snapshot and the next.
        given: the options that the user gave.
        command_line: for the record.
    """
    named_snapshot = names_snapshot(what)
    snapshot = load_snapshot(Path(what)) if named_snapshot else None
    prefix = snapshot.prefix if snapshot else what.rstrip("/").removesuffix(".checkpoint")
    prefix = prefix if snapshot else default_prefix(prefix)
    checkpoint = Checkpoint(Path(f"{prefix}.checkpoint"))
    found = find_run(what, prefix, snapshot, checkpoint, given)
    plan = plan_resume(named_snapshot, given, found)
    for warning in plan.warnings:
        logger.warning(warning)
    if plan.finished:
        with alone(plan.config):
            keep_best(plan.config)
        raise UsageError(
            f"nothing is left to do in the run of '{checkpoint.folder}': {plan.finished}"
        )
    require_places(plan.config)
    if plan.exactly:
        resume_exactly(plan, checkpoint, found, given, command_line)
    else:
        resume_from_snapshot(plan, found, given, command_line)


def names_snapshot(what: str) -> bool:
    """Return whether the user names a snapshot; a file with the name of a run is not one."""
    if what.endswith(".safetensors") or "/" not in what:
        return what.endswith(".safetensors")
    is_run = Path(f"{what}.checkpoint").exists() or last_snapshot(what)
    return Path(what).is_file() and not is_run


def find_run(
    what: str, prefix: str, snapshot: Snapshot | None, checkpoint: Checkpoint, given: Given
) -> Found:
    """Return the files on disk of a run.

    Args:
        what: the name given by the user.
        prefix: of its snapshots.
        snapshot: the one that the user named, or None.
        checkpoint: of the run; it does not have to exist.
        given: the options that the user gave.

    Raises:
        UsageError: there is nothing to resume, or it is damaged.
    """
    saved = None
    if checkpoint.path.exists():
        with suggesting_alternatives(checkpoint):
            saved = read_saved_run(checkpoint)
    elif snapshot is None:
        latest = last_snapshot(prefix)
        if latest is None:
            raise UsageError(f"there is no run '{what}': no {checkpoint.path}, no {prefix}_<epoch>")
        snapshot = load_snapshot(latest)
    own_prefix = given.get("save_weights_prefix", prefix)
    csv_file = given.get("csv_file", csv_of(own_prefix))
    rows = read_csv(Path(csv_file)) if saved and Path(csv_file).is_file() else []
    snapshots = snapshot_files(own_prefix)
    return Found(
        Path(prefix).name,
        dict(save_weights_prefix=own_prefix, csv_file=csv_file),
        saved,
        snapshot,
        {(int(row["epoch"]), str(row["phase"])): float(row["average_reward"]) for row in rows},
        frozenset(epoch for path, epoch in snapshots.items() if path.suffix == ".safetensors"),
    )


def resume_exactly(
    plan: Plan, checkpoint: Checkpoint, found: Found, given: Given, command_line: list[str]
) -> None:
    """Continue a training exactly, as if uninterrupted."""
    config, saved = plan.config, found.checkpoint
    assert saved is not None
    elsewhere = checkpoint.folder.resolve() != checkpoint_path(config).resolve()
    if elsewhere:
        require_new(config)
    game, rom = find_snapshots_game(saved, given.get("environment", ""))
    records = read_records(config, game, saved.config.get("random_seed"))
    with alone(config), build(config, game, rom, updates=count_updates(config)) as run:
        with suggesting_alternatives(checkpoint, plan.changed):
            load_run_state(checkpoint, saved.state, run.agent, run.statistics, run.callback)
        if elsewhere:  # leave the original as it is
            checkpoint = Checkpoint(checkpoint_path(config))
        show_and_record(run)
        report_missing_rows(config)
        outputs, _ = open_outputs(config, keep_before=plan.keep_before, drop_others=True)
        write_record(config, game, rom, command_line, records)
        announce(run)
        logger.info(describe_start(run, plan, saved))
        first_phase = saved.phase
        if plan.ended:
            with explaining(run, checkpoint, None):
                leave_phase(run, saved)
            run.statistics.epoch, first_phase = plan.keep_before
        run_with_checkpoints(run, checkpoint, outputs, first_phase, plan.refill)


def describe_start(run: Run, plan: Plan, saved: SavedRun) -> str:
    """Return how and where a run is resumed from a checkpoint."""
    how = "exactly"
    if plan.changed:
        how = f"with other options than before ({' '.join(plan.changed)})"
    if run.agent.phase.new_games:
        how = "with new games"
    if plan.ended:
        return f"resuming {how}, after epoch {saved.epoch}"
    steps = run.agent.phase.rounds * run.agent.environment.num_envs
    return f"resuming {how}, in epoch {saved.epoch} {saved.phase} after {steps} steps"


def leave_phase(run: Run, saved: SavedRun) -> None:
    """End the complete phase of a checkpoint as it ended then; its row is written already."""
    outputs, run.statistics.on_row = run.statistics.on_row, ()
    if run.agent.phase.resumed and saved.phase == "test":
        run.agent.test(saved.config["test_steps"])
    elif run.agent.phase.resumed:
        run.agent.train(saved.config["train_steps"], saved.config["offline"])
    run.statistics.on_row = outputs


def resume_from_snapshot(plan: Plan, found: Found, given: Given, command_line: list[str]) -> None:
    """Continue a training at the epoch after a snapshot, with a refilled replay memory."""
    config, snapshot = plan.config, found.snapshot
    assert snapshot is not None
    state = load_training_state(snapshot)
    game, rom = find_snapshots_game(snapshot, given.get("environment", ""))
    records = read_records(config, game, snapshot.config.get("random_seed"))
    with alone(config), build(config, game, rom, updates=count_updates(config)) as run:
        load_snapshot_into(run, snapshot)
        missing = load_learnt(run, snapshot, state, given)
        fill_memory(run)
        show_and_record(run)
        report_missing_rows(config)
        outputs, total_time = open_outputs(config, keep_before=plan.keep_before)
        run.statistics.start_time = time.perf_counter() - total_time
        announce(run)
        if missing:
            logger.warning("%s: the optimiser state is reset", missing)
        set_later_aside(config)
        checkpoint = Checkpoint(checkpoint_path(config))
        if checkpoint.folder.exists():
            logger.warning("%s is now %s", checkpoint.folder, set_aside(checkpoint.folder))
        write_record(config, game, rom, command_line, records)
        if config.run.random_steps and not config.run.offline:
            logger.info(
                "a snapshot has no games, random generators or replay memory: refilling the memory "
                "with %d steps at the current ε", config.run.random_steps,
            )  # fmt: skip
        run_with_checkpoints(run, checkpoint, outputs, refill=True, source=snapshot.path)


def load_learnt(run: Run, snapshot: Snapshot, state: dict[str, Any] | None, given: Given) -> str:
    """Restore target network and optimiser; return why the optimiser was not restored, or ''."""
    if state is None:
        return f"there is no {resume_path(snapshot.path)}"
    changed = changes_optimizer(given, snapshot.config)
    kept = {n: t for n, t in state.items() if not changed or n.startswith("target.")}
    network = run.network
    network.load_training_state(fitting_training_state(kept, network.training_state()))
    return "another optimiser" if changed else ""


def report_missing_rows(config: Config) -> None:
    """Warn if the previous rows are missing; the best snapshot among them is renamed."""
    if not Path(config.run.csv_file).exists():
        logger.warning("there is no %s to continue: starting a new one", config.run.csv_file)
        if best_path(config).exists():
            logger.warning("%s is now %s", best_path(config), set_aside(best_path(config)))


@contextlib.contextmanager
def suggesting_alternatives(
    checkpoint: Checkpoint, changed: tuple[str, ...] = ()
) -> Iterator[None]:
    """Add to the error of an unusable checkpoint how to resume all the same."""
    try:
        yield
    except UsageError as error:
        folder = checkpoint.folder
        snapshot = last_snapshot(str(folder.with_suffix("")))
        left = f"resume from {snapshot}" if snapshot else "restart with train.sh --overwrite"
        leave_out = f"leave out {' '.join(changed)}, or " if changed else ""
        raise UsageError(f"{error}; {leave_out}move {folder} away to {left}") from None
