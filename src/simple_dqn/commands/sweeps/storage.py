"""The kept files of a run: on a disk, a shared folder or any store that Ray's storage takes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from pyarrow import fs

from simple_dqn.commands.sweeps.trial import RESUMED_FROM
from simple_dqn.errors import UsageError


class RunStorage:
    """The files of one run, kept where every node can read them.

    The files that a checkpoint refers to are never changed, and the one that refers to them is
    copied after them: whenever copying stops, what is kept can be resumed.

    Args:
        filesystem, folder: where they are kept.
    """

    def __init__(self, filesystem: Any, folder: str) -> None:
        self.filesystem, self.folder = filesystem, folder
        self._kept: dict[str, tuple[int, int]] = {}  # (size, time) of what was copied last

    def keep(self, work: Path) -> None:
        """Copy what is new in the folder ``work``; remove what its checkpoint no longer needs."""
        marks = _marks(work)
        last = [name for name in marks if name.endswith(RESUMED_FROM)]
        for name in [*(n for n in marks if n not in last), *last]:
            if self._kept.get(name) != marks[name]:
                try:
                    self._write(name, (work / name).read_bytes())
                except FileNotFoundError:  # replaced by a newer checkpoint: the next round has it
                    return
                self._kept[name] = marks[name]
        for name in set(self._kept) - set(marks) if last else ():
            self.filesystem.delete_file(f"{self.folder}/{name}")
            del self._kept[name]

    def files(self) -> Iterator[tuple[str, Callable[[], bytes]]]:
        """Yield the path of each kept file from the run's folder, and what reads it."""
        found = self.filesystem.get_file_info(
            fs.FileSelector(self.folder, recursive=True, allow_not_found=True)
        )
        for info in found:
            if info.type == fs.FileType.File and not info.path.endswith(".part"):
                yield info.path[len(self.folder) :].lstrip("/"), partial(self._read, info.path)

    def fetch(self, work: Path) -> bool:
        """Copy everything to the folder ``work``; return whether there was anything."""
        for name, data in self.files():
            target = work / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data())
        self._kept = _marks(work)
        return bool(self._kept)

    def read(self, name: str) -> str:
        """Return the text of a kept file; empty if there is none."""
        try:
            return self._read(f"{self.folder}/{name}").decode()
        except FileNotFoundError:
            return ""

    def write(self, name: str, text: str) -> None:
        """Keep a text."""
        self._write(name, text.encode())

    def _read(self, path: str) -> bytes:
        with self.filesystem.open_input_stream(path) as stream:
            return bytes(stream.read())

    def _write(self, name: str, data: bytes) -> None:
        path = f"{self.folder}/{name}"
        self.filesystem.create_dir(path.rpartition("/")[0], recursive=True)
        part = f"{path}.part"
        with self.filesystem.open_output_stream(part) as stream:
            stream.write(data)
        self.filesystem.move(part, path)


def open_storage(place: str) -> tuple[Any, str]:
    """Return (filesystem, folder) of a folder or a URI.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        if "://" in place:
            filesystem, folder = fs.FileSystem.from_uri(place)
        else:
            filesystem, folder = fs.LocalFileSystem(), str(Path(place).absolute())
        probe = f"{folder}/.writable.{os.getpid()}"
        filesystem.create_dir(folder, recursive=True)
        with filesystem.open_output_stream(probe) as stream:
            stream.write(b"")
        filesystem.delete_file(probe)
    except Exception as error:  # each store has its own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"--storage '{place}' cannot be written: {reason}") from None
    return filesystem, folder


def _marks(work: Path) -> dict[str, tuple[int, int]]:
    """Return (size, time) of each file below ``work`` that matters, by its path from there."""
    marks = {}
    for path in sorted(work.rglob("*")):
        if path.name.startswith(".") or path.suffix == ".lock":
            continue
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue
        if path.is_file():
            marks[str(path.relative_to(work))] = stat.st_size, stat.st_mtime_ns
    return marks
