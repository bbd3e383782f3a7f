"""The command line, built from the declarations of the options."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Sequence
from dataclasses import Field
from typing import Any, NoReturn

from simple_dqn import __version__
from simple_dqn.errors import UsageError
from simple_dqn.options.definitions import PLACES, groups, options
from simple_dqn.options.option import IMPORT, PATHS, PROFILE, value_text
from simple_dqn.options.presets import PLAY_DEFAULTS, PROFILE_DEFAULTS

GAME = ("game", "ROM file, name of an Atari game, or Gymnasium id (module:id of a package)")
SNAPSHOT = ("snapshot", "snapshots/<game>[_<label>]_<epoch>.safetensors")
RUN = ("run", "<game>[_<label>], or one of its snapshots to resume from")
PLAYED = ("snapshot_or_game", "snapshots/<game>[_<label>]_<epoch>.safetensors; or a ROM file or "
          "the name of a game, to play it yourself")  # fmt: skip
CSVS = ("csvs", "results/<game>[_<label>].csv, one or more")
RUNS = ("runs", "statistics files (.csv), or folders of them, one or more")
# command -> ((name, help) of each positional argument, what the command does)
COMMANDS: dict[str, tuple[tuple[tuple[str, str], ...], str]] = {
    "train": (
        (
            ("game", f"{GAME[1]}; omitted with --from"),
            ("label", "name of this run, to distinguish several runs of a game"),
        ),
        "train on a game: results/<game>[_<label>].csv and a snapshot per epoch",
    ),
    "resume": ((RUN,), "resume a training run exactly where it stopped"),
    "test": ((SNAPSHOT,), "test a snapshot: its mean score and the protocol of the test"),
    "play": ((PLAYED,), "watch a snapshot play, or take over the keyboard"),
    "record": (
        (SNAPSHOT,),
        "record a video of a snapshot playing: videos/<game>[_<label>]_<epoch>.mp4",
    ),
    "plot": ((CSVS,), "plot the statistics of one or more runs: results/<game>[_<label>].png"),
    "sweep": (
        (("games", f"one or more: {GAME[1]}"),),
        "run games, variants and seeds on all cores or a cluster; again to continue",
    ),
    "compare": (
        (RUNS,),
        "compare runs by label over games and seeds: results/comparison.csv, .png and .html",
    ),
    "import": (
        (
            ("file", "a network of Stable-Baselines3, CleanRL, PFRL, Neon or a state dict"),
            ("label", "to distinguish several networks of a game"),
        ),
        "make a snapshot of another package's network: snapshots/<game>[_<label>]_0.safetensors",
    ),
    "export": (
        (SNAPSHOT,),
        "write a snapshot's network for other programs: exports/<game>[_<label>]_<epoch>.onnx",
    ),
    "visualize": (
        (SNAPSHOT,),
        "show what activates the filters: results/<game>[_<label>]_<epoch>.html",
    ),
    "profile_train": ((GAME,), "show where training spends its time"),
    "profile_test": ((GAME,), "show where testing spends its time"),
    "profile_random": ((GAME,), "show where random play spends its time"),
}
OPTIONAL = {"label"}
FROM = "from_record"  # the key of --from; 'from' is a keyword of Python
SEVERAL = {"csvs", "runs", "games"}

TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
METAVARS: dict[Any, str] = {int: "N", float: "X", bool: "true|false", str: "TEXT", PATHS: "FILE"}
NUMBER = re.compile(r"[+-]?\d+")


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are UsageErrors: one line."""

    def error(self, message: str) -> NoReturn:
        """Raise the message as a UsageError, with similar names for an unknown option."""
        if message.startswith("unrecognized arguments: "):
            unknown = (message.removeprefix("unrecognized arguments: ").split() or [""])[0]
            known = [s for action in self._actions for s in action.option_strings]
            near = difflib.get_close_matches(unknown, known, n=2)
            message = f"unknown argument '{unknown}'"
            if unknown[2:] in {
                action.dest for action in self._actions if not action.option_strings
            }:
                message += f": {unknown[2:]} is a positional argument, without --"
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
        (positional arguments, given options): options that are not given are absent.

    Raises:
        UsageError: an argument is unknown, missing or of the wrong type.
        SystemExit: after ``--help``.
    """
    parser = make_parser(command)
    given = vars(
        parser.parse_intermixed_args(_joined(command, [_underscored(a) for a in arguments]))
    )
    names = [name for name, _ in COMMANDS[command][0]]
    positionals = {name: given.pop(name) or "" for name in names}
    if command == "train" and not positionals["game"] and FROM not in given:
        parser.error("the following arguments are required: GAME")
    return positionals, given


def make_parser(command: str) -> Parser:
    """Return the parser of a command: its positional arguments and the options that it takes."""
    description = COMMANDS[command][1]
    parser = Parser(
        prog=f"simple-dqn {command}",
        description=description[0].upper() + description[1:] + ".",
        epilog="Option names may be written with _ or -.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=30, width=100),
    )
    _add_positionals(parser, command)
    if command == "train":
        parser.add_argument(
            "--from", dest=FROM, metavar="FILE",
            help="results/<name>.json: repeat that run; a label and other options may be given",
        )  # fmt: skip
    if command == "test":
        parser.add_argument("--game", metavar="TEXT", help="a ROM other than the snapshot's")
    if command == "import":
        parser.add_argument("--game", metavar="TEXT", help="that the network plays", required=True)

    sections = {
        name: parser.add_argument_group((group.__doc__ or "").partition(".")[0])
        for name, group in groups().items()
    }
    for group, field, kind in options():
        meta = field.metadata
        if command not in meta["commands"]:
            continue
        metavar = "|".join(meta["choices"]) or METAVARS[kind]
        if meta["alone"] and kind is not bool:
            metavar = f"[{metavar}]"
        several: dict[str, Any] = {"nargs": "+", "action": "extend"} if kind == PATHS else {}
        sections[group].add_argument(
            f"--{field.name}",
            type=_boolean if kind is bool else str if kind == PATHS else kind,
            **several,
            metavar=metavar,
            help=(meta["help"] + _default(command, field)).replace("%", "%%"),
        )
    return parser


def _add_positionals(parser: Parser, command: str) -> None:
    """Add the positional arguments of a command, and a usage line that names only them.

    The usual usage line, with 60 options, would push the help texts off the screen.
    """
    words = []
    for name, help in COMMANDS[command][0]:
        optional = name in OPTIONAL or command == "train"
        nargs = "?" if optional else "+" if name in SEVERAL else None
        parser.add_argument(name, metavar=name.upper(), help=help, nargs=nargs, default=None)
        word = name.upper()
        words.append(
            f"[{word}]" if name in OPTIONAL else f"{word[:-1]}..." if name in SEVERAL else word
        )
    parser.usage = f"{parser.prog} {' '.join(words)} [options]"


def _default(command: str, field: Field[Any]) -> str:
    """Return what the help of a command says about the default of an option, or nothing."""
    meta, default = field.metadata, field.default
    of_snapshot = command not in ("train", "plot", "compare", "sweep", *PROFILE)
    if command in IMPORT and field.name not in PLACES:
        return " (default: as the source implies)"
    if command == "play" and field.name in PLAY_DEFAULTS:
        default = PLAY_DEFAULTS[field.name]
    elif of_snapshot and "train" in meta["commands"] and field.name not in PLACES:
        return " (default: the snapshot's)"
    else:
        default = PROFILE_DEFAULTS.get(command, {}).get(field.name, default)
    if default in ("", (), None):
        return ""
    return f" (default: {value_text(default)}{' ' if meta['unit'] else ''}{meta['unit']})"


def _underscored(argument: str) -> str:
    """Return ``--train-steps=5`` as ``--train_steps=5``, and anything but an option unchanged."""
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument.partition("=")
    return "--" + name[2:].replace("-", "_") + equals + value


def _joined(command: str, arguments: list[str]) -> list[str]:
    """Join options with values that argparse would misread.

    Some values may be omitted, as in ``--batch_norm`` for ``--batch_norm true``, even before a
    positional argument; and a negative number such as ``-1e3`` is not an option.
    """
    taken = [field for _, field, _ in options() if command in field.metadata["commands"]]
    alone = {f"--{field.name}": field.metadata["alone"] for field in taken}
    joined: list[str] = []
    rest = iter([*arguments, ""])
    argument = next(rest)
    for following in rest:
        if value := alone.get(argument, ""):
            is_number = bool(NUMBER.fullmatch(following))
            takes = following.lower() in TRUTH if value == "true" else is_number
        else:
            takes = _is_negative(following)
        if argument.startswith("--") and "=" not in argument and takes:
            joined.append(f"{argument}={following}")
            following = next(rest, "")
        else:
            joined.append(f"{argument}={value}" if value else argument)
        argument = following
    return joined


def _is_negative(text: str) -> bool:
    """Return whether ``text`` is a negative number."""
    try:
        return text.startswith("-") and float(text) == float(text)
    except ValueError:
        return False


def _boolean(text: str) -> bool:
    """Return the truth value that ``text`` spells."""
    try:
        return TRUTH[text.lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"must be true or false, not '{text}'") from None
