"""Writing files atomically, and reading tensor files safely.

A tensor file is in the safetensors format: it cannot contain code, and its header is checked
against its length before anything is allocated. Ours have one metadata entry, a JSON text with the
kind of file, its format version and a checksum of the contents.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from simple_dqn.errors import UsageError

logger = logging.getLogger(__name__)

METADATA_KEY = "simple_dqn"  # one entry: the library writes several in no fixed order
FORMAT_VERSION = 2  # 1 had no checksum
# Bytes that the names of temporary and backup files add: .<name>.<process>.tmp, <name>.bak12.
BESIDE = len("..4194304.tmp") + 2
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}  # errors of file systems without locks


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` so that ``path`` always has either its old or its new content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    if path.exists() and not path.is_file():  # /dev/null must not become a file
        raise FileExistsError(errno.EEXIST, "exists and is not a regular file", str(path))
    try:
        with naming(path):
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            _flush_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add ``path`` to an OSError raised inside: a full disk does not name a file."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def _flush_folder(folder: Path) -> None:
    """Flush a folder to disk: a rename alone can be lost in a power failure."""
    with contextlib.suppress(OSError):  # some file systems do not support or need it
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def require_place(path: Path, option: str, inside: int = 0, instead: str = "") -> None:
    """Raise UsageError unless ``path`` can be written, and the temporary files beside it.

    Args:
        path: a file, or a folder of files. The folder that it is in is made if it is missing.
        option: that names it.
        inside: bytes of the longest name in it, if it is a folder.
        instead: what else names it.
    """
    there = next(folder for folder in (*path.parents, Path("/")) if os.path.isdir(folder))
    try:  # a system without limits says -1
        most_in_name = os.pathconf(there, "PC_NAME_MAX")
        most_in_path = os.pathconf(there, "PC_PATH_MAX") - 1  # it counts the 0 at the end
    except (OSError, ValueError):
        most_in_name, most_in_path = 255, 1023  # what the usual systems allow
    name, whole = len(os.fsencode(path.name)), len(os.fsencode(path))
    excess = max(
        name + BESIDE - most_in_name if most_in_name > 0 else 0,
        whole + max(BESIDE, 1 + inside) - most_in_path if most_in_path > 0 else 0,
    )
    if excess > 0:
        size = f"{excess} bytes" if excess > 1 else "1 byte"
        raise UsageError(
            f"'{shortened(str(path), 60)}' is {size} too long for the names of all files that are "
            f"going to be written: give a shorter {instead}--{option}"
        )
    require_writable(path.parent, option)


def shortened(text: str, most: int) -> str:
    """Return a text of at most so many characters, without what is in its middle."""
    if len(text) <= most:
        return text
    end = (most - 1) // 2
    return f"{text[: most - 1 - end]}…{text[len(text) - end :]}"


def require_writable(folder: Path, option: str) -> None:
    """Raise UsageError unless files can be created in ``folder``, which is created if missing."""
    probe = folder / f".{os.getpid()}.probe"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(
            f"cannot write into the folder '{folder}' ({error.strerror}); "
            f"choose another place with --{option}"
        ) from None


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file ``path``; the lock of a process that dies is released.

    Raises:
        UsageError: another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=0, fallback_to_soft=False)
    try:
        lock.acquire()
        path.write_text(str(os.getpid()))
    except Timeout:
        raise UsageError(
            f"process {path.read_text()[:20].strip() or '?'} is already writing {what}: give this "
            f"run another label, or wait until that one ends"
        ) from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        logger.warning(
            "no lock on %s (%s): make sure that no other run writes it", what, error.strerror
        )
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held, so that others create a new one
        lock.release()


def set_aside(path: Path) -> Path | None:
    """Rename ``path`` to the first free ``path.bak``, ``path.bak2``...; return the new name."""
    if not path.exists():
        return None
    number = 1
    while (backup := path.with_name(f"{path.name}.bak{number if number > 1 else ''}")).exists():
        number += 1
    path.rename(backup)
    return backup


def save_tensors(
    path: Path, kind: str, tensors: Mapping[str, Any], metadata: Mapping[str, Any]
) -> str:
    """Write torch tensors and metadata for JSON; equal contents give equal bytes.

    Args:
        path: the file; an existing one is replaced.
        kind: of file, for messages.
        tensors, metadata: the contents.

    Returns:
        checksum: of the contents.
    """
    from safetensors.torch import save

    cpu = {name: tensor.detach().cpu() for name, tensor in tensors.items()}
    metadata = dict(metadata, kind=kind, format_version=FORMAT_VERSION)
    checksum = _checksum(cpu, metadata)
    text = json.dumps(dict(metadata, checksum=checksum), sort_keys=True)
    write_atomically(path, save(cpu, {METADATA_KEY: text}))
    return checksum


def load_tensors(path: Path, kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (tensors, metadata) of a file written by ``save_tensors``, also of an older version.

    Raises:
        UsageError: there is no such file, it is of another kind, damaged, or of a newer version.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise UsageError(f"there is no file '{path}'")
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = json.loads((file.metadata() or {})[METADATA_KEY])
            found = int(metadata["format_version"])
            if metadata["kind"] == kind and 1 <= found <= FORMAT_VERSION:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if metadata["kind"] != kind:
            raise UsageError(f"'{path}' is a {metadata['kind']!s:.40}, not a {kind}")
        if found > FORMAT_VERSION:
            raise UsageError(
                f"'{path}' has format version {found}, this program reads up to {FORMAT_VERSION}: "
                f"upgrade it"
            )
        if found < 1 or (found > 1 and _checksum(tensors, metadata) != metadata["checksum"]):
            raise ValueError
    except (
        SafetensorError, OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError,
    ) as error:  # fmt: skip
        detail = (
            str(error).splitlines()[0] if isinstance(error, SafetensorError) else "wrong contents"
        )
        raise UsageError(f"'{path}' is not a Simple DQN {kind}, or is damaged ({detail})") from None
    return tensors, metadata


def _checksum(tensors: Mapping[str, Any], metadata: Mapping[str, Any]) -> str:
    """Return the checksum of tensors on the CPU and of metadata, excluding the checksum entry."""
    rest = {name: value for name, value in metadata.items() if name != "checksum"}
    digest = hashlib.sha256(json.dumps(rest, sort_keys=True).encode())
    for name in sorted(tensors):
        array = tensors[name].contiguous().numpy()
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.data if array.size else b"")
    return digest.hexdigest()
