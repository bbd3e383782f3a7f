"""The entry point: parse, build the objects, run the command.

Heavy packages are imported late, so that ``--help`` and a typing error answer at once, without
waiting for torch.
"""

from __future__ import annotations

import io
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simple_dqn import __version__
from simple_dqn.cli import COMMANDS, parse, top_level_help
from simple_dqn.config import PROFILE_DEFAULTS, Config
from simple_dqn.errors import UsageError
from simple_dqn.resolve import changes, resolve

if TYPE_CHECKING:
    from simple_dqn.build import Run
    from simple_dqn.snapshot import Snapshot
    from simple_dqn.statistics import Row

logger = logging.getLogger("simple_dqn")

# What only some commands need: module -> package.
EXTRAS = {
    "av": "av",
    "blessed": "blessed",
    "bokeh": "bokeh",
    "captum": "captum",
    "matplotlib": "matplotlib",
    "PIL": "pillow",
    "pygame": "pygame-ce",
}

Given = dict[str, Any]  # the options that the user gave


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``simple-dqn COMMAND ...`` and return its exit status.

    0: done. 2: something that the user gave cannot be used, or the disk refused; one line on
    stderr says what. 130: interrupted from the keyboard.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    command, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # ε and ± where the terminal has no Unicode
    try:
        if command in ("-h", "--help"):
            print(top_level_help(), flush=True)
            return 0
        if command == "--version":
            print(f"simple-dqn {__version__}")
            return 0
        if command not in COMMANDS:
            raise UsageError(f"there is no command '{command}': one of {', '.join(COMMANDS)}")
        positionals, given = parse(command, rest)
        logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", force=True)
        level = {name: value for name, value in given.items() if name == "log_level"}
        logger.setLevel(resolve(level).common.log_level)
        run_command(command, positionals, given, [command, *rest])
    except UsageError as error:
        print(f"simple-dqn: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except ImportError as error:
        package = EXTRAS.get((error.name or "").partition(".")[0])
        if package is None:
            raise
        print(
            f"simple-dqn: '{command}' needs the package {package}: "
            f"{sys.executable} -m pip install {package}",
            file=sys.stderr,
        )
        return 2
    except BrokenPipeError:  # the reader of our output has gone, as in `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:  # a full disk, a vanished folder: what was written before stays whole
        place = f" '{error.filename}'" if error.filename else ""
        print(f"simple-dqn: {error.strerror or error}{place}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as advice:
        line = "\n" if sys.stderr.isatty() else ""  # leave the live line as it is
        print(f"{line}simple-dqn: interrupted{advice}", file=sys.stderr)
        return 130
    return 0


def run_command(
    command: str, positionals: dict[str, Any], given: Given, command_line: list[str]
) -> None:
    """Run one command with its parsed arguments."""
    if command == "train":
        train(positionals["game"], positionals["label"], given, command_line)
    elif command == "resume":
        resume(Path(positionals["snapshot"]), given, command_line)
    elif command == "test":
        test(Path(positionals["snapshot"]), given)
    elif command == "play":
        from simple_dqn.watch.commands import play

        play(positionals["snapshot_or_game"], given)
    elif command == "record":
        from simple_dqn.watch.commands import record

        record(Path(positionals["snapshot"]), given)
    elif command == "plot":
        plot([Path(csv) for csv in positionals["csvs"]], given)
    elif command == "visualize":
        visualize(Path(positionals["snapshot"]), given)
    else:
        profile(command.removeprefix("profile_"), positionals["game"], given)


# --- the commands -------------------------------------------------------------------------------


def train(name: str, label: str, given: Given, command_line: list[str]) -> None:
    """Train on a game from scratch, or from ``--load_weights``."""
    if label and not re.fullmatch(r"[\w.-]+", label):
        raise UsageError(f"the label '{label}' may only hold letters, digits, '_', '-' and '.'")
    resolve(given)  # a wrong value is said at once, before torch is loaded
    from simple_dqn.build import announce, build, find_game, load_weights, show_and_record
    from simple_dqn.results import (
        best_path,
        record_path,
        require_new,
        require_places,
        snapshot_files,
        write_record,
    )
    from simple_dqn.snapshot import load_snapshot

    kind, game, rom = find_game(name, given.get("environment", "auto"))
    stem = game.replace("/", "-").replace(":", "-") + (f"_{label}" if label else "")
    given = {**given, "environment": kind}
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
            if config.run.random_steps:
                run.agent.play_random(config.run.random_steps)
        except KeyboardInterrupt:  # no row yet: nothing of ours is to stand in the next run's way
            Path(config.run.csv_file).unlink(missing_ok=True)
            record_path(config).unlink(missing_ok=True)
            raise KeyboardInterrupt("; nothing is left of this run") from None
        train_epochs(run, latest=None)


def resume(path: Path, given: Given, command_line: list[str]) -> None:
    """Go on with a training at the epoch after a snapshot's."""
    from simple_dqn.build import announce, build, find_snapshots_game, go_on, show_and_record
    from simple_dqn.results import read_records, require_places, set_later_aside, write_record
    from simple_dqn.snapshot import load_snapshot, load_training_state, resume_path

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
        if config.run.random_steps:
            logger.info(
                "a snapshot holds no replay memory: refilling it with %d steps at the current ε",
                config.run.random_steps,
            )
            run.agent.play_random(config.run.random_steps, resuming=True)
        run.statistics.on_row += outputs  # only now: the refill gets no row
        train_epochs(run, latest=path)


def test(path: Path, given: Given) -> None:
    """Test a snapshot; print mean ± standard deviation, minimum, maximum and the protocol."""
    from simple_dqn.build import (
        announce,
        build,
        find_game,
        find_snapshots_game,
        go_on,
        show_and_record,
    )
    from simple_dqn.snapshot import load_snapshot

    name = given.pop("game", None)
    snapshot = load_snapshot(path)
    config = resolve(given, snapshot.config)
    if name:
        _, game, rom = find_game(name, config.environment.environment)
    else:
        game, rom = find_snapshots_game(snapshot, given.get("environment", ""))
    with build(config, game, rom, with_memory=False) as run:
        go_on(run, snapshot)
        show_and_record(run)
        run.statistics.on_row += open_new_csv(config)
        announce(run)
        run.agent.test(steps=config.run.test_steps, games=config.run.test_games)
        print(report(run, snapshot))


def plot(csvs: list[Path], given: Given) -> None:
    """Plot the statistics of one or more runs."""
    config = resolve(given)
    from simple_dqn.analysis.plot import plot

    plot(csvs, config.plot)


def visualize(path: Path, given: Given) -> None:
    """Play a game of a snapshot and write a page about what excites its filters."""
    from simple_dqn.analysis.filter_page import visualize
    from simple_dqn.build import build, find_snapshots_game, go_on
    from simple_dqn.files import require_writable
    from simple_dqn.snapshot import load_snapshot

    snapshot = load_snapshot(path)
    game, rom = find_snapshots_game(snapshot, given.get("environment", ""))
    config = resolve({**given, "num_envs": 1}, snapshot.config)
    options = config.visualization
    page = Path(options.visualization_file or f"results/{path.stem}.html")
    if page.is_dir():
        raise UsageError(f"--visualization_file '{page}' is a folder: add a file's name")
    require_writable(page.parent, "visualization_file")
    with build(config, game, rom, with_memory=False) as run:
        go_on(run, snapshot)
        visualize(run, snapshot, options.visualization_filters, page)


def profile(phase: str, name: str, given: Given) -> None:
    """Run one phase under the profiler and print where its time went."""
    import cProfile
    import pstats

    from simple_dqn.build import build, find_game

    kind, game, rom = find_game(name, given.get("environment", "auto"))
    config = resolve({**PROFILE_DEFAULTS[f"profile_{phase}"], **given, "environment": kind})
    with build(config, game, rom) as run:
        profiler = cProfile.Profile()
        if phase != "random":
            run.agent.play_random(config.run.random_steps)
        profiler.enable()
        if phase == "random":
            run.agent.play_random(config.run.random_steps)
        elif phase == "train":
            run.agent.train(config.run.train_steps)
        else:
            run.agent.test(config.run.test_steps)
        profiler.disable()
        stats = pstats.Stats(profiler)
        stats.sort_stats("tottime").print_stats(25)
        output = Path(f"results/{game.replace('/', '-')}_{phase}.prof")
        output.parent.mkdir(parents=True, exist_ok=True)
        stats.dump_stats(output)
        print(f"The whole profile is in {output}: any viewer of Python profiles opens it.")


def open_new_csv(config: Config) -> tuple[Callable[[Row], None], ...]:
    """Return the CSV file that the row of a test goes to, if one was asked for.

    Raises:
        UsageError: it exists already.
    """
    from simple_dqn.statistics import CSVFile

    path = Path(config.run.csv_file)
    if config.run.csv_file and path.exists() and not config.run.overwrite:
        raise UsageError(f"'{path}' exists: give another --csv_file, or --overwrite true")
    return (CSVFile(path),) if config.run.csv_file else ()


def open_outputs(run: Run, keep_until_epoch: int | None) -> tuple[Callable[[Row], None], ...]:
    """Return what rows are to be written to: the CSV file and, if wanted, TensorBoard.

    Args:
        run: its clock is set to go on from the rows that are kept.
        keep_until_epoch: see ``statistics.CSVFile``.

    Raises:
        UsageError: an existing CSV file is not ours, or TensorBoard is not installed.
    """
    import time

    from simple_dqn.statistics import CSVFile, TensorBoard

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
    from simple_dqn.results import keep_best
    from simple_dqn.snapshot import save_snapshot

    config, environment = run.config, run.environment
    try:
        for epoch in range(config.run.start_epoch + 1, config.run.epochs + 1):
            run.statistics.epoch = epoch
            if config.run.train_steps:
                run.agent.train(config.run.train_steps)
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


def report(run: Run, snapshot: Snapshot) -> str:
    """Return what a test came to: scores and the protocol they were got by."""
    row, env = run.statistics.row, run.config.environment
    scores = (
        "mean {average_reward:.2f} ± {std_game_reward:.2f} (standard deviation), "
        "minimum {min_game_reward:g}, maximum {max_game_reward:g}".format(**row)
        if row["nr_games"]
        else "no game ended: give more --test_steps, or --test_games"
    )
    if snapshot.config.get("environment") == "ale":
        least, most = getattr(run.environment, "random_starts", (0, 0))
        starts = f"{least} to {most} no-op frames at the start"
        cap = f"cut off after {env.test_frame_cap} frames" if env.test_frame_cap else "no frame cap"
        rules = (
            f"{starts}, {cap}, frame skip {env.frame_skip}, "
            f"sticky actions {env.repeat_action_probability:g}"
        )
    else:
        rules = "starts and limits of the environment"
    return (
        f"{run.game}, {snapshot.path}: epoch {snapshot.epoch}, "
        f"{snapshot.total_train_steps} training steps, preset {run.config.common.preset}\n"
        f"{row['nr_games']} games in {row['steps']} steps: {scores}\n"
        f"protocol: ε {row['last_exploration_rate']:g}, {rules}, "
        f"seed {run.config.common.random_seed}"
    )
