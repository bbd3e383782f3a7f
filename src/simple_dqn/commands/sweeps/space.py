"""What a search may choose from: ``option=loguniform(1e-5,1e-3)`` and the like."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from simple_dqn.commands.sweeps.plan import (
    PlannedGame,
    PlannedRun,
    planned_run,
    read_setting,
    read_value,
)
from simple_dqn.errors import UsageError

KINDS = ("uniform", "loguniform", "randint", "lograndint", "choice")
DIGITS = 3  # of the numbers chosen: more would only make command lines long


class Domain(NamedTuple):
    """The values that a search may give an option.

    Attributes:
        kind: one of KINDS. The integers of randint and lograndint include both bounds.
        values: the two bounds, or the choices.
    """

    kind: str
    values: tuple[Any, ...]

    def rounded(self, value: Any) -> Any:
        """Return a chosen value, a float with few digits."""
        if not isinstance(value, float) or self.kind == "choice":
            return value
        return min(max(float(f"{value:.{DIGITS}g}"), self.values[0]), self.values[1])


def read_space(search: Sequence[str]) -> dict[str, Domain]:
    """Return the domain of each option from texts "option=kind(a,b...)".

    Raises:
        UsageError: a text is something else, or its values are none of the option's.
    """
    space: dict[str, Domain] = {}
    for text in search:
        name, domain = read_setting("search", text)
        found = re.fullmatch(rf"\s*({'|'.join(KINDS)})\((.*)\)\s*", domain)
        if not found:
            raise UsageError(f"--search '{text}' must be option={'|'.join(KINDS)}(a,b)")
        if name in space:
            raise UsageError(f"--search names {name} twice")
        kind = found[1]
        values = [read_value(name, value.strip()) for value in found[2].split(",") if value.strip()]
        if kind == "choice":
            values = list(dict.fromkeys(values))
        number = int if "int" in kind else float
        numbers = all(isinstance(v, number) and not isinstance(v, bool) for v in values)
        if len(values) < 2 or (kind != "choice" and (len(values) > 2 or not numbers)):
            what = {int: "two whole numbers", float: "two numbers"}[number]
            needs = (
                "at least two values" if kind == "choice" else f"{what}, of which {name} has any"
            )
            raise UsageError(f"--search '{text}': {kind} needs {needs}")
        if kind != "choice" and not values[0] < values[1]:
            raise UsageError(f"--search '{text}': the first bound must be below the second")
        if kind.startswith("log") and values[0] <= 0:
            raise UsageError(f"--search '{text}': {kind} needs bounds above 0")
        space[name] = Domain(kind, tuple(values))
    return space


def trial_run(
    game: PlannedGame, given: Mapping[str, Any], number: int, point: Mapping[str, Any]
) -> PlannedRun:
    """Return the run of a trial.

    Args:
        game: that is searched.
        given: the options of ``train`` of all trials.
        number: of the trial, from 1.
        point: the options that were chosen.

    Raises:
        UsageError: they cannot be used together.
    """
    return planned_run(game, f"trial{number:03d}", given.get("random_seed", 1), {**given, **point})


def largest_run(
    game: PlannedGame, given: Mapping[str, Any], space: Mapping[str, Domain]
) -> PlannedRun:
    """Return what no run of a search exceeds in memory and epochs; each bound and choice is tried.

    Its ``tests`` says whether all of them have a test phase.

    Raises:
        UsageError: a value cannot be used.
    """
    largest, point = trial_run(game, given, 0, {}), dict[str, Any]()
    epochs, tests = 0, True
    for name, domain in space.items():
        runs = [trial_run(game, given, 0, {**point, name: value}) for value in domain.values]
        largest = max(runs, key=lambda run: run.memory)
        point[name] = largest.given[name]
        epochs = max(epochs, *(run.epochs for run in runs))
        tests = tests and all(run.tests and run.epochs for run in runs)
    return largest._replace(epochs=epochs, tests=tests)
