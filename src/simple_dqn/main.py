"""The entry point: parse, build the objects, run the command.

Heavy packages are imported late, so that ``--help`` and a typing error answer at once, without
waiting for torch.
"""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simple_dqn import __version__
from simple_dqn.cli import COMMANDS, FROM, parse, top_level_help
from simple_dqn.errors import Interrupted, UsageError, refusal
from simple_dqn.presets import PROFILE_DEFAULTS
from simple_dqn.resolve import check, resolve

if TYPE_CHECKING:
    from simple_dqn.build import Run
    from simple_dqn.snapshot import Snapshot

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
    stderr says what. 130: interrupted from the keyboard, 143: by SIGTERM,
    129: by a terminal that was closed.
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
        logger.debug("where it happened:", exc_info=error)
        line = "".join(c if c.isprintable() else "?" for c in " ".join(str(error).split()))
        print(f"simple-dqn: {line}", file=sys.stderr)
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
        print(f"simple-dqn: {refusal(error)}", file=sys.stderr)
        return 2
    except Interrupted as error:
        print(f"simple-dqn: interrupted{error}", file=sys.stderr)
        return 128 + error.signal
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
        record = given.pop(FROM, "")
        check(given)  # a wrong value is said at once, before torch is loaded
        from simple_dqn.training import repeat, train

        if record:
            if positionals["label"]:
                raise UsageError("--from tells the game: give no more than a label")
            repeat(Path(record), positionals["game"], given, command_line)
        else:
            train(positionals["game"], positionals["label"], given, command_line)
    elif command == "resume":
        from simple_dqn.resuming import resume

        resume(positionals["run"], given, command_line)
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


def test(path: Path, given: Given) -> None:
    """Test a snapshot; print mean ± standard deviation, minimum, maximum and the protocol."""
    from simple_dqn.build import announce, build, go_on, show_and_record
    from simple_dqn.games import find_game, find_snapshots_game
    from simple_dqn.results import open_new_csv
    from simple_dqn.snapshot import load_snapshot

    name = given.pop("game", None)
    snapshot = load_snapshot(path)
    config = resolve({**given, "num_envs": 1, "workers": 0}, snapshot.config)
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
    from simple_dqn.build import build, go_on
    from simple_dqn.files import require_writable
    from simple_dqn.games import find_snapshots_game
    from simple_dqn.snapshot import load_snapshot

    snapshot = load_snapshot(path)
    game, rom = find_snapshots_game(snapshot, given.get("environment", ""))
    config = resolve({**given, "num_envs": 1, "workers": 0}, snapshot.config)
    options = config.visualization
    page = Path(options.visualization_file or f"results/{path.stem}.html")
    if page.is_dir():
        raise UsageError(f"--visualization_file '{page}' is a folder: add a file's name")
    require_writable(page.parent, "visualization_file")
    with build(config, game, rom, with_memory=False, with_tests=False) as run:
        go_on(run, snapshot)
        visualize(run, snapshot, options.visualization_filters, page)


def profile(phase: str, name: str, given: Given) -> None:
    """Run one phase under the profiler and print where its time went."""
    import cProfile
    import pstats

    from simple_dqn.acceleration import accelerate
    from simple_dqn.build import build
    from simple_dqn.games import find_game, find_preset
    from simple_dqn.results import file_name

    kind, game, rom = find_game(name, given.get("environment", "auto"))
    given = {**given, "environment": kind}
    if "preset" not in given:
        given["preset"] = find_preset(kind, game)
    config = resolve({**PROFILE_DEFAULTS[f"profile_{phase}"], **given})
    with build(config, game, rom) as run:
        if phase == "train" and config.backend.acceleration:
            accelerate(run.network, config.run.train_steps // config.agent.train_frequency)
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
        output = Path(f"results/{file_name(game)}_{phase}.prof")
        output.parent.mkdir(parents=True, exist_ok=True)
        stats.dump_stats(output)
        print(f"The whole profile is in {output}: any viewer of Python profiles opens it.")


def report(run: Run, snapshot: Snapshot) -> str:
    """Return what a test came to: scores and the protocol they were got by."""
    from simple_dqn.games import noop_frames

    row, env = run.statistics.row, run.config.environment
    scores = (
        "mean {average_reward:.2f} ± {std_game_reward:.2f} (standard deviation), "
        "minimum {min_game_reward:g}, maximum {max_game_reward:g}".format(**row)
        if row["nr_games"]
        else "no game ended: give more --test_steps, or --test_games"
    )
    if snapshot.config.get("environment") == "ale":
        least, most = noop_frames(run.config)
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
