"""The epochs of a run, with its files, checkpoints and interruptions."""

from __future__ import annotations

import logging
import math
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType

from simple_dqn.callbacks.checkpointer import Checkpointer
from simple_dqn.callbacks.writers import CSVFile, TensorBoard
from simple_dqn.commands.build import Run
from simple_dqn.errors import Interrupted, UsageError, refusal
from simple_dqn.options.definitions import Config
from simple_dqn.options.option import number_text
from simple_dqn.statistics import Row
from simple_dqn.storage.checkpoint import Checkpoint
from simple_dqn.storage.experience_file import load_experience
from simple_dqn.storage.files import locked
from simple_dqn.storage.minari_dataset import is_dataset
from simple_dqn.storage.run_files import keep_best, last_snapshot, remove_leftovers
from simple_dqn.storage.run_state import run_state
from simple_dqn.storage.snapshot import save_snapshot

logger = logging.getLogger(__name__)

Outputs = tuple[Callable[[Row], None], ...]


def run_epochs(run: Run, first_epoch: int, first_phase: str, refill: bool = False) -> None:
    """Run the random phase, then epochs of training, a snapshot and a test.

    Args:
        run: its objects.
        first_epoch, first_phase: where to start: epoch 0, "random", or where a checkpoint was.
        refill: whether the random phase refills a lost replay memory, with the current policy.
    """
    agent, statistics, options = run.agent, run.statistics, run.config.run
    if first_phase == "random" and options.random_steps and not options.offline:
        agent.play_random(options.random_steps, refill)
    for epoch in range(max(first_epoch, options.start_epoch + 1), options.epochs + 1):
        statistics.epoch = epoch
        if options.train_steps and (epoch, "test") != (first_epoch, first_phase):
            agent.train(options.train_steps, options.offline)
            require_finite(run)
            take_snapshot(run)
        if options.test_steps:
            agent.test(options.test_steps)
            keep_best(run.config)
            if options.stop_at is not None and statistics.row["average_reward"] >= options.stop_at:
                logger.info("stopping: the score has reached %s", number_text(options.stop_at))
                break


def run_with_checkpoints(
    run: Run,
    checkpoint: Checkpoint,
    outputs: Outputs,
    first_phase: str = "random",
    refill: bool = False,
    source: Path | None = None,
) -> None:
    """Run the epochs from the current state of the objects, with rows and checkpoints.

    Args:
        run: new, or restored from a snapshot or a checkpoint.
        checkpoint: the checkpoint to write.
        outputs: called with each row.
        first_phase: the current phase.
        refill: see ``run_epochs``; a phase that refills has no row.
        source: the snapshot that the run is resumed from.

    Raises:
        UsageError: the loss is not finite, or a file cannot be written.
        Interrupted, KeyboardInterrupt: with advice on how to resume.
    """

    def write(row: Row) -> None:
        for output in outputs if not (refill and row["phase"] == "random") else ():
            output(row)

    run.statistics.on_row += (write,)
    state = partial(run_state, run.config, run.game, run.agent, run.statistics, run.callback)
    options = run.config.run
    checkpointer = Checkpointer(checkpoint, state, run.statistics, options, refill)
    run.agent.callbacks.append(checkpointer)
    with explaining(run, checkpoint, source), checkpointer.listening():
        run_epochs(run, run.statistics.epoch, first_phase, refill)


@contextmanager
def explaining(run: Run, checkpoint: Checkpoint, source: Path | None) -> Iterator[None]:
    """Turn an exception that ends a run into one line that says how to resume."""

    def latest() -> Path | None:
        return last_snapshot(run.config.run.save_weights_prefix) or source

    try:
        yield
    except FloatingPointError:
        path = latest()
        good = f"the last good snapshot is {path}" if path else "there is no good snapshot"
        raise UsageError(
            f"the loss is no longer finite, after {run.network.weight_updates} updates: {good}; "
            f"try a smaller --learning_rate"
        ) from None
    except OSError as error:
        raise UsageError(f"{refusal(error)}{advice(checkpoint, latest())}") from None
    except Interrupted as error:
        raise Interrupted(error.signal, advice(checkpoint, latest())) from None
    except KeyboardInterrupt:
        raise KeyboardInterrupt(advice(checkpoint, latest())) from None


