"""Training: the command train, and the phases of a run, wherever it begins."""

from __future__ import annotations

import logging
import math
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from simple_dqn.callbacks.checkpointer import Checkpointer
from simple_dqn.callbacks.writers import CSVFile, TensorBoard
from simple_dqn.commands.build import Run, announce, build, load_weights, show_and_record
from simple_dqn.environments.games import find_game, find_preset
from simple_dqn.errors import Interrupted, UsageError, refusal
from simple_dqn.networks.acceleration import accelerate
from simple_dqn.options.definitions import PLACES, Config
from simple_dqn.options.resolve import interval, resolve
from simple_dqn.statistics import Row
from simple_dqn.storage.checkpoint import Checkpoint
from simple_dqn.storage.experience_file import load_experience
from simple_dqn.storage.files import locked
from simple_dqn.storage.record import differences, read_record, write_record
from simple_dqn.storage.run_files import (
    best_path,
    checkpoint_path,
    csv_of,
    file_name,
    keep_best,
    open_new_csv,
    record_path,
    remove_leftovers,
    require_new,
    require_places,
    snapshot_files,
)
from simple_dqn.storage.snapshot import Snapshot, load_snapshot, save_snapshot

logger = logging.getLogger(__name__)

# Of ``config.PLACES`` what a repetition takes over.
PART_OF_A_RUN = ("load_weights", "callback", "start_epoch", "stop_at")

Given = dict[str, Any]  # the options that the user gave
Outputs = tuple[Callable[[Row], None], ...]


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Meanwhile SIGTERM and SIGHUP end what is done as Ctrl-C does; see also ``Checkpointer``."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Interrupted(signal.Signals(number))

    heard = [s for s in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(s) == signal.SIG_DFL]
    try:
        for number in heard:
            signal.signal(number, end)
        yield
    finally:
        for number in heard:
            signal.signal(number, signal.SIG_DFL)


@ended_by_signals()
def train(
    name: str, label: str, given: Given, command_line: list[str], record: Given | None = None
) -> None:
    """Train on a game from scratch, or from ``--load_weights``.

    Args:
        name, label: of the game and of the run.
        given: what the user set.
        command_line: for the record.
        record: the run to repeat, see ``results``; None for a new one.
    """
    if label and not re.fullmatch(r"[\w.-]+", label):
        raise UsageError(f"the label '{label}' may only hold letters, digits, '_', '-' and '.'")
    kind, game, rom = find_game(name, given.get("environment", "auto"))
    stem = file_name(game) + (f"_{label}" if label else "")
    given = {**given, "environment": kind}
    base = repeatable(record) if record else None
    if "preset" not in given and base is None:
        given["preset"] = find_preset(kind, game)
    if not given.get("play_games"):  # playing writes nothing unless it is told to
        given.setdefault("csv_file", csv_of(stem))
        given.setdefault("save_weights_prefix", f"snapshots/{stem}")
    config = resolve(given, base)

    load = config.run.load_weights
    snapshot = load_snapshot(Path(load)) if load else None
    if config.run.play_games:
        play_games(config, game, rom, snapshot)
        return
    require_places(config)
    with alone(config), build(config, game, rom) as run:
        require_new(config)
        if snapshot:
            load_weights(run, snapshot)
        fill_memory(run)
        show_and_record(run)
        run.agent.total_train_steps = config.run.start_epoch * config.run.train_steps
        for what, theirs, own in differences(record, rom) if record else ():
            logger.warning("this may become another run: %s was %s and is %s", what, theirs, own)

        outputs, _ = open_outputs(config, keep_before=None)
        write_record(config, game, rom, command_line, [])
        for old in (*snapshot_files(config.run.save_weights_prefix), best_path(config)):
            if old.exists():  # only with --overwrite
                logger.warning("removing %s", old)
                old.unlink()
        checkpoint = Checkpoint(checkpoint_path(config))
        checkpoint.remove()
        announce(run)
        try:
            run_phases(run, checkpoint, outputs)
        except BaseException as error:
            if not run.statistics.row and not checkpoint.path.exists():
                # Nothing is to stand in the next run's way.
                Path(config.run.csv_file).unlink(missing_ok=True)
                record_path(config).unlink(missing_ok=True)
                if isinstance(error, Interrupted | KeyboardInterrupt):
                    error.args = ("; nothing is left of this run",)
            raise


def repeat(path: Path, label: str, given: Given, command_line: list[str]) -> None:
    """Train as the record of a run tells: game, options, seed; where all is equal, the same run."""
    record, later = read_record(path)
    kind = str(record["config"].get("environment"))
    codes = {"environment": kind, "callback": str(record["config"].get("callback", ""))}
    for option, code in codes.items():  # a record may come from anybody
        if ":" in code and option not in given:
            raise UsageError(f"'{path}' runs code of the name {code}: --{option} {code} allows it")
    if ":" in record["game"] and ":" not in kind and given.get("environment") != "gym":
        module = record["game"].partition(":")[0]
        raise UsageError(f"'{path}': --environment gym allows to import the module {module}")
    for what in ("epochs", *sorted(repeatable(record))):
        if any(repeatable(entry).get(what) != record["config"].get(what) for entry in later):
            logger.warning("later the run went on with another --%s; it begins as it began", what)
            break
    train(record["game"], label, {"environment": kind, **given}, command_line, record)


def repeatable(record: Given) -> Given:
    """Return the options of a record that a repetition takes over."""
    options = record["config"].items()
    return {k: v for k, v in options if k not in PLACES or k in PART_OF_A_RUN}


