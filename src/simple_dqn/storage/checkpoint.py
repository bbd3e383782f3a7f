"""Checkpoints: all that a run needs to go on exactly, in a folder beside its snapshots.

    snapshots/pong.checkpoint/
        run.safetensors             the state of everything but the replay memory's slots, and the
                                    names and checksums of the files that these are in
        replay_<number>.safetensors slots of the replay memory, in the order of their writing

A checkpoint writes only the slots that are new since the last one, compressed (see ``packing``);
then, by one rename, the file that names them; then it removes the files of which
every slot has been overwritten. So at every moment the folder holds one whole checkpoint. A file of
few slots is written again together with the next, so that many checkpoints do not make many files.

What a file says is checked before it is believed: checksums, format version, names, shapes and
types. No code can hide in it.
"""

from __future__ import annotations

import contextlib
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from simple_dqn.errors import UsageError
from simple_dqn.options.definitions import without_places
from simple_dqn.replay_memory import Experience, ReplayMemory
from simple_dqn.state import MISFITS, State, counted, listed, typed
from simple_dqn.storage.files import load_tensors, save_tensors
from simple_dqn.storage.run_files import csv_of
from simple_dqn.storage.screen_codec import pack, unpack

if TYPE_CHECKING:
    from simple_dqn.commands.build import Run

logger = logging.getLogger(__name__)

RUN, SLOTS = "checkpoint", "part of a checkpoint"
RUN_FILE = "run.safetensors"
OURS = re.compile(r"replay_\d+\.safetensors|\.(run|replay_\d+)\.safetensors\.\d+\.tmp")
# A file of fewer slots, as a share of the memory, is written again with the next ones.
SMALL = 1 / 64
MOST_BYTES = 1 << 27  # of screens in a file, which are in memory a second time meanwhile


# Of ``config.PLACES`` those without which a run is another, or leaves less behind: what names code
# or files is asked for again, as a checkpoint may come from anybody.
ASKED_FOR = ("callback", "tensorboard", "csv_file")


KEPT_PLACES = ("stop_at", "checkpoint_every")


class Checkpoint:
    """A checkpoint on disk.

    Args:
        folder: of its files; it need not exist yet.

    Attributes:
        chunks: the files of the replay memory's slots: number, checksum, and for each lane the
            first slot in it and the first behind it, counted as they were written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.chunks: list[State] = []

    @property
    def path(self) -> Path:
        """The file that makes it a checkpoint."""
        return self.folder / RUN_FILE

    def save(self, state: State, memory: ReplayMemory) -> None:
        """Write ``state``, a tree (see ``state``), and what is new in the replay memory."""
        try:
            chunks = self._with_new_slots(memory)
            tensors: dict[str, torch.Tensor] = {}
            tree = _without_arrays(dict(state, chunks=chunks), "", tensors)
            save_tensors(self.path, RUN, tensors, dict(tree=tree))
            self.chunks = chunks
        except OSError:  # what was written so far is not to keep a full disk full
            self._remove_others()
            raise
        self._remove_others()

    def _with_new_slots(self, memory: ReplayMemory) -> list[State]:
        """Write the slots that are new; return the files that all slots in use are in."""
        number = self.chunks[-1]["number"] if self.chunks else 0
        if not all((self.folder / _name(chunk["number"])).is_file() for chunk in self.chunks):
            logger.warning("%s has lost files: writing all of it again", self.folder)
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
    ) -> State:
        """Write the slots of each lane from ``begins`` till ``ends``, [N]; return the chunk."""
        path = self.folder / _name(number)
        bounds = enumerate(zip(begins, ends, strict=True))
        parts = [memory.read(lane, begin, end) for lane, (begin, end) in bounds]
        slots = Experience.join(parts)
        checksum = save_tensors(path, SLOTS, pack(slots), {})
        return dict(number=number, checksum=checksum, begins=begins.tolist(), ends=ends.tolist())

    def load(self) -> State:
        """Return the state that was saved, but for the replay memory's slots.

        Raises:
            UsageError: there is none, or it is damaged, or of a newer version.
        """
        tensors, metadata = load_tensors(self.path, RUN)
        try:
            state: State = typed(_with_arrays(metadata["tree"], tensors), dict)
            for chunk in typed(state["chunks"], list):
                counted(chunk["number"])
        except (*MISFITS, RecursionError) as error:
            raise UsageError(f"'{self.path}' is damaged ({error!s:.80})") from None
        self.chunks = state["chunks"]
        return state

    def load_slots(self, memory: ReplayMemory, num_actions: int) -> None:
        """Put the slots back into a replay memory like the one that they came from.

        Args:
            memory: a new one.
            num_actions: in the game.

        Raises:
            UsageError: a file is missing or damaged.
            MISFITS: the checkpoint is of another memory.
        """
        room: NDArray[Any] | None = None
        for chunk in self.chunks:
            path = self.folder / _name(chunk["number"])
            if not path.is_file():
                raise UsageError(f"there is no file '{path}', a part of the checkpoint")
            begins = [counted(begin) for begin in listed(chunk["begins"], int, memory.num_envs)]
            ends = [counted(end) for end in listed(chunk["ends"], int, memory.num_envs)]
            lengths = np.subtract(ends, begins)
            if min(lengths) < 0 or max(lengths) > memory.slots:
                raise ValueError("more slots than the memory has")
            tensors, metadata = load_tensors(path, SLOTS)
            try:
                if metadata["checksum"] != chunk["checksum"]:
                    raise ValueError("it belongs to another checkpoint")
                if len(tensors["starts"]) != lengths.sum():
                    raise ValueError("another number of slots")
                slots = unpack(tensors, memory.shape, memory.dtype, num_actions, room)
                for lane, end in enumerate(np.cumsum(lengths)):
                    own = slice(end - lengths[lane], end)
                    memory.write(lane, begins[lane], slots.cut(own))
                if room is None or len(room) < len(slots.screens):
                    room = slots.screens
            except MISFITS as error:
                raise UsageError(f"'{path}' is damaged ({error!s:.80})") from None

    def remove(self) -> None:
        """Remove it from the disk, and the folder unless somebody has put something else there."""
        self.path.unlink(missing_ok=True)
        self._remove_all_but(set())
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def _remove_others(self) -> None:
        """Remove all files of ours but those of the last checkpoint."""
        self._remove_all_but({RUN_FILE, *(_name(chunk["number"]) for chunk in self.chunks)})

    def _remove_all_but(self, names: set[str]) -> None:
        """Remove our files that no longer count, and those that a crash left half-written."""
        if not self.folder.is_dir():
            return
        for path in self.folder.iterdir():
            if path.name not in names and OURS.fullmatch(path.name):
                with contextlib.suppress(OSError):  # the checkpoint is whole all the same
                    path.unlink()


def _without_arrays(tree: Any, path: str, tensors: dict[str, torch.Tensor]) -> Any:
    """Return a tree that JSON can hold: arrays and tensors are moved into ``tensors``."""
    if isinstance(tree, dict):
        return {k: _without_arrays(value, f"{path}.{k}", tensors) for k, value in tree.items()}
    if isinstance(tree, list):
        return [_without_arrays(value, f"{path}.{i}", tensors) for i, value in enumerate(tree)]
    name = path.removeprefix(".")
    if isinstance(tree, np.generic):  # such as a number of a user's environment
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
    """Return what the file of a chunk is called."""
    return f"replay_{number}.safetensors"


def state_of(run: Run) -> State:
    """Return the state of all that a run consists of, but for the replay memory's slots."""
    assert run.agent.memory is not None
    config, device = run.config.to_dict(), run.network.device
    asked_for = {name: config[name] for name in ASKED_FOR}
    if config["csv_file"] == csv_of(config["save_weights_prefix"]):
        asked_for["csv_file"] = ""  # it goes without saying
    return dict(
        game=run.game,
        config=without_places(config),
        places={name: config[name] for name in KEPT_PLACES},
        asked_for=asked_for,
        start_epoch=run.config.run.start_epoch,
        agent=run.agent.state_dict(),
        network=run.network.state_dict(),
        memory=run.agent.memory.state_dict(),
        statistics=run.statistics.state_dict(),
        callback=run.callback.state_dict() if run.callback else None,
        torch_generator=torch.get_rng_state(),
        cuda_generator=torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    )


