"""Reading a network of another package: what a file is, by its contents."""

from __future__ import annotations

from pathlib import Path

from simple_dqn.errors import UsageError
from simple_dqn.storage.foreign.neon import read_pickle
from simple_dqn.storage.foreign.network import ForeignNetwork, shape_of
from simple_dqn.storage.foreign.torch_file import LEGACY, read_archive, read_safetensors

LARGEST = 2**31  # bytes of a file
KNOWN = (
    "a pickle of Neon, a zip of Stable-Baselines3, or a state dict of torch (CleanRL, PFRL, "
    "others), also as safetensors"
)


def read_foreign(path: Path) -> ForeignNetwork:
    """Read a network of another package.

    Raises:
        UsageError: there is no such file, it is something else, damaged, or contains code.
    """
    if not path.is_file():
        raise UsageError(f"there is no file '{path}'")
    if path.stat().st_size > LARGEST:
        raise UsageError(f"'{path}' is too large for a Q-network")
    data = path.read_bytes()
    try:
        found = _read(data)
        shape_of(found.layers)
    except Exception as error:  # of many kinds, for a file that anyone may have made
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"'{path}' cannot be imported: {reason}") from None
    return found


def _read(data: bytes) -> ForeignNetwork:
    """Return the network in these bytes.

    Raises:
        ValueError, UsageError and what the libraries raise: they are of no known network.
    """
    if data.startswith(b"PK"):
        return read_archive(data)
    if data.startswith(LEGACY):
        raise ValueError("a file of torch before 1.6: load it with torch and save it again")
    if data[8:9] == b"{":
        return read_safetensors(data)
    if data[:1] in (b"\x80", b"(", b"}", b"c"):
        return read_pickle(data)
    raise ValueError(f"it is not {KNOWN}")
