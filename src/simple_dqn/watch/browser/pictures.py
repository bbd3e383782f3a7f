"""Pictures for the page: what has changed, in few colours."""

from __future__ import annotations

import struct
import time
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_COLOURS = 255  # besides 0: unchanged
# Rows and columns of the picture; top, left, rows and columns of the part; colours, 0 for RGB.
HEADER = struct.Struct("<6HB")
RGB = np.array([1 << 16, 1 << 8, 1], np.int32)


def encode(picture: NDArray[np.uint8], before: NDArray[np.uint8] | None = None) -> bytes:
    """Return the part of a picture that differs from the one before.

    The rectangle around all changes. Up to 255 new colours in it: HEADER, the colours as RGB, and
    a byte a pixel, 0 for unchanged, else the number of its colour. With more colours: HEADER and
    the rectangle's pixels as RGB. Most of its bytes are zeros: the WebSocket compresses them.

    Args:
        picture: RGB uint8 [h, w, 3], or grey uint8 [h, w].
        before: what the page shows, of any shape; None for nothing.
    """
    height, width = picture.shape[:2]
    if before is None or before.shape != picture.shape:
        differs = np.ones(picture.shape, np.bool_)
    else:
        differs = picture != before
    differing = np.flatnonzero(differs.reshape(height, -1).any(axis=1))
    if not len(differing):
        return HEADER.pack(height, width, 0, 0, 0, 0, 0)
    top, bottom = differing[0], differing[-1] + 1
    changed: Any = differs[top:bottom].reshape(bottom - top, width, -1).any(axis=2)
    columns = np.flatnonzero(changed.any(axis=0))
    left, right = columns[0], columns[-1] + 1
    box = height, width, top, left, bottom - top, right - left
    part, changed = picture[top:bottom, left:right], changed[:, left:right]
    new: Any = part[changed]
    packed = new @ RGB if picture.ndim == 3 else new * RGB.sum()
    colours, numbers = np.unique(packed, return_inverse=True)
    if len(colours) > MOST_COLOURS:
        pixels = part if picture.ndim == 3 else np.repeat(part[:, :, None], 3, axis=2)
        return HEADER.pack(*box, 0) + pixels.tobytes()
    indices = np.zeros(changed.shape, np.uint8)
    indices[changed] = numbers + 1
    palette = colours[:, None] >> np.array([16, 8, 0]) & 255
    return HEADER.pack(*box, len(colours)) + bytes(palette.astype(np.uint8)) + bytes(indices)


class Encoder:
    """Encodes pictures once for all pages that show the same.

    Attributes:
        seconds: that the last picture took.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._known: deque[tuple[Any, Any, bytes]] = deque(maxlen=8)  # of several pictures at once

    def __call__(
        self, picture: NDArray[np.uint8], before: NDArray[np.uint8] | None = None
    ) -> bytes:
        """See ``encode``; neither picture is changed later."""
        for known, known_before, data in self._known:
            if known is picture and known_before is before:
                return data
        begun = time.perf_counter()
        data = encode(picture, before)
        self.seconds = time.perf_counter() - begun
        self._known.append((picture, before, data))
        return data


def decode(data: bytes, before: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """Return the picture, RGB uint8 [h, w, 3], as the page draws it over the one ``before``."""
    height, width, top, left, rows, columns, colours = HEADER.unpack_from(data)
    shape = height, width, 3
    fits = before is not None and before.shape == shape
    picture = before.copy() if before is not None and fits else np.zeros(shape, np.uint8)
    part = picture[top : top + rows, left : left + columns]
    if not colours:
        part[:] = np.frombuffer(data, np.uint8, offset=HEADER.size).reshape(part.shape)
        return picture
    palette = np.frombuffer(data, np.uint8, 3 * colours, HEADER.size).reshape(colours, 3)
    indices = np.frombuffer(data, np.uint8, offset=HEADER.size + palette.size)
    indices = indices.reshape(rows, columns)
    part[indices > 0] = palette[indices[indices > 0] - 1]
    return picture