class Origin(NamedTuple):
    """What a checkpoint tells of its run before its objects are built."""

    path: Path
    game: str  # ALE's name of the game or a Gymnasium id
    config: dict[str, Any]  # all options but ``config.PLACES``, of those KEPT_PLACES
    asked_for: dict[str, str]  # what else it was given, see ASKED_FOR
    start_epoch: int
    epoch: int  # it stands in
    phase: str
    refill: bool  # the random phase, see ``training.run_phases``
    finished: bool  # nothing is left to do
    state: State  # all of it

    @property
    def snapshot_epoch(self) -> int:
        """The epoch of the last snapshot."""
        return self.epoch - (self.phase == "train")


def read_origin(checkpoint: Checkpoint) -> Origin:
    """Read a checkpoint, but for the replay memory's slots.

    Raises:
        UsageError: it is damaged.
    """
    state = checkpoint.load()
    try:
        phase = typed(state["agent"]["phase"], str)
        if phase not in ("random", "train", "test"):
            raise ValueError(f"no phase {phase!r:.20}")
        return Origin(
            path=checkpoint.path,
            game=typed(state["game"], str),
            config={
                **without_places(typed(state["config"], dict)),
                **{name: state["places"][name] for name in KEPT_PLACES},
            },
            asked_for={name: typed(state["asked_for"][name], str) for name in ASKED_FOR},
            start_epoch=counted(state["start_epoch"]),
            epoch=counted(state["statistics"]["epoch"]),
            phase=phase,
            refill=typed(state["refill"], bool),
            finished=typed(state["finished"], bool),
            state=state,
        )
    except MISFITS as error:
        raise UsageError(f"'{checkpoint.path}' is damaged ({error!s:.80})") from None


def load_state(run: Run, checkpoint: Checkpoint, state: State) -> None:
    """Have a run that was built with the same options go on from a checkpoint.

    Raises:
        UsageError: it is damaged, or was made with other options.
    """
    memory = run.agent.memory
    assert memory is not None
    try:
        checkpoint.load_slots(memory, len(run.environment.action_meanings))
        memory.load_state_dict(state["memory"])
        run.network.load_state_dict(state["network"])
        run.agent.load_state_dict(state["agent"])
        run.statistics.load_state_dict(state["statistics"], run.agent)
        torch.set_rng_state(state["torch_generator"])
        device, drawn = run.network.device, state.get("cuda_generator")  # not in older ones
        if device.type == "cuda" and drawn is not None:
            torch.cuda.set_rng_state(drawn, device)
    except UsageError:  # the line says already what is wrong, such as which file is damaged
        raise
    except MISFITS as error:
        raise UsageError(
            f"'{checkpoint.path}' does not fit these options, or is damaged ({error!s:.80})"
        ) from None
    if run.callback and state["callback"] is not None:
        run.callback.load_state_dict(state["callback"], run.agent)
