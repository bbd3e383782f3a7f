"""Packing slots of a replay memory into tensors for a file, with compressed screens.

Each screen is stored as its bytewise XOR with the previous one, and all of them are compressed with
zlib. Atari screens hardly change: 7 kB become 60 bytes in Breakout, 360 in Freeway. Actions,
rewards, terminals and starts are stored as they are.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from simple_dqn.options.resources import available_memory
from simple_dqn.replay_memory import Experience

CHUNK = 1000  # slots compressed at once
PIECE = 1 << 10  # bytes decompressed at once, few enough for the output to stay in the cache
MOST_ZLIB = 1040  # upper bound of zlib's compression ratio


def pack(experience: Experience) -> dict[str, torch.Tensor]:
    """Return the tensors of a file."""
    arrays = experience._asdict()
    arrays["screens"] = np.frombuffer(compress(experience.screens), np.uint8)
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}


def unpack(
    tensors: Mapping[str, torch.Tensor],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    num_actions: int,
    out: NDArray[Any] | None = None,
) -> Experience:
    """Return the slots that were passed to ``pack``.

    Args:
        tensors: of a file; they are not trusted.
        shape, dtype: of a screen.
        num_actions: of the game.
        out: an array of screens to overwrite if it is large enough; allocating new memory takes
            longer than decompressing.

    Raises:
        KeyError, TypeError, ValueError: the tensors are not slots of such screens and actions.
    """
    n = len(tensors["starts"])
    if not n:
        raise ValueError("no slots")
    try:
        screens = decompress(tensors["screens"].numpy(), (n, *shape), dtype, out)
    except zlib.error as error:
        raise ValueError(error) from None
    arrays = {name: tensors[name].numpy() for name in Experience._fields[1:]}
    experience = Experience(screens, **arrays)
    for array, kind in zip(experience[1:], (np.int32, np.float32, bool, bool), strict=True):
        if array.shape != (n,) or array.dtype != kind:
            raise ValueError("arrays of other sizes")
    if not np.isfinite(experience.rewards).all():
        raise ValueError("a reward that is not finite")
    if experience.actions.min() < 0 or experience.actions.max() >= num_actions:
        raise ValueError("no such action")
    return experience


def compress(screens: NDArray[Any]) -> bytes:
    """Return the screens [n, *shape], compressed."""
    rows = _as_bytes(screens)
    compressor = zlib.compressobj(level=6)
    last = np.zeros((1, rows.shape[1]), np.uint8)
    pieces = []
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        pieces.append(compressor.compress(chunk ^ np.concatenate([last, chunk[:-1]])))
        last = chunk[-1:]
    return b"".join([*pieces, compressor.flush()])


def decompress(
    data: NDArray[np.uint8],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Return the screens passed to ``compress``, [n, *shape]; in ``out`` if they fit.

    Raises:
        ValueError, zlib.error: the data are not of this shape, or damaged.
    """
    size = int(np.prod(shape)) * dtype.itemsize
    if data.dtype != np.uint8 or size > MOST_ZLIB * (data.size + 64):
        raise ValueError("screens of another size")
    if size > available_memory():
        raise ValueError(f"its screens take {size / 1e9:.1f} GB, more than is available")
    if out is not None and len(out) >= shape[0] and out.shape[1:] == shape[1:]:
        screens = out[: shape[0]]
    else:
        screens = np.empty(shape, dtype)
    rows = _as_bytes(screens)
    plain = rows.reshape(-1)
    stream, rest = zlib.decompressobj(), memoryview(data.tobytes())
    end = ready = 0  # bytes decompressed, rows restored
    while len(rest) and not stream.eof and end <= size:
        piece = np.frombuffer(stream.decompress(rest[:PIECE]), np.uint8)
        rest = rest[PIECE:]
        begin, end = end, end + len(piece)
        plain[begin:end] = piece[: size - begin]
        whole = min(end, size) // rows.shape[1]
        for row in range(max(ready, 1), whole):  # 8 times as fast as numpy's ``accumulate``
            np.bitwise_xor(rows[row], rows[row - 1], out=rows[row])
        ready = whole
    if len(rest) or not stream.eof or stream.unused_data or end != size:
        raise ValueError("screens of another size")
    return screens


def _as_bytes(screens: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a view of contiguous screens [n, *shape] as bytes, [n, bytes of a screen]."""
    return np.ascontiguousarray(screens).reshape(len(screens), -1).view(np.uint8)
