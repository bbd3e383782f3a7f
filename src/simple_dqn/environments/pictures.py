"""Pictures that environments draw, in whatever form they come."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simple_dqn.errors import UsageError

CHANNELS = (1, 3, 4)  # grey, RGB, RGB and opacity
ROUNDING = 1e-4  # by which fractions may be below 0 or above 1


def as_picture(render_result: Any, who: str) -> NDArray[np.uint8]:
    """Return what an environment's ``render`` returned as a picture.

    Pictures may be grey, RGB or RGBA (seen on black), with the channels last or first; of whole
    numbers from 0 to 255, of fractions from 0 to 1, or of truth values. Of a list of pictures the
    last one counts.

    Args:
        render_result: what ``render`` returned.
        who: the environment's name, for the error.

    Returns:
        uint8 [h, w, 3], RGB, the caller's to keep.

    Raises:
        UsageError: it is no picture.
    """
    if isinstance(render_result, list | tuple) and _holds_pictures(render_result):
        render_result = render_result[-1]
    if hasattr(render_result, "convert") and hasattr(render_result, "mode"):  # Pillow's
        render_result = render_result.convert("RGBA")
    try:
        array = np.asarray(render_result)
    except Exception as error:  # a foreign object may fail in any way
        raise _no_picture(who, f"{type(render_result).__name__} ({error})") from error
    if array.dtype.kind not in "biuf":
        none = render_result is None
        raise _no_picture(who, "None" if none else f"a {type(render_result).__name__}")
    picture = _with_channels(array)
    if picture is None or not picture.size:
        raise _no_picture(who, f"an array of shape {list(array.shape)}")
    levels = _as_levels(picture)
    if levels is None:
        raise _no_picture(who, f"values from {picture.min():g} to {picture.max():g}")
    colours = levels[:, :, :3]
    if levels.shape[2] == 4:
        colours = colours * (levels[:, :, 3:] / 255)
    rounded = np.rint(colours).astype(np.uint8)
    return np.array(np.broadcast_to(rounded, (*rounded.shape[:2], 3)), order="C")


def _no_picture(who: str, what: str) -> UsageError:
    return UsageError(
        f"'{who}' draws no picture: render() returned {what}; a picture is [h, w], [h, w, 3] or "
        f"[h, w, 4], from 0 to 255 or, as fractions, from 0 to 1"
    )


def _holds_pictures(parts: list[Any] | tuple[Any, ...]) -> bool:
    """Whether a list holds pictures, not the rows of one."""
    last = parts[-1] if parts else None
    if hasattr(last, "convert"):
        return True
    shape = np.shape(last) if isinstance(last, np.ndarray) else ()
    return len(shape) == 3 or (len(shape) == 2 and shape[1] not in CHANNELS)


def _with_channels(array: NDArray[Any]) -> NDArray[Any] | None:
    """Return a picture as [h, w, 1, 3 or 4]; None if it is none."""
    if array.ndim == 4 and len(array) == 1:
        array = array[0]
    if array.ndim == 2:
        return array[:, :, None]
    if array.ndim == 3 and array.shape[2] in CHANNELS:
        return array
    if array.ndim == 3 and array.shape[0] in CHANNELS:
        return np.moveaxis(array, 0, 2)
    return None


def _as_levels(picture: NDArray[Any]) -> NDArray[Any] | None:
    """Return the numbers of a picture from 0 to 255; None if they mean something else."""
    if picture.dtype == np.uint8:
        return picture
    if picture.dtype == np.bool_:
        return picture * np.uint8(255)
    low, high = picture.min(), picture.max()
    if picture.dtype.kind == "f" and low >= -ROUNDING and high <= 1 + ROUNDING:
        return np.clip(picture.astype(np.float64), 0, 1) * 255
    return picture if low >= 0 and high <= 255 else None  # NaN is neither
