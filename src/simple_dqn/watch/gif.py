"""GIF: a recording without sound that every page shows."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np

from simple_dqn.environment import Environment
from simple_dqn.watch.scene import Picture

CONSOLE_EVERY = 3  # frames a picture: 20 pictures a second of a console's 60
SHORTEST = 0.02  # seconds of a picture: browsers show shorter ones for 0.1 seconds
ENDLESS = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"


class Gif:
    """A GIF with a picture for each one of the game's, at the game's own rate, or 50 a second.

    A console's objects may flicker, so there every third frame is shown, as the maximum of two.
    The delays, whole hundredths of a second, add up to the time of the game.

    Args:
        path: the file, see ``unfinished``.
        frames_per_second: of the game.
        is_console: see Environment.
        picture: turns the game's screen into the picture, both RGB uint8 [h, w, 3].

    Attributes:
        frames: frames so far.
    """

    def __init__(
        self,
        path: Path,
        frames_per_second: float,
        is_console: bool,
        picture: Callable[[Picture], Picture],
    ) -> None:
        import PIL.Image  # noqa: F401 (fails before the game if it is missing)

        self.path = path
        self.every = CONSOLE_EVERY if is_console else 1
        self.seconds = max(self.every / frames_per_second, SHORTEST)
        self.picture = picture
        self.frames = 0
        self._last: Picture | None = None  # the screen before
        self._shown: Picture | None = None
        self._pictures = 0
        self._file: IO[bytes] | None = None  # until there is a picture

    def __call__(self, environment: Environment) -> None:
        """Add a frame if it is the next one to show."""
        self.frames += 1
        screen = environment.screen()
        if self.frames % self.every == 0:
            before = self._last if self._last is not None else screen
            self._write(np.maximum(screen, before) if self.every > 1 else screen)
        self._last = screen

    def _write(self, screen: Picture) -> None:
        """Write a picture: the part that differs from the one before."""
        from PIL import GifImagePlugin, Image

        picture = self.picture(screen)
        height, width = picture.shape[:2]
        if self._file is None:
            self._file = open(self.path, "wb")  # noqa: SIM115 (until close)
            self._file.write(b"GIF89a" + struct.pack("<HHBBB", width, height, 0x70, 0, 0) + ENDLESS)
        box = (0, height, 0, width) if self._shown is None else changed(self._shown, picture)
        top, bottom, left, right = box
        part = Image.fromarray(np.ascontiguousarray(picture[top:bottom, left:right]))
        before, after = (
            round(100 * self.seconds * (self._pictures + more)) for more in (0, 1)
        )  # fmt: skip
        # A palette for each part: lossless up to 256 colours, and a console has at most 128.
        for piece in GifImagePlugin.getdata(
            part.quantize(256), (left, top), duration=10 * (after - before),
            include_color_table=True,
        ):  # fmt: skip
            self._file.write(piece)
        self._shown, self._pictures = picture, self._pictures + 1

    def close(self) -> None:
        """Complete the file, if there were any frames."""
        if self._file is None and self._last is not None:  # too few frames for a picture
            self._write(self._last)
        if self._file is not None:
            self._file.write(b";")
            self._file.close()


def changed(before: Picture, after: Picture) -> tuple[int, int, int, int]:
    """Return (top, bottom, left, right) of what differs; a single pixel if nothing does."""
    differs = (before != after).any(axis=2)
    rows, columns = (np.flatnonzero(differs.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return 0, 1, 0, 1
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
