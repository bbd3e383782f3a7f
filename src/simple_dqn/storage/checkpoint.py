"""Checkpoints: all that resuming a run exactly needs, in a folder beside its snapshots.

    snapshots/pong.checkpoint/
        run.safetensors             the state except the replay memory's slots, and the names and
                                    checksums of the files with the slots
        replay_<number>.safetensors slots of the replay memory, in the order in which they were
                                    written

A checkpoint writes only the slots that are new since the last one, compressed (see
``screen_codec``). Then one rename replaces the file that lists them, and files whose slots have all
been overwritten are removed. So the folder contains one complete checkpoint at all times. A file
with few slots is merged into the next one, so that the number of files stays small.

Contents are checked before they are used: checksums, format version, names, shapes and types. The
files cannot contain code.
"""

from __future__ import annotations

import contextlib
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from simple_dqn.errors import UsageError
from simple_dqn.replay_memory import Experience, ReplayMemory
from simple_dqn.storage.files import load_tensors, save_tensors
from simple_dqn.storage.screen_codec import pack, unpack
from simple_dqn.storage.states import MISFITS, conform, typed

logger = logging.getLogger(__name__)

RUN, SLOTS = "checkpoint", "part of a checkpoint"
RUN_FILE = "run.safetensors"
OURS = re.compile(r"replay_\d+\.safetensors|\.(run|replay_\d+)\.safetensors\.\d+\.tmp")
# A file with fewer slots, as a share of the memory, is merged into the next one.
SMALL = 1 / 64
LONGEST_NAME = len(".replay_999999999.safetensors.4194304.tmp")
MOST_BYTES = 1 << 27  # of screens per file; writing copies them in memory


