"""The entry point: parse, build the objects, run the command.

Heavy packages are imported late, so that ``--help`` and typing errors get an answer without
waiting for torch.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from simple_dqn import __version__
from simple_dqn.errors import Interrupted, UsageError, refusal
from simple_dqn.options.custom_classes import moved
from simple_dqn.options.parser import COMMANDS, FROM, parse, top_level_help
from simple_dqn.options.resolve import check, resolve

logger = logging.getLogger("simple_dqn")

SWEEP = "optuna 'ray[tune]' rich"
# Packages that only some commands need, by module.
EXTRAS = {
    "aiohttp": "aiohttp",
    "av": "av",
    "blessed": "blessed",
    "bokeh": "bokeh",
    "captum": "captum",
    "matplotlib": "matplotlib",
    "PIL": "pillow",
    "optuna": SWEEP,
    "pandas": "pandas",
    "pyarrow": "pyarrow",
    "pygame": "pygame-ce",
    "ray": SWEEP,
    "rich": SWEEP,
    "scipy": "scipy",
}

# How often a thread of the network looks for work before it sleeps, in GNU OpenMP. Its default of
# some 300,000 wastes the cores when other programs are running; see benchmarks/busy.py.
SPINS = "5000"

Given = dict[str, Any]  # the options that the user gave


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``simple-dqn COMMAND ...`` and return its exit status.

    0: success. 2: the user's input cannot be used, or a file cannot be written; one line on stderr
    says why. 130: interrupted from the keyboard, 143: by SIGTERM, 129: by a closed terminal.
    """
    open_closed_streams()
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = SPINS  # read when torch is loaded
    try:
        return explained(sys.argv[1:] if arguments is None else list(arguments))
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:  # its reader has gone or its disk is full: not once more at the exit
                with contextlib.suppress(OSError):
                    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def explained(arguments: list[str]) -> int:
    """Run a command; turn what goes wrong into a line on stderr and an exit status."""
    command, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    try:
        if command in ("-h", "--help"):
            print(top_level_help(), flush=True)
            return 0
        if command == "--version":
            print(f"simple-dqn {__version__}", flush=True)
            return 0
        if command not in COMMANDS:
            raise UsageError(f"there is no command '{command}': choose from {', '.join(COMMANDS)}")
        positionals, given = parse(command, rest)
        logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", force=True)
        level = {name: value for name, value in given.items() if name == "log_level"}
        logger.setLevel(resolve(level).common.log_level)
        run_command(command, positionals, given, [command, *rest])
        sys.stdout.flush()  # what cannot be printed is an error, too
    except UsageError as error:
        logger.debug("traceback:", exc_info=error)
        line = "".join(c if c.isprintable() else "?" for c in " ".join(str(error).split()))
        complain(line)
        return 2
    except ImportError as error:
        package = EXTRAS.get((error.name or "").partition(".")[0])
        if package is None:
            raise
        install = f"{sys.executable} -m pip install {package}"
        complain(f"'{command}' needs {package}: {install}")
        return 2
    except AttributeError as error:
        if not (line := moved(error)):
            raise
        complain(line)
        return 2
    except BrokenPipeError:  # the reader of our output has exited, as in `... | head`
        return 141
    except OSError as error:  # a full disk, a removed folder: files already written stay intact
        complain(refusal(error))
        return 2
    except Interrupted as error:
        complain(f"interrupted{error}")
        return 128 + error.signal
    except KeyboardInterrupt as advice:
        complain(f"interrupted{advice}", begin="\n" if sys.stderr.isatty() else "")  # a live line
        return 130
    return 0


def complain(line: str, begin: str = "") -> None:
    """Print a line on stderr; if stderr cannot be written, only the exit status is left."""
    with contextlib.suppress(OSError):
        print(f"{begin}simple-dqn: {line}", file=sys.stderr)


def open_closed_streams() -> None:
    """Replace closed standard streams by empty ones: the next file would take their numbers.

    A stream that was closed may already be a file that the shell reads, so it is replaced as well.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.open(os.devnull, os.O_RDWR), mode))  # noqa: SIM115
        stream = getattr(sys, name)
        with contextlib.suppress(OSError, ValueError):  # not a file, as in a notebook
            if number and fcntl.fcntl(stream.fileno(), fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if number and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # ε and ± where the terminal has no Unicode


def run_command(
    command: str, positionals: dict[str, Any], given: Given, command_line: list[str]
) -> None:
    """Run one command with its parsed arguments."""
    if command == "train":
        record = given.pop(FROM, "")
        check(given)  # reject invalid values immediately, before torch is loaded
        from simple_dqn.commands import train

        if record and positionals["label"]:
            raise UsageError("--from determines the game: give at most a label")
        if record:
            train.repeat(Path(record), positionals["game"], given, command_line)
        else:
            train.train(positionals["game"], positionals["label"], given, command_line)
    elif command == "resume":
        from simple_dqn.commands.resume import resume

        resume(positionals["run"], given, command_line)
    elif command == "play":
        from simple_dqn.commands.watch import play

        play(positionals["snapshot_or_game"], given)
    elif command == "plot":
        from simple_dqn.analysis.plot import plot

        plot([Path(csv) for csv in positionals["csvs"]], resolve(given).plot)
    elif command == "sweep":
        check(given)
        from simple_dqn.commands.sweep import sweep

        sweep(positionals["games"], given)
    elif command == "compare":
        from simple_dqn.commands.compare import compare

        compare([Path(run) for run in positionals["runs"]], resolve(given).compare)
    elif command == "import":
        from simple_dqn.commands.import_network import import_network

        import_network(Path(positionals["file"]), positionals["label"], given)
    elif command.startswith("profile_"):
        from simple_dqn.commands.profile import profile

        profile(command.removeprefix("profile_"), positionals["game"], given)
    else:
        run_with_snapshot(command, positionals["snapshot"], given)


def run_with_snapshot(command: str, name: str, given: Given) -> None:
    """Run one of the commands that start by reading a snapshot."""
    from simple_dqn.storage.run_files import named_snapshot

    snapshot = named_snapshot(name)
    if command == "test":
        from simple_dqn.commands.test import test

        test(snapshot, given)
    elif command == "record":
        from simple_dqn.commands.watch import record

        record(snapshot, given)
    elif command == "export":
        from simple_dqn.commands.export_network import export

        export(snapshot, given)
    else:
        from simple_dqn.commands.visualize import visualize

        visualize(snapshot, given)
