"""Classes of the user's own: an environment or a callback, named as module:Class."""

from __future__ import annotations

import importlib
import sys
from typing import Any, TypeVar

from simple_dqn.errors import UsageError

T = TypeVar("T")


def make(spec: str, base: type[T], option: str, *args: Any, **kwargs: Any) -> T:
    """Return ``module:Class`` called with the arguments; modules in the current folder count, too.

    Args:
        spec: what the user gave.
        base: what Class has to be a subclass of.
        option: that it was given with.
        args, kwargs: for the class.

    Raises:
        UsageError: the module does not import, has no such class, it is no subclass of ``base``,
            lacks a method, or cannot be made.
    """
    module_name, _, class_name = spec.partition(":")
    where = f"--{option} {spec}"
    if not (module_name and class_name):
        raise UsageError(f"{where}: name a class as module:Class")
    if "/" in module_name or module_name.endswith(".py"):
        raise UsageError(f"{where}: name the module as 'import' would, no folder, no .py")
    see_current_folder()
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:  # the user's module may raise anything
        raise UsageError(
            f"{where}: cannot import '{module_name}': {type(error).__name__}: {error}"
        ) from error
    for part in class_name.split("."):
        found = getattr(found, part, None)
    if not (isinstance(found, type) and issubclass(found, base)):
        what = "is no" if found is not None else "does not exist; it is to be a"
        raise UsageError(f"{where}: '{class_name}' {what} subclass of {base.__qualname__}")
    missing = sorted(getattr(found, "__abstractmethods__", ()))
    if missing:
        raise UsageError(f"{where}: '{class_name}' lacks the method {' and '.join(missing)}")
    try:
        made: T = found(*args, **kwargs)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"{where}: cannot be made: {type(error).__name__}: {error}") from error
    return made


def see_current_folder() -> None:
    """Let modules in the current folder be imported, too."""
    if "" not in sys.path:
        sys.path.insert(0, "")
