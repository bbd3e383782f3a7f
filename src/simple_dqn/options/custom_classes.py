"""Custom classes: an environment or a callback, named as module:Class on the command line."""

from __future__ import annotations

import importlib
import sys
from typing import Any, TypeVar

from simple_dqn.errors import UsageError

T = TypeVar("T")

# What custom classes used in earlier versions -> where it is now: modules, attributes of Agent.
MOVED = {
    "simple_dqn.structures": (
        "Step is now in simple_dqn.environment, Batch and Experience are in "
        "simple_dqn.replay_memory"
    ),
    "simple_dqn.state": "the state of a generator is rng.bit_generator.state",
}
MOVED_ATTRIBUTES = {
    "phase_steps": "phase.steps",
    "phase_games": "phase.games",
    "rounds": "phase.rounds",
    "offline": "phase.offline",
    "active": "games.active",
    "game_numbers": "games.numbers",
    "lengths": "games.lengths",
    "environments": "all_lanes",
}


def moved(error: AttributeError) -> str:
    """Return where an attribute of Agent is now that a custom callback looked for in vain."""
    if type(error.obj).__name__ != "Agent" or error.name not in MOVED_ATTRIBUTES:
        return ""
    return f"agent.{error.name} is now agent.{MOVED_ATTRIBUTES[error.name]}: change the callback"


def make(spec: str, base: type[T], option: str, *args: Any, **kwargs: Any) -> T:
    """Return an object of the class ``module:Class``; the module may be in the current folder.

    Args:
        spec: module:Class, from the command line.
        base: the class that Class must be a subclass of.
        option: that ``spec`` was given with.
        args, kwargs: for the class.

    Raises:
        UsageError: the module cannot be imported; the class does not exist, is not a subclass of
            ``base`` or lacks a method; creating the object failed.
    """
    module_name, _, class_name = spec.partition(":")
    where = f"--{option} {spec}"
    if not (module_name and class_name):
        raise UsageError(f"{where}: name a class as module:Class")
    if "/" in module_name or module_name.endswith(".py"):
        raise UsageError(f"{where}: name the module as in an import, without folder and .py")
    found = _import(module_name, where)
    for part in class_name.split("."):
        found = getattr(found, part, None)
    if found is None:
        raise UsageError(f"{where}: '{module_name}' has no class '{class_name}'")
    if not (isinstance(found, type) and issubclass(found, base)):
        raise UsageError(f"{where}: '{class_name}' is not a subclass of {base.__qualname__}")
    missing = sorted(getattr(found, "__abstractmethods__", ()))
    if missing:
        methods = "method" if len(missing) == 1 else "methods"
        raise UsageError(f"{where}: '{class_name}' lacks the {methods} {' and '.join(missing)}")
    try:
        made: T = found(*args, **kwargs)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"{where}: creating it failed: {type(error).__name__}: {error}") from error
    return made


def _import(module_name: str, where: str) -> Any:
    """Import a module; ``where`` begins the message of the UsageError if that fails."""
    see_current_folder()
    try:
        return importlib.import_module(module_name)
    except Exception as error:  # a custom module may raise anything
        missing = str(error.name) if isinstance(error, ModuleNotFoundError) else ""
        why = f"{type(error).__name__}: {error}"
        if missing in MOVED:
            why = f"it imports {missing}, which no longer exists: {MOVED[missing]}"
        raise UsageError(f"{where}: cannot import '{module_name}': {why}") from error


def see_current_folder() -> None:
    """Make modules in the current folder importable."""
    if "" not in sys.path:
        sys.path.insert(0, "")
