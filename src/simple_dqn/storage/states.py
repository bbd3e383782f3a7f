"""Object states: what a checkpoint stores of an object, and the check before it is loaded.

``state_dict()`` returns a dict whose leaves are numpy arrays, torch tensors, numbers, strings,
booleans, None, and lists of these. ``load_state_dict(state)`` restores it in an object made with
the same options. A file may come from anyone, so ``conform`` first compares the loaded state with
the object's current one.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np

from simple_dqn.errors import UsageError

# What loading a damaged state can raise; the object is undefined afterwards.
MISFITS = (
    UsageError, KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError,
    RuntimeError,
)  # fmt: skip

LARGEST_COUNT = 2**62

T = TypeVar("T")


def conform(theirs: Any, own: Any, name: str = "state") -> Any:
    """Return the loaded tree ``theirs``, checked against ``own``: same names, types and shapes.

    Numbers must be finite, and integers must be counts, from 0. An empty array in ``own`` accepts
    any length, also a list of such numbers; an empty list accepts any list. Where ``own`` is None,
    anything is accepted and the object checks it. The state of a random generator is checked by
    numpy when it is set.

    Raises:
        TypeError, ValueError: the state does not fit; the message says where.
    """
    if own is None or (isinstance(own, dict) and "bit_generator" in own):
        return theirs
    if isinstance(own, np.ndarray):
        if isinstance(theirs, list) and not own.size:
            theirs = np.array(
                [conform(x, own.dtype.type(0).item(), name) for x in theirs], own.dtype
            )
        if not isinstance(theirs, np.ndarray) or theirs.dtype != own.dtype:
            raise TypeError(f"{name}: not an array of {own.dtype}")
        start = 0 if own.size else 1
        if theirs.ndim != own.ndim or theirs.shape[start:] != own.shape[start:]:
            raise ValueError(f"{name}: shape {theirs.shape}, not {own.shape}")
        if theirs.dtype.kind == "f" and not np.isfinite(theirs).all():
            raise ValueError(f"{name}: not finite")
        if theirs.dtype.kind == "i" and theirs.size and theirs.min() < 0:
            raise ValueError(f"{name}: negative")
        return theirs
    typed(theirs, type(own), name)
    if isinstance(own, dict):
        if theirs.keys() != own.keys():
            raise ValueError(f"{name}: other entries than {', '.join(map(str, own))}"[:200])
        return {key: conform(theirs[key], own[key], f"{name}.{key}") for key in own}
    if isinstance(own, list) and own:
        if len(theirs) != len(own):
            raise ValueError(f"{name}: {len(theirs)} entries, not {len(own)}")
        return [
            conform(a, b, f"{name}.{i}") for i, (a, b) in enumerate(zip(theirs, own, strict=True))
        ]
    if hasattr(own, "shape") and (theirs.shape, theirs.dtype) != (own.shape, own.dtype):
        raise ValueError(
            f"{name}: {theirs.dtype} {tuple(theirs.shape)}, not {own.dtype} {tuple(own.shape)}"
        )
    return theirs


def typed(value: Any, kind: type[T], name: str = "value") -> T:
    """Return ``value`` if it is of this type; a float must be finite, an int a count.

    Raises:
        TypeError, ValueError: it is not.
    """
    if type(value) is not kind:
        raise TypeError(f"{name}: {value!r:.40} is not of type {kind.__name__}")
    checked: Any = value
    if isinstance(checked, float) and not math.isfinite(checked):
        raise ValueError(f"{name}: not finite")
    if type(checked) is int and not 0 <= checked < LARGEST_COUNT:
        raise ValueError(f"{name}: {checked!s:.40} is not a count")
    return value
