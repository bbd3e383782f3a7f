"""One option: how it is declared, and what its declaration says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal, TypeVar

# The commands that take an option.
PROFILE = ("profile_train", "profile_test", "profile_random")
TRAIN = ("train", "resume", *PROFILE)
TEST = ("test",)
WATCH = ("play", "record", "visualize")
IMPORT = ("import",)  # what the source of a network may not say

# Other options without which an option has no effect, see ``only`` below.
ALE = {"environment": ("ale", "auto")}
ONLINE = {"offline": (False,)}

PATHS = tuple[str, ...]  # the type of an option that takes several files

T = TypeVar("T")


def option(
    default: T,
    help: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    commands: tuple[str, ...] = TRAIN + TEST + WATCH,
    only: Mapping[str, tuple[Any, ...]] | None = None,
    scope: Literal["run", "place", "code"] = "run",
    on_resume: Literal["", "keep", "ask"] = "",
    repeated: bool = False,
    recipe: Literal["", "atari", "screen"] = "",
    saved_play: bool = False,
    swept: bool = True,
    alone: str = "",
) -> T:
    """Declare one option: a dataclass field with the metadata that parser, checks and files use.

    Args:
        default: its value unless a preset, a snapshot or the command line sets another; None if
            the option is unset by default.
        help: what it means, for ``--help``.
        unit: of a count or a length.
        low, high: inclusive bounds.
        choices: the values allowed; "MODULE:CLASS" allows the name of a custom class.
        commands: those that take it.
        only: {other option: its values with which this one has an effect}. With another value,
            giving this option is an error, so that no option is ignored silently.
        scope: "run" if it changes what a run computes. Otherwise it is not stored in snapshots:
            "place" if it says where files lie, what is shown, or where a run starts and stops;
            "code" if it names code to run.
        on_resume: for an option that is not of scope "run": "keep" if a checkpoint stores it;
            "ask" if ``resume`` requires it to be given again, because it names code or files and
            a checkpoint may come from anyone.
        repeated: whether ``train --from`` takes over an option that is not of scope "run".
        recipe: "atari" or "screen" if it affects how observations are made: of Atari games only,
            or of all games with screens.
        saved_play: whether it affects ``play`` only with ``--save_experience``.
        swept: whether ``sweep`` takes it for its runs if ``train`` does. What is shown, and where
            files lie, it decides itself.
        alone: its value, as written on the command line, where it is given without one.
    """
    of_runs = scope != "place" or repeated or on_resume
    if recipe:
        commands = (*commands, *IMPORT)
    if swept and of_runs and "train" in commands:
        commands = (*commands, "sweep")
    return field(
        default=default,
        metadata=dict(
            help=help,
            unit=unit,
            low=low,
            high=high,
            choices=choices,
            commands=commands,
            only=dict(only or {}),
            scope=scope,
            on_resume=on_resume,
            repeated=repeated,
            recipe=recipe,
            saved_play=saved_play,
            alone="true" if isinstance(default, bool) else alone,
        ),
    )


def number_text(number: float) -> str:
    """Return a number as text; whole numbers in full, where ``:g`` would give 2.14748e+09."""
    return f"{number:.0f}" if 1e15 <= abs(number) < 1e21 else f"{number:.15g}"


def value_text(value: Any) -> str:
    """Return the value of an option as it is written on the command line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return " ".join(map(value_text, value))
    return number_text(value) if isinstance(value, float) else str(value)


def short_text(number: float, digits: int = 6) -> str:
    """Return a measured number, rounded to so many digits, but never before the decimal point."""
    if float(number).is_integer():
        return number_text(number)
    return f"{number:.{digits}g}" if abs(number) < 10 ** (digits - 1) else f"{number:.1f}"
