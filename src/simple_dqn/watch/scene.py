"""Scene: what a display shows, and how the window and the video draw it."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]  # RGB [height, width, 3]

BACKGROUND = 16  # red, green and blue alike
TEXT, BAR, CHOSEN = (225,) * 3, (70, 90, 120), (240, 170, 40)
STATUS_HEIGHT = 28  # pixels
PANEL_WIDTH = 280
MARGIN = 10
LINE_HEIGHT = 22
Q_MEMORY = 60  # steps whose Q-values determine the range of the bars


class QValues(NamedTuple):
    """The Q-values of one state and the range to draw them in."""

    values: NDArray[np.float32]  # [A]
    names: list[str]  # [A] of the actions
    action: int  # the one taken
    low: float  # value at the left end of the bars
    high: float  # and at the right end

    def text(self, action: int) -> str:
        """Return the Q-value of an action with few digits, enough to compare."""
        value = float(self.values[action])
        return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"

    def lengths(self) -> NDArray[np.float64]:
        """Return the length of each bar, float64 [A] in 0.02 to 1, so that every bar is visible."""
        span = max(self.high - self.low, 1e-9)
        lengths: NDArray[np.float64] = np.clip((self.values - self.low) / span, 0.02, 1)
        return lengths


class QMeter:
    """Makes QValues with the range of the last steps, so that small differences are visible.

    Args:
        names: of the actions, [A].
    """

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self._ranges: deque[tuple[float, float]] = deque(maxlen=Q_MEMORY)

    def read(self, values: NDArray[np.float32], action: int) -> QValues:
        """Return the Q-values [A] of the next state with their range."""
        self._ranges.append((float(values.min()), float(values.max())))
        lows, highs = zip(*self._ranges, strict=True)
        return QValues(values, self.names, action, min(lows), max(highs))


class Scene(NamedTuple):
    """Everything that a display shows at one moment."""

    screen: Picture  # the game's pixels
    pixel_aspect: float  # width over height of a pixel
    status: str = ""  # one line
    q_values: QValues | None = None
    state: NDArray[Any] | None = None  # uint8 [H, h, w] what the network sees
    help: tuple[tuple[str, str], ...] = ()  # (key, what it does)


def draw(scene: Scene, width: int, height: int) -> Picture:
    """Return the scene as a picture of ``width`` x ``height`` pixels, for the window."""
    picture = np.full((height, width, 3), BACKGROUND, np.uint8)
    panel = scene.q_values is not None or scene.state is not None
    panel_width = min(PANEL_WIDTH, width // 3) if panel else 0
    room = picture[: max(height - STATUS_HEIGHT, 1), : width - panel_width]

    h, w = scene.screen.shape[:2]
    scale = min(room.shape[0] / h, room.shape[1] / (w * scene.pixel_aspect))
    size = max(int(h * scale), 1), max(int(w * scene.pixel_aspect * scale), 1)
    top, left = (room.shape[0] - size[0]) // 2, (room.shape[1] - size[1]) // 2
    room[top : top + size[0], left : left + size[1]] = enlarge(scene.screen, *size)

    if panel:
        draw_panel(picture[: height - STATUS_HEIGHT, width - panel_width :], scene)
    if scene.help:
        _draw_help(room, scene.help)
    write(picture, scene.status, MARGIN, height - 9, TEXT)
    return picture


def enlarge(screen: Picture, height: int, width: int) -> Picture:
    """Return a picture scaled without smoothing."""
    scaled: Any = cv2.resize(screen, (width, height), interpolation=cv2.INTER_NEAREST)
    return scaled  # type: ignore[no-any-return]


def draw_panel(panel: Picture, scene: Scene) -> None:
    """Draw the Q-values, and below them what the network sees, into ``panel`` in place."""
    height, width = panel.shape[:2]
    y = MARGIN
    if scene.q_values is not None:
        q = scene.q_values
        pitch = min(LINE_HEIGHT, max((height - 2 * MARGIN) // len(q.names), 8))
        left, room = width * 42 // 100, width * 30 // 100  # of the bars; the numbers follow them
        for action, name in enumerate(q.names):
            colour = CHOSEN if action == q.action else BAR
            right = left + round(room * float(q.lengths()[action]))
            cv2.rectangle(panel, (left, y + 2), (right, y + pitch - 3), colour, cv2.FILLED)
            baseline, size = y + pitch - 5, min(13, pitch - 3)
            write(panel, name, MARGIN, baseline, TEXT, size)
            write(panel, q.text(action), left + room + MARGIN, baseline, TEXT, size)
            y += pitch
        y += MARGIN
    if scene.state is not None and scene.state.ndim == 3:
        columns, side = grid(len(scene.state), width - MARGIN, height - y)
        side -= MARGIN
        for index, frame in enumerate(scene.state if side > 0 else ()):
            row, column = divmod(index, columns)
            top, left = y + row * (side + MARGIN), MARGIN + column * (side + MARGIN)
            grey = enlarge(frame, side, side)
            panel[top : top + side, left : left + side] = grey[:, :, None]


def grid(count: int, width: int, height: int) -> tuple[int, int]:
    """Return (columns, side) of the largest equal squares such that ``count`` fit a rectangle."""
    sides = {c: min(width // c, height // -(-count // c)) for c in range(1, count + 1)}
    columns = max(sides, key=lambda c: sides[c])
    return columns, max(sides[columns], 0)


def _draw_help(room: Picture, lines: tuple[tuple[str, str], ...]) -> None:
    """Write the keys over the game, on a darkened background."""
    height, width = len(lines) * LINE_HEIGHT + 2 * MARGIN, 330
    box = room[MARGIN : MARGIN + height, MARGIN : MARGIN + width]
    box //= 8
    for index, (key, meaning) in enumerate(lines):
        y = MARGIN + (index + 1) * LINE_HEIGHT - 6
        write(box, key, MARGIN, y, CHOSEN)
        write(box, meaning, MARGIN + 80, y, TEXT)


def write(
    picture: Picture, text: str, x: int, y: int, colour: tuple[int, ...], size: int = 15
) -> None:
    """Write ``text`` with its baseline at ``y``, in a font of ``size`` pixels."""
    if text and size > 0:
        cv2.putText(picture, text, (x, y), colour, _FONT, size)


_FONT: Any = cv2.FontFace("sans")
