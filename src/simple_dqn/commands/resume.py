"""Resuming: the command resume, a run from where it was left.

From a checkpoint it goes on exactly. Where only a snapshot is left it goes on as the original did:
weights, optimiser and counters as they were, the replay memory filled anew.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path

from simple_dqn.commands import train as training
from simple_dqn.commands.build import announce, build, go_on, show_and_record
from simple_dqn.commands.train import Given
from simple_dqn.environments.games import find_snapshots_game
from simple_dqn.errors import UsageError
from simple_dqn.options.definitions import Config
from simple_dqn.options.resolve import changes, resolve
from simple_dqn.storage.checkpoint import Checkpoint, Origin, load_state, read_origin
from simple_dqn.storage.files import set_aside
from simple_dqn.storage.record import read_records, write_record
from simple_dqn.storage.run_files import (
    best_path,
    checkpoint_path,
    csv_of,
    keep_best,
    last_snapshot,
    require_new,
    require_places,
    set_later_aside,
)
from simple_dqn.storage.snapshot import (
    Snapshot,
    load_snapshot,
    load_training_state,
    resume_path,
    snapshot_path,
)
from simple_dqn.storage.statistics_file import read_csv

logger = logging.getLogger(__name__)


@training.ended_by_signals()
def resume(what: str, given: Given, command_line: list[str]) -> None:
    """Go on with a training: from its checkpoint, or where there is none from a snapshot.

    Args:
        what: the name of a run, or a snapshot; then from the checkpoint if that comes after this
            snapshot and before the next.
        given, command_line: see ``train``.
    """
    asked, snapshot = set(given), None
    if what.endswith(".safetensors") or Path(what).is_file():
        snapshot = load_snapshot(Path(what))
        prefix = snapshot.prefix
    else:
        prefix = what.rstrip("/").removesuffix(".checkpoint")
        prefix = prefix if "/" in prefix else f"snapshots/{prefix}"
    given["save_weights_prefix"] = given.get("save_weights_prefix", prefix)
    given.setdefault("csv_file", csv_of(given["save_weights_prefix"]))
    checkpoint = Checkpoint(Path(f"{prefix}.checkpoint"))
    if checkpoint.path.exists():
        with _way_out(checkpoint):
            origin = read_origin(checkpoint)
        if snapshot is None or snapshot.epoch == origin.snapshot_epoch:
            for option, was in origin.asked_for.items():
                if was and option not in asked:
                    without = "" if option == "csv_file" else f", or --{option} '' to go on without"
                    raise UsageError(f"this run had --{option} {was}: give it again{without}")
            resume_exactly(checkpoint, origin, given, command_line)
            return
        logger.warning(
            "'%s' is of epoch %d, and its run can go on exactly in epoch %d: resume.sh %s",
            what, snapshot.epoch, origin.epoch, Path(prefix).name,
        )  # fmt: skip
    if snapshot is None:
        latest = last_snapshot(prefix)
        if latest is None:
            raise UsageError(f"there is no run '{what}': no {checkpoint.path}, no {prefix}_<epoch>")
        snapshot = load_snapshot(latest)
    resume_from_snapshot(snapshot, given, command_line)


def resume_exactly(
    checkpoint: Checkpoint, origin: Origin, given: Given, command_line: list[str]
) -> None:
    """Go on with a training as if it had never been interrupted."""
    config = resolve({**given, "start_epoch": origin.start_epoch}, origin.config)
    if given.get("load_experience"):
        raise UsageError(
            "--load_experience has no effect: the checkpoint holds the whole replay memory"
        )
    if config.run.epochs < origin.epoch:
        raise UsageError(f"the run is in epoch {origin.epoch} already: give more --epochs")
    network = config.network
    falls = network.learning_rate_schedule != "constant" and not network.learning_rate_decay_steps
    if config.run.epochs != origin.config.get("epochs") and (falls or config.replay.prioritized):
        logger.warning(
            "what changes over the whole run now does so over %d epochs: this is not the run that "
            "had them from the start", config.run.epochs,
        )  # fmt: skip
    last = origin.epoch, origin.phase
    csv_file = Path(config.run.csv_file)
    rows = read_csv(csv_file) if csv_file.exists() else []
    whole = any((int(row["epoch"]), row["phase"]) == last for row in rows) and (
        not config.run.train_steps
        or snapshot_path(config.run.save_weights_prefix, origin.epoch).exists()
    )
    # A run may have died between its last checkpoint and what comes out at the end.
    if origin.finished and config.run.epochs <= origin.epoch and whole:
        with training.alone(config):
            keep_best(config)
        raise UsageError(
            f"the run of '{checkpoint.folder}' is at the end of its {origin.epoch} epochs: "
            f"nothing is left to do; give more --epochs"
        )
    require_places(config)
    elsewhere = checkpoint.folder.resolve() != checkpoint_path(config).resolve()
    if elsewhere:
        require_new(config)
    game, rom = find_snapshots_game(origin, given.get("environment", ""))
    records = read_records(config, game, origin.config.get("random_seed"))
    with training.alone(config), build(config, game, rom) as run:
        with _way_out(checkpoint):
            load_state(run, checkpoint, origin.state)
        if elsewhere:  # leave that one
            checkpoint = Checkpoint(checkpoint_path(config))
        show_and_record(run)
        miss_rows(config)
        before = origin.epoch + origin.refill, "train" if origin.refill else origin.phase
        outputs, _ = training.open_outputs(config, keep_before=before, drop_others=True)
        write_record(config, game, rom, command_line, records)
        announce(run)
        logger.info(
            "going on exactly, in epoch %d %s after %d steps", origin.epoch, origin.phase,
            run.agent.rounds * run.agent.environment.num_envs,
        )  # fmt: skip
        latest = last_snapshot(config.run.save_weights_prefix)
        training.run_phases(run, checkpoint, outputs, origin.refill, latest)


def resume_from_snapshot(snapshot: Snapshot, given: Given, command_line: list[str]) -> None:
    """Go on with a training at the epoch after a snapshot's, with a replay memory filled anew."""
    path, state = snapshot.path, load_training_state(snapshot)
    given["start_epoch"] = snapshot.epoch
    config = resolve(given, snapshot.config)
    if config.run.epochs <= snapshot.epoch:
        raise UsageError(
            f"'{path}' is of epoch {snapshot.epoch} and --epochs is {config.run.epochs}: "
            f"nothing is left to do; give more --epochs"
        )
    require_places(config)
    game, rom = find_snapshots_game(snapshot, given.get("environment", ""))
    records = read_records(config, game, snapshot.config.get("random_seed"))
    with training.alone(config), build(config, game, rom) as run:
        go_on(run, snapshot)
        changed = any(changes(given, snapshot.config, o) for o in ("optimizer", "rmsprop_centered"))
        if state is not None:
            kept = {n: t for n, t in state.items() if not changed or n.startswith("target.")}
            run.network.load_training_state(kept)
        training.fill_memory(run)
        show_and_record(run)
        miss_rows(config)
        outputs, total_time = training.open_outputs(
            config, keep_before=(snapshot.epoch + 1, "train")
        )
        run.statistics.start_time = time.perf_counter() - total_time
        announce(run)
        if state is None or changed:
            why = "another optimiser" if changed else f"there is no {resume_path(path)}"
            logger.warning("%s: the optimiser starts afresh", why)
        set_later_aside(config)
        checkpoint = Checkpoint(checkpoint_path(config))
        if checkpoint.folder.exists():
            logger.warning("%s is now %s", checkpoint.folder, set_aside(checkpoint.folder))
        write_record(config, game, rom, command_line, records)
        if config.run.random_steps and not config.run.offline:
            logger.info(
                "a snapshot holds no games, no generators and no replay memory: refilling it with "
                "%d steps at the current ε", config.run.random_steps,
            )  # fmt: skip
        training.run_phases(run, checkpoint, outputs, refill=True, latest=path)


def miss_rows(config: Config) -> None:
    """Say so if the rows so far are gone. What was best among them stays under another name."""
    if not Path(config.run.csv_file).exists():
        logger.warning("there is no %s to go on with: it begins here", config.run.csv_file)
        if best_path(config).exists():
            logger.warning("%s is now %s", best_path(config), set_aside(best_path(config)))


@contextlib.contextmanager
def _way_out(checkpoint: Checkpoint) -> Iterator[None]:
    """Where a checkpoint cannot be used, say what is left."""
    try:
        yield
    except UsageError as error:
        folder = checkpoint.folder
        snapshot = last_snapshot(str(folder.with_suffix("")))
        left = f"go on from {snapshot}" if snapshot else "begin anew with train.sh --overwrite"
        raise UsageError(f"{error}; move {folder} away to {left}") from None
