"""Experience files: what a person or a network played, to be learnt from.

One safe file (see ``files``) holds the slots of a replay memory: actions, rewards, terminals and
starts as they are, and the screens compressed: each as its difference to the one before, byte by
byte, then all by zlib. Atari's screens hardly change: 7 kB become 60 bytes in Breakout, 360 in
Freeway.

Nothing in it depends on the clock. It tells the game, its actions and the recipe that its screens
were made by, and is only learnt from where they are the same.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from simple_dqn.config import Config
from simple_dqn.environment import Environment
from simple_dqn.errors import UsageError
from simple_dqn.files import load_tensors, save_tensors
from simple_dqn.structures import Experience

KIND, FORMAT_VERSION = "file of experience", 1
CHUNK = 1000  # slots that are compressed at once
MOST_ZLIB = 1040  # zlib shrinks nothing more than this many times

# What made the observations and what the actions did; for other than Atari games that is their own
# affair, but for how a screen shrinks.
RECIPE = (
    "frame_skip",
    "repeat_action_probability",
    "minimal_action_set",
    "game_mode",
    "game_difficulty",
    "color_averaging",
    "resize",
    "screen_width",
    "screen_height",
    "life_loss_terminal",
)
OF_SCREENS = ("resize", "screen_width", "screen_height")


def save_experience(
    path: Path, experience: Experience, config: Config, game: str, environment: Environment
) -> None:
    """Write an experience file."""
    arrays = experience._asdict()
    arrays["screens"] = np.frombuffer(_compress(experience.screens), np.uint8)
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
    origin = _origin(config, game, environment)
    save_tensors(path, tensors, dict(kind=KIND, format_version=FORMAT_VERSION, **origin))


def load_experience(path: Path, config: Config, game: str, environment: Environment) -> Experience:
    """Read an experience file.

    Raises:
        UsageError: it is missing, damaged, or was played on another game or with other options.
    """
    tensors, metadata = load_tensors(path, KIND, FORMAT_VERSION)
    here = _origin(config, game, environment)
    for name, own in here.items():
        if (theirs := metadata.get(name)) != own:
            raise UsageError(f"'{path}' cannot be learnt from here: {_difference(theirs, own)}")
    shape, dtype = environment.observation_shape, environment.observation_dtype
    try:
        n = len(tensors["starts"])
        if not n:
            raise ValueError("nothing in it")
        screens = _decompress(tensors["screens"].numpy(), (n, *shape), dtype)
        arrays = {name: tensors[name].numpy() for name in Experience._fields[1:]}
        experience = Experience(screens, **arrays)
        for array, kind in zip(experience[1:], (np.int32, np.float32, bool, bool), strict=True):
            if array.shape != (n,) or array.dtype != kind:
                raise ValueError("arrays of other sizes")
        actions = experience.actions
        if not experience.starts[0]:
            raise ValueError("no beginning")
        if not np.isfinite(experience.rewards).all():
            raise ValueError("a reward that is not finite")
        if actions.min() < 0 or actions.max() >= len(environment.action_meanings):
            raise ValueError("no such action")
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise UsageError(f"'{path}' is damaged ({error})") from None
    return experience


def _origin(config: Config, game: str, environment: Environment) -> dict[str, Any]:
    """Return what must be the same where experience is learnt from."""
    options = config.to_dict()
    kind = options["environment"]
    screens = environment.observation_dtype == np.uint8
    recipe = RECIPE if kind == "ale" else OF_SCREENS if kind == "gym" and screens else ()
    return dict(
        environment=kind,
        game=game,
        action_meanings=environment.action_meanings,
        recipe={name: options[name] for name in recipe},
        observation=[environment.observation_dtype.name, *environment.observation_shape],
    )


def _difference(theirs: Any, own: Any) -> str:
    """Say how two entries of ``_origin`` differ."""
    if type(own) is not type(theirs) or (isinstance(own, Mapping) and own.keys() != theirs.keys()):
        return "it does not tell how it was played"
    if isinstance(own, Mapping):
        given = [f"--{n} {str(theirs[n]).lower():.20}" for n in own if theirs[n] != own[n]]
        return f"it was played with {' '.join(given)}"
    texts = [" ".join(map(str, x)) if isinstance(x, list) else str(x) for x in (theirs, own)]
    return f"it was played with '{texts[0]:.80}', not '{texts[1]:.80}'"


def _compress(screens: NDArray[Any]) -> bytes:
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


def _decompress(
    data: NDArray[np.uint8], shape: tuple[int, ...], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Return the screens that ``_compress`` took, [n, *shape].

    Raises:
        ValueError, zlib.error: the data are not of this shape, or damaged.
    """
    size = int(np.prod(shape)) * dtype.itemsize
    if data.dtype != np.uint8 or size > MOST_ZLIB * (data.size + 64):
        raise ValueError("screens of another size")
    screens = np.empty(shape, dtype)
    rows = _as_bytes(screens)
    stream, rest = zlib.decompressobj(), data.tobytes()
    last = np.zeros(rows.shape[1], np.uint8)
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        plain = bytearray()
        while more := stream.decompress(rest, chunk.size - len(plain)):
            plain += more
            rest = stream.unconsumed_tail
            if len(plain) == chunk.size:  # a length of 0 would mean all
                break
        chunk[:] = np.frombuffer(plain, np.uint8).reshape(chunk.shape)
        chunk[0] ^= last
        np.bitwise_xor.accumulate(chunk, axis=0, out=chunk)
        last = chunk[-1]
    if stream.decompress(rest, 1) or not stream.eof or stream.unused_data:
        raise ValueError("screens of another size")
    return screens


def _as_bytes(screens: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a view of contiguous screens [n, *shape] as bytes, [n, bytes of a screen]."""
    return np.ascontiguousarray(screens).reshape(len(screens), -1).view(np.uint8)
