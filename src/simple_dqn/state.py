"""What a checkpoint keeps of an object: a tree, and the checks that make one safe to take in.

``state_dict()`` returns a dict whose leaves are numpy arrays, torch tensors, numbers, texts, truth
values, None, and lists of these; ``load_state_dict(state)`` takes it in again, into an object that
was made with the same options. A state that does not fit raises one of ``MISFITS``, and leaves the
object in a state that nobody should use.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simple_dqn.errors import UsageError

State = dict[str, Any]

# What taking in a damaged state may raise.
MISFITS = (
    UsageError, KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError,
    RuntimeError,
)  # fmt: skip


class NotRepeatableError(Exception):
    """A game that should stand again where it stood when its state was kept, and does not."""


def fill(own: NDArray[Any], theirs: Any) -> None:
    """Copy an array of a state into ``own``, in place.

    Raises:
        ValueError: it is no array of this shape and type.
    """
    if not isinstance(theirs, np.ndarray) or (own.shape, own.dtype) != (theirs.shape, theirs.dtype):
        raise ValueError(f"no array {own.dtype} {own.shape}")
    own[...] = theirs


def typed(value: Any, kind: type) -> Any:
    """Return ``value``, or raise TypeError if it is of another type."""
    if type(value) is not kind:
        raise TypeError(f"{value!r:.40} is no {kind.__name__}")
    return value


def listed(values: Any, kind: type, count: int) -> list[Any]:
    """Return ``values``, or raise TypeError unless it is a list of ``count`` of ``kind``."""
    if len(typed(values, list)) != count:
        raise TypeError(f"{len(values)} values, not {count}")
    return [typed(value, kind) for value in values]


def counted(value: Any) -> int:
    """Return ``value``, or raise TypeError or ValueError unless it counts something."""
    count: int = typed(value, int)
    if not 0 <= count < 2**62:
        raise ValueError(f"{count!s:.40} is no count")
    return count


def generator_state(rng: np.random.Generator) -> State:
    """Return the state of a generator of ours, a PCG64."""
    return dict(rng.bit_generator.state)


def load_generator_state(rng: np.random.Generator, state: Any) -> None:
    """Set a generator to a state that ``generator_state`` returned."""
    rng.bit_generator.state = typed(state, dict)
