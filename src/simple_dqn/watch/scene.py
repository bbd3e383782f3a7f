"""Scene: what a display shows, and the strokes to draw it with."""

from __future__ import annotations

import math
from collections import deque
from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]  # RGB [height, width, 3]

BACKGROUND = 16  # red, green and blue alike
Q_SECONDS = 4  # of the game, whose Q-values determine the range of the bars
Q_LEAST = 10  # steps, in slow games


class QValues(NamedTuple):
    """The Q-values of one state and the range to draw them in."""

    values: NDArray[np.float32]  # [A]
    names: list[str]  # [A] of the actions
    action: int  # the one taken
    low: float  # value at the left end of the bars
    high: float  # and at the right end: the best one

    def text(self, action: int) -> str:
        """Return the Q-value of an action with few digits, enough to compare."""
        span = self.high - self.low
        digits = 3 if abs(self.values).max() < 10 else 1
        if 0 < span < 1:  # two digits of a difference
            digits = max(digits, min(1 - math.floor(math.log10(span)), 5))
        return f"{self.values[action]:.{digits}f}"

    def lengths(self) -> NDArray[np.float64]:
        """Return the length of each bar, float64 [A] in 0.02 to 1, so that every bar is visible."""
        span = max(self.high - self.low, 1e-9)
        with np.errstate(invalid="ignore"):  # infinite values
            worse = (self.high - self.values.astype(np.float64)) / span
        lengths: NDArray[np.float64] = np.clip(1 - np.nan_to_num(worse, nan=1), 0.02, 1)
        return lengths


class QMeter:
    """Makes QValues whose bars show the differences that decide.

    The best action's bar is full. The others' are shorter by what they are worse, on the scale of
    the largest difference in the last seconds: however large the Q-values are, and however much
    they change together, small differences are visible.

    Args:
        names: of the actions, [A].
        steps_per_second: of the game at normal speed.
    """

    def __init__(self, names: list[str], steps_per_second: float = 15) -> None:
        self.names = names
        steps = max(round(Q_SECONDS * steps_per_second), Q_LEAST)
        self._differences: deque[float] = deque(maxlen=steps)

    def read(self, values: NDArray[np.float32], action: int) -> QValues:
        """Return the Q-values [A] of the next state with their range."""
        high = float(values.max())
        self._differences.append(high - float(values.min()))
        return QValues(values, self.names, action, high - max(self._differences), high)


class Scene(NamedTuple):
    """Everything that a display shows at one moment."""

    screen: Picture  # the game's pixels
    pixel_aspect: float  # width over height of a pixel
    status: str = ""  # one line
    q_values: QValues | None = None
    state: NDArray[Any] | None = None  # uint8 [H, h, w] what the network sees
    help: tuple[tuple[str, str], ...] = ()  # (key, what it does)

    @property
    def has_panel(self) -> bool:
        """Whether there is something to show beside the game."""
        return self.q_values is not None or self.state is not None


def resize(screen: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Return a picture in another size: enlarged without smoothing, shrunk by averaging."""
    rows, columns = min(height, screen.shape[0]), min(width, screen.shape[1])
    small: Any = screen
    if (rows, columns) != screen.shape[:2]:
        small = cv2.resize(screen, (columns, rows), interpolation=cv2.INTER_AREA)
    resized: Any = cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)
    return resized  # type: ignore[no-any-return]


def fit(screen: Picture, height: int, width: int, pixel_aspect: float) -> Picture:
    """Return a picture of ``height`` x ``width`` with the screen in it, as large as it fits."""
    picture = np.full((height, width, 3), BACKGROUND, np.uint8)
    put(screen, picture, pixel_aspect)
    return picture


def put(screen: Picture, room: Picture, pixel_aspect: float) -> None:
    """Draw the screen into the middle of ``room`` in place, as large as it fits."""
    height, width = room.shape[:2]
    h, wide = screen.shape[0], screen.shape[1] * pixel_aspect
    scale = min(height / h, width / wide)
    # Rounding errors must not cost a row.
    rows, columns = (max(int(side * scale + 1e-6), 1) for side in (h, wide))
    top, left = (height - rows) // 2, (width - columns) // 2
    room[top : top + rows, left : left + columns] = resize(screen, rows, columns)


def write(picture: Picture, text: str, x: int, y: int, colour: tuple[int, ...], size: int) -> None:
    """Write ``text`` with its baseline at ``y``, in a font of ``size`` pixels."""
    if text and size > 0:
        cv2.putText(picture, text, (x, y), colour, _FONT, size)


@lru_cache(maxsize=1000)
def text_width(text: str, size: int) -> int:
    """Return the width of ``text`` in pixels."""
    if not text or size <= 0:
        return 0
    x, _, width, _ = cv2.getTextSize((0, 0), text, (0, 0), _FONT, size)
    return int(x + width)


_FONT: Any = cv2.FontFace("sans")