def advice(checkpoint: Checkpoint, latest: Path | None) -> str:
    """Return how to resume an interrupted run."""
    if checkpoint.path.exists():
        folder = checkpoint.folder
        elsewhere = folder if folder.parent.name else f"./{folder}"
        name = folder.stem if folder.parent == Path("snapshots") else elsewhere
        return f"; resume.sh {name} resumes it"
    return (
        f"; resume.sh {latest} resumes it" if latest else "; there is no snapshot of this run yet"
    )


def require_finite(run: Run) -> None:
    """Raise FloatingPointError if the loss of the phase or a weight is not finite."""
    if not math.isfinite(run.statistics.row["meancost"]):
        raise FloatingPointError
    run.network.require_finite()


def take_snapshot(run: Run) -> None:
    """Save the snapshot of the epoch."""
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


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP interrupt the code inside, as Ctrl-C does."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Interrupted(signal.Signals(number))

    handled = [s for s in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(s) == signal.SIG_DFL]
    try:
        for number in handled:
            signal.signal(number, end)
        yield
    finally:
        for number in handled:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def alone(config: Config) -> Iterator[None]:
    """Lock the files of a run against other runs.

    Raises:
        UsageError: another run is writing them.
    """
    prefix, csv_file = config.run.save_weights_prefix, config.run.csv_file
    with (
        locked(Path(f"{prefix}.lock"), f"{prefix}_..."),
        locked(Path(f"{csv_file}.lock"), csv_file),
    ):
        remove_leftovers(config)
        yield


def fill_memory(run: Run) -> None:
    """Fill the replay memory from the files of ``--load_experience``.

    Raises:
        UsageError: a file does not fit this game, or ``--offline`` has nothing to learn from.
    """
    files, memory, loaded = run.config.run.load_experience, run.agent.memory, 0
    assert memory is not None
    for file in files:
        if not is_dataset(file) and not Path(file).is_file():
            raise UsageError(f"--load_experience: there is no file '{file}'")
    for file in files:
        experience = load_experience(file, run.config, run.game, run.environment)
        memory.extend(experience)
        steps = len(experience.starts) - int(experience.starts.sum())
        loaded += steps
        logger.info("loaded %d steps from %s", steps, file)
    if memory.count < loaded:
        logger.warning("the replay memory holds only %d of them: --replay_size", memory.count)
    if run.config.run.offline and not memory.can_sample():
        raise UsageError("--offline learns from --load_experience FILE, which is missing or empty")


def open_outputs(
    config: Config, keep_before: tuple[int, str] | None, drop_others: bool = False
) -> tuple[Outputs, float]:
    """Open the outputs of rows: the CSV file and, if requested, TensorBoard.

    Args:
        config: of the run.
        keep_before, drop_others: see ``CSVFile``.

    Returns:
        outputs: called with each row.
        total_time: seconds of the run so far, from the rows kept.

    Raises:
        UsageError: the CSV file is not a statistics file, or TensorBoard is not installed.
    """
    folder, prefix = config.run.tensorboard, config.run.save_weights_prefix
    boards = (TensorBoard(folder, prefix),) if folder else ()
    csv_file = CSVFile(Path(config.run.csv_file), keep_before, drop_others)
    for board in boards:
        board.begin(csv_file.rows)
    if csv_file.backup:
        logger.warning("the statistics with later rows are now %s", csv_file.backup)
    logger.info("statistics go to %s", csv_file.path)
    return (csv_file, *boards), csv_file.total_time
