"""The command line, made from the options of ``config.py``: nothing is declared twice."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, NoReturn

from simple_dqn import __version__
from simple_dqn.errors import UsageError
from simple_dqn.options.definitions import PATHS, PLACES, PROFILE, Config, options
from simple_dqn.options.presets import PLAY_DEFAULTS, PROFILE_DEFAULTS

# command -> (positional arguments, what it does)
GAME = ("game", "ROM file, name of an Atari game, or Gymnasium id (module:id of a package)")
SNAPSHOT = ("snapshot", "snapshots/<game>[_<label>]_<epoch>.safetensors")
RUN = ("run", "<game>[_<label>], or one of its snapshots to go on from there")
PLAYED = ("snapshot_or_game", "snapshots/<game>[_<label>]_<epoch>.safetensors; or a ROM file or "
          "the name of a game, to play yourself")  # fmt: skip
CSVS = ("csvs", "results/<game>[_<label>].csv, one or more")
COMMANDS: dict[str, tuple[tuple[tuple[str, str], ...], str]] = {
    "train": (
        (
            ("game", f"{GAME[1]}; left out with --from"),
            ("label", "name for this run, if there are several of a game"),
        ),
        "train on a game: results/<game>[_<label>].csv and a snapshot an epoch",
    ),
    "resume": ((RUN,), "go on with a training, exactly where it was left"),
    "test": ((SNAPSHOT,), "test a snapshot: mean score and the protocol it was got by"),
    "play": ((PLAYED,), "watch a snapshot play, or take over the keyboard"),
    "record": ((SNAPSHOT,), "film a game of a snapshot: videos/<game>[_<label>]_<epoch>.mp4"),
    "plot": ((CSVS,), "plot the statistics of one or more runs: results/<game>[_<label>].png"),
    "visualize": (
        (SNAPSHOT,),
        "show what excites the filters: results/<game>[_<label>]_<epoch>.html",
    ),
    "profile_train": ((GAME,), "show where the time of training goes"),
    "profile_test": ((GAME,), "show where the time of testing goes"),
    "profile_random": ((GAME,), "show where the time of random play goes"),
}
OPTIONAL = {"label"}
FROM = "from_record"  # what --from is called, as Python has taken that name
SEVERAL = {"csvs"}

TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
METAVARS: dict[Any, str] = {int: "N", float: "X", bool: "true|false", str: "TEXT", PATHS: "FILE"}


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are UsageErrors: one line."""

    def error(self, message: str) -> NoReturn:
        """Raise the message as a UsageError, with near names for an unknown option."""
        if message.startswith("unrecognized arguments: "):
            unknown = (message.removeprefix("unrecognized arguments: ").split() or [""])[0]
            known = [s for action in self._actions for s in action.option_strings]
            near = difflib.get_close_matches(unknown, known, n=2)
            message = f"unknown argument '{unknown}'"
            if unknown[2:] in {
                action.dest for action in self._actions if not action.option_strings
            }:
                message += f": {unknown[2:]} is given by its place, without --"
            elif near:
                message += f": did you mean {' or '.join(near)}?"
        raise UsageError(f"{message} (see {self.prog} --help)")


def top_level_help() -> str:
    """Return the text of ``simple-dqn --help``."""
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:{width}}  {text}" for name, (_, text) in COMMANDS.items())
    return (
        f"Simple DQN {__version__}: a small, fast, faithful Deep-Q-Network research toolkit\n\n"
        f"usage: simple-dqn COMMAND ...\n\n{commands}\n\n"
        f"simple-dqn COMMAND --help lists a command's options."
    )


