"""The runs of a study: games x variants x seeds, checked before anything starts."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from simple_dqn.environments.games import find_game, find_preset, observations_of
from simple_dqn.errors import UsageError
from simple_dqn.options.definitions import options
from simple_dqn.options.option import PATHS
from simple_dqn.options.parser import parse
from simple_dqn.options.resolve import resolve
from simple_dqn.replay_memory import ReplayMemory
from simple_dqn.storage.minari_dataset import is_dataset
from simple_dqn.storage.run_files import file_name

OWN = {"threads": 1, "test_workers": 0, "checkpoint_every": "2m"}  # of runs, unless given
SAFE = str.maketrans({"/": "_", ":": "_", " ": ""})
OVERHEAD = 600_000_000  # bytes of a run besides its replay memory


class PlannedGame(NamedTuple):
    """A game of a study.

    Attributes:
        name: as ``train`` takes it; a file has its full path.
        kind, game: see ``find_game``.
        preset: of its runs, unless they set another.
    """

    name: str
    kind: str
    game: str
    preset: str


class PlannedRun(NamedTuple):
    """A run of a study.

    Attributes:
        name: of its files, ``<game>[_<variant>]_<seed>``.
        game: as ``train`` takes it.
        given: the options for ``train``, without those of places.
        epochs: of its training.
        tests: whether an epoch has a test phase.
        memory: bytes that it takes at most.
    """

    name: str
    game: str
    given: dict[str, Any]
    epochs: int
    tests: bool
    memory: int


def require_effect(given: Mapping[str, Any]) -> None:
    """Raise UsageError for options of searches without one, for those of grids with one, and for a
    seed that is drawn anew each time.
    """
    if given.get("random_seed", 0) < 0:
        raise UsageError(
            "--random_seed must be 0 or more: a study can be continued only with seeds"
        )
    searches = bool(given.get("search"))
    for name in ("grid", "seeds") if searches else ("trials", "grace_epochs"):
        if name in given:
            with_or_without = "with" if searches else "without"
            raise UsageError(f"--{name} has no effect {with_or_without} --search: leave it out")


def find_games(
    names: Sequence[str], given: Mapping[str, Any]
) -> tuple[list[PlannedGame], list[str]]:
    """Return the games with these names, and a line for each that cannot be played.

    Raises:
        UsageError: a game is named twice, or none can be played.
    """
    found: list[PlannedGame] = []
    problems: list[str] = []
    for name in names:
        try:
            kind, game, _ = find_game(name, given.get("environment", "auto"))
            preset = given.get("preset") or find_preset(kind, game)
        except UsageError as error:
            problems.append(f"{name} is left out: {error}")
            continue
        for other in found:
            if other.game == game:
                raise UsageError(f"{name} is named twice, first as {Path(other.name).name}")
        where = str(Path(name).resolve()) if Path(name).is_file() else name
        found.append(PlannedGame(where, kind, game, preset))
    if not found:
        raise UsageError("; ".join(problems) or "there is no game to run")
    return found, problems


def plan(
    games: Sequence[PlannedGame], given: Mapping[str, Any], grid: Sequence[str], seeds: int
) -> list[PlannedRun]:
    """Return the runs of a study of a grid.

    Args:
        games: of the study.
        given: the options of ``train`` that all runs have; its random_seed is the first seed.
        grid: "option=value,value..." each.
        seeds: runs of each game and variant.

    Raises:
        UsageError: the grid is empty or unknown, or an option cannot be used by any run.
    """
    axes: dict[str, list[Any]] = {}
    for text in grid:
        name, values = read_setting("grid", text)
        texts = [value for value in values.split(",") if value]
        if not texts:
            raise UsageError(f"--grid '{text}' must be option=value,value...")
        if name in axes:
            raise UsageError(f"--grid names {name} twice: list all its values at once")
        axes[name] = list(dict.fromkeys(read_value(name, value) for value in texts))
    variants = [
        dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())
    ]
    first = given.get("random_seed", 1)
    runs = [
        planned_run(
            game, "_".join(f"{k}-{v}".translate(SAFE) for k, v in variant.items()), seed,
            {**given, **variant},
        )
        for game in games for variant in variants for seed in range(first, first + seeds)
    ]  # fmt: skip
    named: dict[str, PlannedRun] = {}
    for run in runs:
        if named.setdefault(run.name, run) is not run:
            raise UsageError(f"--grid has two variants that would both be called {run.name}")
    return runs


def planned_run(game: PlannedGame, variant: str, seed: int, given: Mapping[str, Any]) -> PlannedRun:
    """Return one run of a study.

    Args:
        game: that it plays.
        variant: what tells it from others with its seed, in words; may be empty.
        seed: its random seed.
        given: its options of ``train``.

    Raises:
        UsageError: an option cannot be used.
    """
    own = {
        "preset": game.preset, **given, **_absolute(given), "random_seed": seed,
        "environment": game.kind,
    }  # fmt: skip
    config = resolve(own)
    observations = observations_of(game.kind, game.game, config.environment)
    memory = ReplayMemory.nbytes(config.replay.replay_size, *observations) + OVERHEAD
    name = "_".join([file_name(game.game), *([variant] if variant else []), str(seed)])
    return PlannedRun(name, game.name, own, config.run.epochs, config.run.test_steps > 0, memory)


def _absolute(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that name files or folders, with whole paths: runs have other folders."""
    found: dict[str, Any] = {}
    for name in ("load_weights", "tensorboard"):
        if given.get(name):
            found[name] = str(Path(given[name]).resolve())
    if files := given.get("load_experience"):
        found["load_experience"] = tuple(
            file if is_dataset(file) else str(Path(file).resolve()) for file in files
        )
    return found


def read_setting(option: str, text: str) -> tuple[str, str]:
    """Return (name of an option of runs, what follows the equals sign).

    Args:
        option: that has this text, for messages.
        text: "name=...".

    Raises:
        UsageError: runs of a sweep do not take the option.
    """
    name, equals, rest = text.partition("=")
    name = name.lstrip("-").replace("-", "_")
    known = {
        field.name
        for _, field, kind in options()
        if {"train", "sweep"} <= set(field.metadata["commands"]) and kind != PATHS
    }
    if not equals:
        example = "value,value..." if option == "grid" else "kind(a,b)"
        raise UsageError(f"--{option} '{text}' must be option={example}")
    if name not in known:
        raise UsageError(f"--{option} '{text}': runs of a sweep have no option '{name}'")
    if name == "random_seed":
        raise UsageError(f"--{option} '{text}': a sweep sets --{name} itself")
    return name, rest


def read_value(name: str, text: str) -> Any:
    """Return the value that ``train`` reads from --name=text.

    Raises:
        UsageError: the option has no such value.
    """
    return parse("train", ["game", f"--{name}={text}"])[1][name]
