"""What an observation of a Gymnasium environment is seen as: a screen, a board or a vector.

| kind | space | observation |
|---|---|---|
| screen | [h, w], [h, w, 1 or 3] or [1 or 3, h, w], sides of 24 or more; up to 32 only uint8 with bounds 0 and 255 | uint8 [h, w], grey, scaled to 0 to 255 by its bounds |
| board | [rows, columns, channels] or [channels, rows, columns], also whole numbers [rows, columns], sides of 3 to 32 | [channels, rows, columns], scaled to 0 to 1 by its bounds |
| vector | all else that Gymnasium can flatten | float32 [d], as it is |

A board of two values is stored as uint8 0 and 255, which the network divides by 255. Bounds that
are not finite, or of a two-dimensional board that are more than 255 apart, scale nothing.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any

import cv2
import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, MultiBinary, Space, Text
from gymnasium.wrappers import (
    FilterObservation,
    FlattenObservation,
    TimeAwareObservation,
    TransformObservation,
)
from numpy.typing import NDArray

from simple_dqn.errors import UsageError

SMALLEST_SCREEN = 24  # pixels a side; less is a board
LARGEST_BOARD, SMALLEST_BOARD = 32, 3  # cells a side
CHANNELS = (1, 3)  # of a screen


def plain(game: gymnasium.Env[Any, Any]) -> Any:
    """Wrap a game so that it shows a screen, a board or a vector, if that can be done."""
    space: Any = game.observation_space
    if isinstance(space, Dict):
        screens = [name for name, part in space.items() if is_screen(part)]
        if len(screens) == 1:
            name = screens[0]
            return plain(TransformObservation(game, itemgetter(name), space[name]))
        vectors = [name for name, part in space.items() if flattens(part)]
        if screens or not vectors:
            return game  # refused: which screen to see is not ours to say
        return FlattenObservation(FilterObservation(game, vectors))
    if is_screen(space):
        return _transformed(game, *screen_of(space))
    if is_board(space):
        return _transformed(game, *board_of(space))
    vector = isinstance(space, Box) and len(space.shape) == 1
    return game if vector or looks_like_screens(space) or not flattens(space) else (
        FlattenObservation(game)
    )  # fmt: skip


def with_time(game: gymnasium.Env[Any, Any]) -> Any:
    """Wrap a game as ``plain`` does, and append the share of its time limit that has passed.

    Raises:
        UsageError: it shows no vectors, or has no limit.
    """
    game = plain(game)
    if not isinstance(game.observation_space, Box) or len(game.observation_space.shape) != 1:
        raise UsageError("--observe_time: only vectors can have one more number")
    if game.spec is None or not game.spec.max_episode_steps:
        raise UsageError("--observe_time: it has no time limit")
    return TimeAwareObservation(game, normalize_time=True)


def is_screen(space: Space[Any]) -> bool:
    """Whether observations are screens."""
    if not (isinstance(space, Box) and _is_numeric(space) and len(space.shape) in (2, 3)):
        return False
    if len(space.shape) == 3 and not {space.shape[0], space.shape[2]} & set(CHANNELS):
        return False
    sides = _sides(space.shape)
    if min(sides) < SMALLEST_SCREEN or not _scales(space):
        return False
    of_pixels = space.dtype == np.uint8 and (space.low == 0).all() and (space.high == 255).all()
    return of_pixels or max(sides) > LARGEST_BOARD


def is_board(space: Space[Any]) -> bool:
    """Whether observations are boards: cells on a grid with one or several channels."""
    if not (isinstance(space, Box | MultiBinary) and _is_numeric(space)):
        return False
    shape = space.shape or ()
    if len(shape) == 2 and (np.issubdtype(space.dtype, np.floating) or not _scales(space)):
        return False  # a table of features
    if len(shape) not in (2, 3):
        return False
    sides = shape if len(shape) == 2 else _sides(shape)
    return min(sides) >= SMALLEST_BOARD and max(sides) <= LARGEST_BOARD


def looks_like_screens(space: Space[Any]) -> bool:
    """Whether observations are several screens, or have more channels than can be seen."""
    shape = space.shape or ()
    return space.dtype == np.uint8 and len(shape) > 1 and sorted(shape)[-2] >= SMALLEST_SCREEN


def flattens(space: Space[Any]) -> bool:
    """Whether observations can become a vector."""
    try:
        return space.is_np_flattenable and not isinstance(space, Text)
    except NotImplementedError:  # a custom space
        return False


def screen_of(space: Any) -> tuple[Callable[[Any], NDArray[Any]], Box]:
    """Return what turns an observation into grey, uint8 [h, w], and the space of the result."""
    first = len(space.shape) == 3 and space.shape[2] not in CHANNELS
    low, high = _bounds(space)
    of_pixels = space.dtype == np.uint8 and (low == 0).all() and (high == 255).all()

    def transform(observation: Any) -> NDArray[Any]:
        screen = np.asarray(observation)
        if not of_pixels:
            screen = np.rint((screen - low) / (high - low) * 255).clip(0, 255).astype(np.uint8)
        screen = np.moveaxis(screen, 0, -1) if first else screen
        if screen.shape[2:] == (3,):
            return cv2.cvtColor(np.ascontiguousarray(screen), cv2.COLOR_RGB2GRAY)
        return screen.reshape(screen.shape[:2])

    shape = transform(space.low).shape
    return transform, Box(0, 255, shape, np.uint8)


def board_of(space: Any) -> tuple[Callable[[Any], NDArray[Any]], Box]:
    """Return what turns an observation into [channels, rows, columns], and that space."""
    shape = space.shape
    last = len(shape) == 3 and not _channels_first(shape)
    low, high = _bounds(space)
    scales = _scales(space, any_distance=True)
    # Two values: 0 and 255, of which the replay memory takes a byte each.
    of_two = scales and np.issubdtype(space.dtype, np.integer) and (high - low == 1).all()
    of_two |= space.dtype == np.bool_ or isinstance(space, MultiBinary)

    def transform(observation: Any) -> NDArray[Any]:
        board: NDArray[Any] = np.asarray(observation).astype(np.float32)
        if scales:
            board = (board - low) / (high - low)
        board = board[None] if len(shape) == 2 else np.moveaxis(board, -1, 0) if last else board
        return (board * 255).clip(0, 255).astype(np.uint8) if of_two else board.astype(np.float32)

    zero = transform(np.zeros(shape, space.dtype))
    if of_two:
        return transform, Box(0, 255, zero.shape, np.uint8)
    return transform, Box(-np.inf, np.inf, zero.shape, np.float32)


def _transformed(
    game: gymnasium.Env[Any, Any], transform: Callable[[Any], NDArray[Any]], space: Box
) -> Any:
    return TransformObservation(game, transform, space)


def _is_numeric(space: Any) -> bool:
    return space.dtype is not None and (
        np.issubdtype(space.dtype, np.number) or space.dtype == np.bool_
    )


def _sides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return rows and columns of [h, w], [h, w, channels] or [channels, h, w]."""
    return shape if len(shape) == 2 else shape[1:] if _channels_first(shape) else shape[:2]


def _channels_first(shape: tuple[int, ...]) -> bool:
    """Whether [a, b, c] is [channels, rows, columns]: the other two are alike, or it has 1 or 3."""
    if shape[2] in CHANNELS:
        return False
    return shape[0] in CHANNELS or (shape[1] == shape[2] and shape[0] != shape[1])


def _bounds(space: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if isinstance(space, MultiBinary) or space.dtype == np.bool_:
        return np.zeros(space.shape), np.ones(space.shape)
    return space.low.astype(np.float64), space.high.astype(np.float64)


def _scales(space: Any, any_distance: bool = False) -> bool:
    """Whether the bounds of a space are there to scale by."""
    low, high = _bounds(space)
    if not (np.isfinite(low).all() and np.isfinite(high).all() and (high > low).all()):
        return False
    return any_distance or len(space.shape) != 2 or bool((high - low <= 255).all())