def play_games(config: Config, game: str, rom: Path | None, snapshot: Snapshot | None) -> None:
    """Only play, for ``--play_games``."""
    with build(config, game, rom, with_memory=False) as run:
        if snapshot:
            load_weights(run, snapshot)
        show_and_record(run)
        run.statistics.on_row += open_new_csv(config)
        announce(run)
        run.agent.play(config.run.play_games)


@contextmanager
def alone(config: Config) -> Iterator[None]:
    """Keep other runs off the same files meanwhile.

    Raises:
        UsageError: one is on them.
    """
    prefix, csv_file = config.run.save_weights_prefix, config.run.csv_file
    with (
        locked(Path(f"{prefix}.lock"), f"{prefix}_..."),
        locked(Path(f"{csv_file}.lock"), csv_file),
    ):
        remove_leftovers(config)
        yield


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


def open_outputs(
    config: Config, keep_before: tuple[int, str] | None, drop_others: bool = False
) -> tuple[Outputs, float]:
    """Open what rows are to be written to: the CSV file and, if wanted, TensorBoard.

    Args:
        config: of the run.
        keep_before, drop_others: see ``statistics.CSVFile``.

    Returns:
        outputs: what takes a row.
        total_time: seconds of the run so far, by the rows that are kept.

    Raises:
        UsageError: an existing CSV file is not ours, or TensorBoard is not installed.
    """
    folder = config.run.tensorboard
    boards = (TensorBoard(folder),) if folder else ()
    csv_file = CSVFile(Path(config.run.csv_file), keep_before, drop_others)
    if csv_file.backup:
        logger.warning("the statistics with later rows are now %s", csv_file.backup)
    logger.info("statistics go to %s", csv_file.path)
    return (csv_file, *boards), csv_file.total_time


def run_phases(
    run: Run,
    checkpoint: Checkpoint,
    outputs: Outputs,
    refill: bool = False,
    latest: Path | None = None,
) -> None:
    """Fill the memory, then train and test, epoch by epoch, from where the run stands.

    Args:
        run: at its beginning, or what a snapshot or a checkpoint made of it.
        checkpoint: where to keep it.
        outputs: what takes the rows.
        refill: whether the random phase refills a memory, with the policy of now and without a row.
        latest: the last snapshot.
    """
    config, agent, statistics = run.config, run.agent, run.statistics
    options = config.run
    if config.backend.acceleration:
        steps = options.epochs * options.train_steps  # the same wherever a run goes on
        accelerate(run.network, steps // config.agent.train_frequency * config.agent.train_repeat)
    seconds, every = (0.0, 0) if options.no_checkpoint else interval(options.checkpoint_every)
    checkpointer = Checkpointer(run, checkpoint, seconds, every, refill)
    agent.callbacks = [checkpointer.before_phase_end, *agent.callbacks, checkpointer]
    first_epoch, first_phase = statistics.epoch, agent.phase or "random"
    try:
        with checkpointer.listening():
            if first_phase == "random":
                statistics.on_row += () if refill else outputs
                if options.random_steps and not options.offline:
                    agent.play_random(options.random_steps, resuming=refill)
            statistics.on_row += outputs if refill or first_phase != "random" else ()
            for epoch in range(max(first_epoch, options.start_epoch + 1), options.epochs + 1):
                statistics.epoch = epoch
                tested_only = epoch == first_epoch and first_phase == "test"
                if options.train_steps and not tested_only:
                    agent.train(options.train_steps, options.offline)
                    if not math.isfinite(statistics.row["meancost"]):
                        raise FloatingPointError
                    run.network.require_finite()
                    latest = take_snapshot(run)
                if options.test_steps:
                    agent.test(options.test_steps)
                    keep_best(config)
                    if statistics.row["average_reward"] >= options.stop_at:
                        logger.info("the score has reached --stop_at %g: enough", options.stop_at)
                        break
    except FloatingPointError:
        good = f"the last good snapshot is {latest}" if latest else "there is no good snapshot"
        raise UsageError(
            f"the loss is no longer finite, after {run.network.weight_updates} updates: {good}; "
            f"try a smaller --learning_rate"
        ) from None
    except OSError as error:
        raise UsageError(f"{refusal(error)}{advice(checkpoint, latest)}") from None
    except Interrupted as error:
        raise Interrupted(error.signal, advice(checkpoint, latest)) from None
    except KeyboardInterrupt:
        raise KeyboardInterrupt(advice(checkpoint, latest)) from None


def take_snapshot(run: Run) -> Path:
    """Save the snapshot of the epoch; return its path."""
    environment = run.environment
    path = save_snapshot(
        run.config.run.save_weights_prefix,
        weights=run.network.weights(),
        training_state=run.network.training_state(),
        game=run.game,
        action_meanings=environment.action_meanings,
        observation_shape=environment.observation_shape,
        observation_dtype=environment.observation_dtype.name,
        epoch=run.statistics.epoch,
        total_train_steps=run.agent.total_train_steps,
        weight_updates=run.network.weight_updates,
        config=run.config,
    )
    logger.info("saved %s", path)
    return path


def advice(checkpoint: Checkpoint, latest: Path | None) -> str:
    """Return how to go on with a run that was left."""
    if checkpoint.path.exists():
        folder = checkpoint.folder
        elsewhere = folder if folder.parent.name else f"./{folder}"
        name = folder.stem if folder.parent == Path("snapshots") else elsewhere
        return f"; resume.sh {name} goes on"
    return f"; resume.sh {latest} goes on" if latest else "; there is no snapshot of this run yet"
