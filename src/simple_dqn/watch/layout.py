"""The picture in a window: the game as large as it fits, the panel, the keys, the status line."""

from __future__ import annotations

import numpy as np

from simple_dqn.watch.panel import CHOSEN, MARGIN, TEXT, draw_panel
from simple_dqn.watch.scene import BACKGROUND, Picture, Scene, put, text_width, write

GAME_ROOM = 840, 630  # pixels: three rows per row of an Atari game
LEAST_ROOM = 480, 320  # for games of an odd shape
STATUS_HEIGHT = 28  # pixels with a text of TEXT_SIZE
TEXT_SIZE = 15
TEXT_SIZES = 12, 28  # the smallest and the largest, in small and large windows
PANEL_SHARE = 0.27  # of the window's width or height, at least
LEAST_PANEL = 150
CLEARLY = 1.1  # times larger is the game, if the panel goes below it


def draw(scene: Scene, width: int, height: int) -> Picture:
    """Return the scene as a picture of ``width`` x ``height`` pixels, for the window."""
    picture = np.full((height, width, 3), BACKGROUND, np.uint8)
    size = text_size(width, height)
    status = size * STATUS_HEIGHT // TEXT_SIZE
    area = picture[: max(height - status, 1)]
    room, panel = rooms(scene, area)
    put(scene.screen, room, scene.pixel_aspect)
    if panel is not None:
        draw_panel(panel, scene)
    if scene.help:
        _draw_help(area, scene.help, size)
    while size > 8 and text_width(scene.status, size) > width - 2 * MARGIN:
        size -= 1
    write(picture, scene.status, MARGIN, height - status // 3, TEXT, size)
    return picture


def text_size(width: int, height: int) -> int:
    """Return the size of texts in a window of ``width`` x ``height`` pixels."""
    least, most = TEXT_SIZES
    return min(max(min(width // 56, height // 43), least), most)


def rooms(scene: Scene, area: Picture) -> tuple[Picture, Picture | None]:
    """Return the parts of ``area`` for the game and the panel, if there is one.

    The panel is beside the game, or below it where that leaves clearly more room for the game. It
    gets all that the game does not need.
    """
    if not scene.has_panel:
        return area, None
    height, width = area.shape[:2]
    h, wide = scene.screen.shape[0], scene.screen.shape[1] * scene.pixel_aspect
    columns, rows = (
        min(max(int(PANEL_SHARE * side), LEAST_PANEL), side // 2) for side in (width, height)
    )  # fmt: skip
    beside = min(height / h, (width - columns) / wide)
    below = min((height - rows) / h, width / wide)
    if below > CLEARLY * beside:
        rows = min(max(height - int(h * below), rows), max(rows, width * 3 // 4))
        return area[: height - rows], area[height - rows :]
    columns = min(max(width - int(wide * beside), columns), max(columns, height * 3 // 4))
    return area[:, : width - columns], area[:, width - columns :]


def ideal_size(scene: Scene, most: tuple[int, int]) -> tuple[int, int]:
    """Return the size of a window for a scene: (width, height) in pixels, up to ``most``."""
    h, wide = scene.screen.shape[0], scene.screen.shape[1] * scene.pixel_aspect
    scale = min(GAME_ROOM[0] / wide, GAME_ROOM[1] / h)
    width, height = max(round(wide * scale), LEAST_ROOM[0]), max(round(h * scale), LEAST_ROOM[1])
    if scene.has_panel:
        width = -int(-width / (1 - PANEL_SHARE) // 1)
    return min(width, most[0]), min(height + STATUS_HEIGHT, most[1])


def _draw_help(area: Picture, lines: tuple[tuple[str, str], ...], size: int) -> None:
    """Write the keys over the game, on a darkened background."""
    pitch = min(size * 3 // 2, (area.shape[0] - 3 * MARGIN) // len(lines))
    size = min(size, pitch * 2 // 3)
    keys, meanings = (max(text_width(line[i], size) for line in lines) for i in (0, 1))
    box = area[
        MARGIN : 3 * MARGIN + pitch * len(lines), MARGIN : 6 * MARGIN + keys + meanings
    ]  # fmt: skip
    box //= 8
    for index, (key, meaning) in enumerate(lines):
        y = MARGIN + index * pitch + pitch * 3 // 4
        write(box, key, MARGIN, y, CHOSEN, size)
        write(box, meaning, 3 * MARGIN + keys, y, TEXT, size)
