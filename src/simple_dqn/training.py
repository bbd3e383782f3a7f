"""The commands train and resume: a run from its beginning or from a snapshot, epoch by epoch."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from simple_dqn.acceleration import accelerate
from simple_dqn.build import (
    Run,
    announce,
    build,
    go_on,
    load_weights,
    show_and_record,
)
from simple_dqn.errors import UsageError
from simple_dqn.experience import load_experience
from simple_dqn.games import find_game, find_preset, find_snapshots_game
from simple_dqn.resolve import changes, resolve
from simple_dqn.results import (
    best_path,
    file_name,
    keep_best,
    open_new_csv,
    read_records,
    record_path,
    require_new,
    require_places,
    set_later_aside,
    snapshot_files,
    write_record,
)
from simple_dqn.snapshot import load_snapshot, load_training_state, resume_path, save_snapshot
from simple_dqn.statistics import CSVFile, Row, TensorBoard

logger = logging.getLogger(__name__)

Given = dict[str, Any]  # the options that the user gave


def train(name: str, label: str, given: Given, command_line: list[str]) -> None:
    """Train on a game from scratch, or from ``--load_weights``."""
    if label and not re.fullmatch(r"[\w.-]+", label):
        raise UsageError(f"the label '{label}' may only hold letters, digits, '_', '-' and '.'")
    kind, game, rom = find_game(name, given.get("environment", "auto"))
    stem = file_name(game) + (f"_{label}" if label else "")
    given = {**given, "environment": kind}
    if "preset" not in given:
        given["preset"] = find_preset(kind, game)
    if not given.get("play_games"):  # playing writes nothing unless it is told to
        given.setdefault("csv_file", f"results/{stem}.csv")
        given.setdefault("save_weights_prefix", f"snapshots/{stem}")
    config = resolve(given)

    load = config.run.load_weights
    snapshot = load_snapshot(Path(load)) if load else None
    if not config.run.play_games:
        require_places(config)
    with build(config, game, rom, with_memory=not config.run.play_games) as run:
        if not config.run.play_games:
            require_new(config)
        if snapshot:
            load_weights(run, snapshot)
        fill_memory(run)
        show_and_record(run)
        run.agent.total_train_steps = config.run.start_epoch * config.run.train_steps

        if config.run.play_games:
            run.statistics.on_row += open_new_csv(config)
            announce(run)
            run.agent.play(config.run.play_games)
            return
        outputs = open_outputs(run, keep_until_epoch=None)
        write_record(config, game, command_line, [])
        for old in (*snapshot_files(config), best_path(config)):
            if old.exists():  # only with --overwrite
                logger.warning("removing %s", old)
                old.unlink()
        announce(run)
        run.statistics.on_row += outputs
        try:
            if config.run.random_steps and not config.run.offline:
                run.agent.play_random(config.run.random_steps)
            train_epochs(run, latest=None)
        except BaseException as error:
            if not run.statistics.row:  # nothing is to stand in the next run's way
                Path(config.run.csv_file).unlink(missing_ok=True)
                record_path(config).unlink(missing_ok=True)
                if isinstance(error, KeyboardInterrupt):
                    raise KeyboardInterrupt("; nothing is left of this run") from None
            raise


def resume(path: Path, given: Given, command_line: list[str]) -> None:
    """Go on with a training at the epoch after a snapshot's."""
    snapshot = load_snapshot(path)
    state = load_training_state(snapshot)
    stem = Path(snapshot.prefix).name
    given.setdefault("csv_file", f"results/{stem}.csv")
    given.setdefault("save_weights_prefix", snapshot.prefix)
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
    with build(config, game, rom) as run:
        go_on(run, snapshot)
        changed = any(changes(given, snapshot.config, o) for o in ("optimizer", "rmsprop_centered"))
        if state is not None:
            kept = {n: t for n, t in state.items() if not changed or n.startswith("target.")}
            run.network.load_training_state(kept)
        fill_memory(run)
        show_and_record(run)

        if not Path(config.run.csv_file).exists():
            logger.warning("there is no %s to go on with: it begins here", config.run.csv_file)
        outputs = open_outputs(run, keep_until_epoch=snapshot.epoch)
        announce(run)
        if state is None or changed:
            why = "another optimiser" if changed else f"there is no {resume_path(path)}"
            logger.warning("%s: the optimiser starts afresh", why)
        set_later_aside(config)
        write_record(config, game, command_line, records)
        if config.run.random_steps and not config.run.offline:
            logger.info(
                "a snapshot holds no replay memory: refilling it with %d steps at the current ε",
                config.run.random_steps,
            )
            run.agent.play_random(config.run.random_steps, resuming=True)
        run.statistics.on_row += outputs  # only now: the refill gets no row
        train_epochs(run, latest=path)