def parse(command: str, arguments: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parse the arguments of a command.

    Returns:
        (positional arguments, the options that were given): nothing is filled in.

    Raises:
        UsageError: an argument is unknown, missing or of the wrong type.
        SystemExit: after ``--help``.
    """
    parser = make_parser(command)
    given = vars(parser.parse_intermixed_args(_joined([_underscored(a) for a in arguments])))
    names = [name for name, _ in COMMANDS[command][0]]
    positionals = {name: given.pop(name) or "" for name in names}
    if command == "train" and not positionals["game"] and FROM not in given:
        parser.error("the following arguments are required: GAME")
    return positionals, given


def make_parser(command: str) -> Parser:
    """Return the parser of a command: its positional arguments and the options that it takes."""
    positionals, description = COMMANDS[command]
    parser = Parser(
        prog=f"simple-dqn {command}",
        description=description[0].upper() + description[1:] + ".",
        epilog="Option names may be written with _ or -.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=30, width=100),
    )
    # A usage line of 60 options would push what matters off the screen.
    words = (
        f"[{name.upper()}]" if name in OPTIONAL
        else f"{name.upper()[:-1]}..." if name in SEVERAL
        else name.upper()
        for name, _ in positionals
    )  # fmt: skip
    parser.usage = f"{parser.prog} {' '.join(words)} [options]"
    for name, help in positionals:
        optional = name in OPTIONAL or command == "train"
        nargs = "?" if optional else "+" if name in SEVERAL else None
        parser.add_argument(name, metavar=name.upper(), help=help, nargs=nargs, default=None)
    if command == "train":
        parser.add_argument(
            "--from", dest=FROM, metavar="FILE",
            help="results/<name>.json: repeat that run; a label and other options may be given",
        )  # fmt: skip
    if command == "test":
        parser.add_argument("--game", metavar="TEXT", help="another ROM than the snapshot's own")

    titles = {
        group.name: (type(group.default).__doc__ or "").partition(".")[0]
        for group in fields(Config)
    }
    groups = {name: parser.add_argument_group(title) for name, title in titles.items()}
    of_snapshot = command not in ("train", "plot", *PROFILE)
    for group, field, kind in options():
        meta = field.metadata
        if command not in meta["commands"]:
            continue
        default = PROFILE_DEFAULTS.get(command, {}).get(field.name, field.default)
        if kind is bool:
            default = str(default).lower()
        elif kind is float:
            default = f"{default:g}"
        unit = f" {meta['unit']}" if meta["unit"] else ""
        if command == "play" and field.name in PLAY_DEFAULTS:
            shown = f" (default: {PLAY_DEFAULTS[field.name]}{unit})"
        elif of_snapshot and "train" in meta["commands"] and field.name not in PLACES:
            shown = " (default: the snapshot's)"
        else:
            shown = f" (default: {default}{unit})" if default not in ("", ()) else ""
        several: dict[str, Any] = {"nargs": "+", "action": "extend"} if kind == PATHS else {}
        groups[group].add_argument(
            f"--{field.name}",
            type=_boolean if kind is bool else str if kind == PATHS else kind,
            **several,
            metavar="|".join(meta["choices"]) or METAVARS[kind],
            help=(meta["help"] + shown).replace("%", "%%"),
        )
    return parser


def _underscored(argument: str) -> str:
    """Return ``--train-steps=5`` as ``--train_steps=5``; leave what is no option alone."""
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument.partition("=")
    return "--" + name[2:].replace("-", "_") + equals + value


def _joined(arguments: list[str]) -> list[str]:
    """Join options to values that argparse would take for something else.

    A truth value may be left out, ``--batch_norm`` for ``--batch_norm true``, also before a
    positional argument; and a negative number such as ``-1e3`` is no option.
    """
    flags = {f"--{field.name}" for _, field, kind in options() if kind is bool}
    joined: list[str] = []
    rest = iter([*arguments, ""])
    argument = next(rest)
    for following in rest:
        takes = following.lower() in TRUTH if argument in flags else _is_negative(following)
        if argument.startswith("--") and "=" not in argument and takes:
            joined.append(f"{argument}={following}")
            following = next(rest, "")
        else:
            joined.append(f"{argument}=true" if argument in flags else argument)
        argument = following
    return joined


def _is_negative(text: str) -> bool:
    """Whether ``text`` is a negative number."""
    try:
        return text.startswith("-") and float(text) == float(text)
    except ValueError:
        return False


def _boolean(text: str) -> bool:
    """Return the truth value that ``text`` spells."""
    try:
        return TRUTH[text.lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"takes true or false, not '{text}'") from None
