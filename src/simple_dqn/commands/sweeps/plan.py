"""The runs of a study: games x variants x seeds, checked before anything starts."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from simple_dqn.environments.games import find_game, find_preset
from simple_dqn.errors import UsageError
from simple_dqn.options.definitions import Config, options
from simple_dqn.options.parser import parse
from simple_dqn.options.resolve import resolve
from simple_dqn.storage.run_files import file_name

SAFE = str.maketrans({"/": "_", ":": "_", " ": ""})


class PlannedRun(NamedTuple):
    """A run of a study.

    Attributes:
        name: of its files, ``<game>[_<variant>]_<seed>``.
        game: as ``train`` takes it; a file has its full path.
        variant: the options of the grid that it has, in words; empty without a grid.
        seed: its random seed.
        given: the options for ``train``, without those of places.
        config: with all options resolved.
    """

    name: str
    game: str
    variant: str
    seed: int
    given: dict[str, Any]
    config: Config


def plan(
    games: Sequence[str], given: Mapping[str, Any], grid: Sequence[str], seeds: int
) -> tuple[list[PlannedRun], list[str]]:
    """Return the runs of a study, and a line for each game that cannot be played.

    Args:
        games: files or names.
        given: the options of ``train`` that all runs have; its random_seed is the first seed.
        grid: "option=value,value..." each.
        seeds: runs of each game and variant.

    Raises:
        UsageError: a game is named twice, the grid is empty or unknown, or an option cannot be
            used by any run.
    """
    variants = [dict(zip(names, values, strict=True)) for names, values in _combinations(grid)]
    first = given.get("random_seed", 1)
    given = {**given, **_absolute(given)}
    runs: list[PlannedRun] = []
    problems: list[str] = []
    seen: dict[str, str] = {}
    for name in games:
        try:
            kind, game, _ = find_game(name, given.get("environment", "auto"))
            preset = given.get("preset") or find_preset(kind, game)
        except UsageError as error:
            problems.append(f"{name} is left out: {error}")
            continue
        if game in seen:
            raise UsageError(f"{name} is named twice, first as {seen[game]}")
        seen[game] = name
        for variant in variants:
            for seed in range(first, first + seeds):
                own = {
                    **given, **variant, "random_seed": seed, "preset": preset, "environment": kind,
                }  # fmt: skip
                words = "_".join(f"{k}-{v}".translate(SAFE) for k, v in variant.items())
                parts = [file_name(game), *([words] if words else []), str(seed)]
                where = str(Path(name).resolve()) if Path(name).is_file() else name
                runs.append(PlannedRun("_".join(parts), where, words, seed, own, resolve(own)))
    if not runs:
        raise UsageError("; ".join(problems) or "there is no game to run")
    return runs, problems


def _absolute(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that name files or folders, with whole paths: runs have other folders."""
    found: dict[str, Any] = {}
    for name in ("load_weights", "tensorboard", "load_experience"):
        value = given.get(name)
        if isinstance(value, str) and value:
            found[name] = str(Path(value).resolve())
        elif value:
            found[name] = tuple(str(Path(path).resolve()) for path in value)
    return found


def _combinations(grid: Sequence[str]) -> list[tuple[tuple[str, ...], tuple[Any, ...]]]:
    """Return (names, values) of every combination; a single empty one without a grid."""
    axes: dict[str, list[Any]] = {}
    known = {
        field.name
        for _, field, _ in options()
        if {"train", "sweep"} <= set(field.metadata["commands"])
    }
    for text in grid:
        name, equals, values = text.partition("=")
        name = name.lstrip("-").replace("-", "_")
        texts = [value for value in values.split(",") if value]
        if not equals or not texts:
            raise UsageError(f"--grid '{text}' must be option=value,value...")
        if name not in known:
            raise UsageError(f"--grid '{text}': runs of a sweep have no option '{name}'")
        if name == "random_seed":
            raise UsageError(f"--grid '{text}': a sweep sets --{name} itself")
        if name in axes:
            raise UsageError(f"--grid names {name} twice: list all its values at once")
        parsed = [parse("train", ["game", f"--{name}={value}"])[1][name] for value in texts]
        axes[name] = list(dict.fromkeys(parsed))
    return [(tuple(axes), values) for values in itertools.product(*axes.values())]