def fill_memory(run: Run) -> None:
    """Fill the replay memory with what ``--load_experience`` names.

    Raises:
        UsageError: a file cannot be learnt from here; ``--offline`` has nothing to learn from.
    """
    files, memory, loaded = run.config.run.load_experience, run.agent.memory, 0
    if memory is None:
        return
    for file in files:
        if not Path(file).is_file():
            raise UsageError(f"--load_experience: there is no file '{file}'")
    for file in files:
        experience = load_experience(Path(file), run.config, run.game, run.environment)
        memory.extend(experience)
        steps = len(experience.starts) - int(experience.starts.sum())
        loaded += steps
        logger.info("loaded %d steps from %s", steps, file)
    if memory.count < loaded:
        logger.warning("the replay memory holds only %d of them: --replay_size", memory.count)
    if run.config.run.offline and not memory.can_sample():
        raise UsageError("--offline learns from --load_experience FILE: there is nothing else")


def open_outputs(run: Run, keep_until_epoch: int | None) -> tuple[Callable[[Row], None], ...]:
    """Return what rows are to be written to: the CSV file and, if wanted, TensorBoard.

    Args:
        run: its clock is set to go on from the rows that are kept.
        keep_until_epoch: see ``statistics.CSVFile``.

    Raises:
        UsageError: an existing CSV file is not ours, or TensorBoard is not installed.
    """
    folder = run.config.run.tensorboard
    boards = (TensorBoard(folder),) if folder else ()
    csv_file = CSVFile(Path(run.config.run.csv_file), keep_until_epoch)
    if csv_file.backup:
        logger.warning("the statistics with later epochs are now %s", csv_file.backup)
    run.statistics.start_time = time.perf_counter() - csv_file.total_time
    logger.info("statistics go to %s", csv_file.path)
    return (csv_file, *boards)


def train_epochs(run: Run, latest: Path | None) -> None:
    """Train and test, epoch by epoch, with a snapshot after each training phase.

    Args:
        run: what to train.
        latest: the snapshot that it goes on from, for the advice after an interruption.
    """
    config, environment = run.config, run.environment
    if config.backend.acceleration:
        steps = config.run.epochs * config.run.train_steps  # the same wherever a run goes on
        accelerate(run.network, steps // config.agent.train_frequency * config.agent.train_repeat)
    try:
        for epoch in range(config.run.start_epoch + 1, config.run.epochs + 1):
            run.statistics.epoch = epoch
            if config.run.train_steps:
                run.agent.train(config.run.train_steps, config.run.offline)
                latest = save_snapshot(
                    config.run.save_weights_prefix,
                    weights=run.network.weights(),
                    training_state=run.network.training_state(),
                    game=run.game,
                    action_meanings=environment.action_meanings,
                    observation_shape=environment.observation_shape,
                    observation_dtype=environment.observation_dtype.name,
                    epoch=epoch,
                    total_train_steps=run.agent.total_train_steps,
                    weight_updates=run.network.weight_updates,
                    config=config,
                )
                logger.info("saved %s", latest)
            if config.run.test_steps:
                run.agent.test(config.run.test_steps)
                keep_best(config)
                if run.statistics.row["average_reward"] >= config.run.stop_at:
                    logger.info("the score has reached %g: enough", config.run.stop_at)
                    break
    except KeyboardInterrupt:
        there = f"resume.sh {latest} goes on" if latest else "there is no snapshot of this run yet"
        raise KeyboardInterrupt(f"; {there}") from None
