"""The panel beside a game: Q-values as bars, and what the network sees."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simple_dqn.watch.scene import Picture, QValues, Scene, resize, text_width, write

TEXT, DIM = (225,) * 3, (140,) * 3
TRACK, BAR, CHOSEN = (36,) * 3, (70, 90, 120), (240, 170, 40)
MARGIN = 10
SIZES = range(26, 7, -1)  # pixels of texts, the largest that fits
LEAST_BAR = 7  # times the size of the text


def draw_panel(panel: Picture, scene: Scene) -> None:
    """Draw the Q-values and what the network sees into ``panel`` in place.

    One below the other, side by side in a panel that is wider than high.
    """
    height, width = panel.shape[:2]
    q, state = scene.q_values, scene.state
    if state is not None and (state.ndim != 3 or state.dtype != np.uint8):
        state = None  # no pictures
    if q is None or state is None:
        values = states = panel
    elif width > height:
        values, states = panel[:, : width // 2], panel[:, width // 2 :]
    else:
        used = _draw_q_values(panel[: height * 6 // 10], q)
        q, states = None, panel[used:]
    if q is not None:
        _draw_q_values(values, q)
    if state is not None:
        _draw_state(states, state)


def least_height(actions: int) -> int:
    """Return the rows that a panel needs for the Q-values of so many actions."""
    return (actions + 1) * _pitch(12) + 2 * MARGIN


def _pitch(size: int) -> int:
    """Return the distance of lines."""
    return size * 3 // 2


def _draw_q_values(area: Picture, q: QValues) -> int:
    """Draw a line for each action, and the scale of the bars; return the rows used."""
    height, width = area.shape[:2]
    texts = [q.text(action) for action in range(len(q.names))]
    digits = "0" * max(6, *map(len, texts))  # so that the bars do not jump with every value

    def needed(size: int) -> int:
        names = max(text_width(name, size) for name in q.names)
        return names + text_width(digits, size) + LEAST_BAR * size + 4 * MARGIN

    lines = len(q.names) + 1
    size = next(
        (s for s in SIZES if needed(s) <= width and lines * _pitch(s) + 2 * MARGIN <= height),
        SIZES[-1],
    )
    pitch = min(_pitch(size), max((height - 2 * MARGIN) // lines, 4))
    left = 2 * MARGIN + max(text_width(name, size) for name in q.names)
    right = max(width - 2 * MARGIN - text_width(digits, size), left + 1)
    lengths = q.lengths()
    for action, name in enumerate(q.names):
        y = MARGIN + action * pitch
        baseline, bottom = y + pitch * 3 // 4, y + pitch - 1 - pitch // 8
        end = left + max(round((right - left) * float(lengths[action])), 1)
        area[y + pitch // 8 : bottom, left:right] = TRACK
        area[y + pitch // 8 : bottom, left:end] = CHOSEN if action == q.action else BAR
        write(area, name, MARGIN, baseline, TEXT, size)
        write(area, texts[action], right + MARGIN, baseline, TEXT, size)
    _draw_scale(area, q, left, right, MARGIN + (lines - 1) * pitch + pitch * 3 // 4, size * 4 // 5)
    return int(min(lines * pitch + 2 * MARGIN, height))


def _draw_scale(area: Picture, q: QValues, left: int, right: int, y: int, size: int) -> None:
    """Write below the bars what their ends mean."""
    span = q.high - q.low
    worst, best = f"-{span:.2g}" if span < 10 else f"-{span:.0f}", "best"
    if text_width(worst + best, size) + MARGIN <= right - left:
        write(area, worst, left, y, DIM, size)
        write(area, best, right - text_width(best, size), y, DIM, size)


def _draw_state(area: Picture, state: NDArray[np.uint8]) -> None:
    """Draw the frames that the network sees, oldest first, as large as they fit."""
    height, width = area.shape[:2]
    columns, side = grid(len(state), width - MARGIN, height - MARGIN)
    side -= MARGIN
    h, w = state.shape[1:]
    rows, across = max(side * h // max(h, w), 1), max(side * w // max(h, w), 1)
    for index, frame in enumerate(state if side > 0 else ()):
        row, column = divmod(index, columns)
        top, left = MARGIN + row * (side + MARGIN), MARGIN + column * (side + MARGIN)
        area[top : top + rows, left : left + across] = resize(frame, rows, across)[:, :, None]


def grid(count: int, width: int, height: int) -> tuple[int, int]:
    """Return (columns, side) of the largest equal squares such that ``count`` fit a rectangle."""
    sides = {c: min(width // c, height // -(-count // c)) for c in range(1, count + 1)}
    columns = max(sides, key=lambda c: sides[c])
    return columns, max(sides[columns], 0)