class Checkpoint:
    """A checkpoint on disk.

    Args:
        folder: of its files; it does not have to exist.

    Attributes:
        chunks: the files with the replay memory's slots: number, checksum and, for each lane, the
            range of slots (begin, exclusive end), numbered in the order of writing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.chunks: list[dict[str, Any]] = []

    @property
    def path(self) -> Path:
        """The main file; a checkpoint exists if this file does."""
        return self.folder / RUN_FILE

    def save(self, state: dict[str, Any], memory: ReplayMemory) -> None:
        """Write ``state``, a tree (see ``states``), and the new slots of the replay memory."""
        try:
            chunks = self._with_new_slots(memory)
            tensors: dict[str, torch.Tensor] = {}
            tree = _without_arrays(dict(state, chunks=chunks), "", tensors)
            save_tensors(self.path, RUN, tensors, dict(tree=tree))
            self.chunks = chunks
        except OSError:  # free the space of what was written so far
            self._remove_others()
            raise
        self._remove_others()

    def _with_new_slots(self, memory: ReplayMemory) -> list[dict[str, Any]]:
        """Write the new slots; return the chunks that contain all slots in use."""
        number = self.chunks[-1]["number"] if self.chunks else 0
        if not all((self.folder / _name(chunk["number"])).is_file() for chunk in self.chunks):
            logger.warning("%s has lost files: writing it again from scratch", self.folder)
            self.chunks = []
        oldest = memory.written - memory.filled
        chunks = [chunk for chunk in self.chunks if (np.array(chunk["ends"]) > oldest).any()]
        begins = oldest
        if chunks:
            begins = np.array(chunks[-1]["ends"])
            small = np.sum(begins - chunks[-1]["begins"]) < SMALL * memory.filled.sum()
            if small and (begins < memory.written).any():
                begins = np.array(chunks.pop()["begins"])
        begins = np.maximum(begins, oldest)
        slot = int(np.prod(memory.shape)) * memory.dtype.itemsize
        most = max(MOST_BYTES // (slot * memory.num_envs), 1)
        while (begins < memory.written).any():
            ends = np.minimum(begins + most, memory.written)
            number += 1
            chunks.append(self._write_slots(number, memory, begins, ends))
            begins = ends
        return chunks

    def _write_slots(
        self, number: int, memory: ReplayMemory, begins: NDArray[Any], ends: NDArray[Any]
    ) -> dict[str, Any]:
        """Write the slots ``begins`` to ``ends`` [N] (exclusive) of the lanes; return the chunk."""
        path = self.folder / _name(number)
        bounds = enumerate(zip(begins, ends, strict=True))
        parts = [memory.read(lane, begin, end) for lane, (begin, end) in bounds]
        slots = Experience(*map(np.concatenate, zip(*parts, strict=True)))
        checksum = save_tensors(path, SLOTS, pack(slots), {})
        return dict(number=number, checksum=checksum, begins=begins.tolist(), ends=ends.tolist())

    def load(self) -> dict[str, Any]:
        """Return the saved state, without the replay memory's slots.

        Raises:
            UsageError: there is none, or it is damaged, or of a newer version.
        """
        tensors, metadata = load_tensors(self.path, RUN)
        try:
            state: dict[str, Any] = typed(_with_arrays(metadata["tree"], tensors), dict)
            for chunk in typed(state["chunks"], list):
                typed(chunk["number"], int)
        except (*MISFITS, RecursionError) as error:
            raise UsageError(f"'{self.path}' is damaged ({error!s:.80})") from None
        self.chunks = state["chunks"]
        return state

    def load_slots(self, memory: ReplayMemory, num_actions: int) -> None:
        """Restore the slots in a replay memory like the one that was saved.

        Args:
            memory: a new one.
            num_actions: of the game.

        Raises:
            UsageError: a file is missing or damaged.
            MISFITS: the checkpoint is of a different memory.
        """
        out: NDArray[Any] | None = None
        for chunk in self.chunks:
            path = self.folder / _name(chunk["number"])
            if not path.is_file():
                raise UsageError(f"there is no file '{path}', a part of the checkpoint")
            lanes = [0] * memory.num_envs
            begins, ends = conform(chunk["begins"], lanes), conform(chunk["ends"], lanes)
            lengths = np.subtract(ends, begins)
            if min(lengths) < 0 or max(lengths) > memory.slots:
                raise ValueError("more slots than the memory has")
            tensors, metadata = load_tensors(path, SLOTS)
            try:
                if metadata["checksum"] != chunk["checksum"]:
                    raise ValueError("it belongs to another checkpoint")
                if len(tensors["starts"]) != lengths.sum():
                    raise ValueError("another number of slots")
                slots = unpack(tensors, memory.shape, memory.dtype, num_actions, out)
                for lane, end in enumerate(np.cumsum(lengths)):
                    own = slice(end - lengths[lane], end)
                    memory.write(lane, begins[lane], slots.cut(own))
                if out is None or len(out) < len(slots.screens):
                    out = slots.screens
            except MISFITS as error:
                raise UsageError(f"'{path}' is damaged ({error!s:.80})") from None

    def remove(self) -> None:
        """Remove it from the disk, and the folder too unless it contains other files."""
        self.path.unlink(missing_ok=True)
        self._remove_all_but(set())
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def _remove_others(self) -> None:
        """Remove all our files except those of the last checkpoint."""
        self._remove_all_but({RUN_FILE, *(_name(chunk["number"]) for chunk in self.chunks)})

    def _remove_all_but(self, names: set[str]) -> None:
        """Remove our obsolete files, and partial ones left by a crash."""
        if not self.folder.is_dir():
            return
        for path in self.folder.iterdir():
            if path.name not in names and OURS.fullmatch(path.name):
                with contextlib.suppress(OSError):  # the checkpoint is complete anyway
                    path.unlink()


def _without_arrays(tree: Any, path: str, tensors: dict[str, torch.Tensor]) -> Any:
    """Return a tree for JSON: arrays and tensors are moved into ``tensors``."""
    if isinstance(tree, dict):
        return {k: _without_arrays(value, f"{path}.{k}", tensors) for k, value in tree.items()}
    if isinstance(tree, list):
        return [_without_arrays(value, f"{path}.{i}", tensors) for i, value in enumerate(tree)]
    name = path.removeprefix(".")
    if isinstance(tree, np.generic):  # such as a number from a custom environment
        return tree.item()
    if isinstance(tree, np.ndarray):
        tensors[name] = torch.from_numpy(tree.copy())
        return {"array": name}
    if isinstance(tree, torch.Tensor):
        tensors[name] = tree.contiguous()
        return {"tensor": name}
    return tree


def _with_arrays(tree: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """Return the tree that ``_without_arrays`` took apart."""
    if isinstance(tree, dict):
        if tree.keys() == {"array"}:
            return tensors[tree["array"]].numpy()
        if tree.keys() == {"tensor"}:
            return tensors[tree["tensor"]]
        return {key: _with_arrays(value, tensors) for key, value in tree.items()}
    return [_with_arrays(value, tensors) for value in tree] if isinstance(tree, list) else tree


def _name(number: int) -> str:
    """Return the name of a chunk's file."""
    return f"replay_{number}.safetensors"
