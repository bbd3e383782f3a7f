"""Snapshots: the weights of an epoch and how they were trained, in one safetensors file.

``<prefix>_<epoch>.safetensors`` is all that testing, playing and sharing need: weights, game,
actions and configuration. ``<prefix>_<epoch>.resume`` beside it is needed to continue training: the
target network and the optimiser state, two to three times as large. A snapshot without its .resume
can still be tested and played.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from simple_dqn.errors import UsageError
from simple_dqn.options.definitions import Config, without_places
from simple_dqn.storage.files import load_tensors, save_tensors
from simple_dqn.storage.states import conform, typed

SNAPSHOT, TRAINING_STATE = "snapshot", "training state"


class Saved(Protocol):
    """What a snapshot and a checkpoint have in common: path, game and options."""

    @property
    def path(self) -> Path: ...  # noqa: D102
    @property
    def game(self) -> str: ...  # noqa: D102
    @property
    def config(self) -> dict[str, Any]: ...  # noqa: D102


class Snapshot(NamedTuple):
    """The contents of a snapshot file."""

    path: Path
    weights: dict[str, Any]  # name -> torch tensor
    game: str  # ALE's name of the game or a Gymnasium id
    action_meanings: list[str]
    observation_shape: tuple[int, ...]
    observation_dtype: str
    epoch: int
    total_train_steps: int
    weight_updates: int
    config: dict[str, Any]  # all options except ``definitions.PLACES``

    @property
    def prefix(self) -> str:
        """The path without ``_<epoch>.safetensors`` or ``_best.safetensors``."""
        name = str(self.path).removesuffix(".safetensors")
        by_epoch = name.removesuffix(f"_{self.epoch}")
        return by_epoch if by_epoch != name else name.removesuffix("_best")


def snapshot_path(prefix: str, epoch: int) -> Path:
    """Return the file of an epoch's snapshot."""
    return Path(f"{prefix}_{epoch}.safetensors")


def resume_path(snapshot: Path) -> Path:
    """Return the file of the training state that belongs to a snapshot."""
    return snapshot.with_suffix(".resume")


def save_snapshot(
    prefix: str,
    *,
    weights: dict[str, Any],
    training_state: dict[str, Any] | None,
    game: str,
    action_meanings: list[str],
    observation_shape: tuple[int, ...],
    observation_dtype: str,
    epoch: int,
    total_train_steps: int,
    weight_updates: int,
    config: Config,
) -> Path:
    """Write the snapshot of an epoch and its training state, if any; return the snapshot's path.

    Nothing in it depends on the clock or on paths, so that equal runs write equal files.
    """
    path = snapshot_path(prefix, epoch)
    metadata = dict(
        game=game,
        action_meanings=action_meanings,
        observation_shape=observation_shape,
        observation_dtype=observation_dtype,
        config=without_places(config.to_dict()),
        epoch=epoch,
        total_train_steps=total_train_steps,
        weight_updates=weight_updates,
    )
    _parse(path, weights, metadata)  # nothing is written that could not be read
    # The training state first: where there is a snapshot, there are both.
    if training_state is not None:
        mark = dict(weights=_digest(weights))
        save_tensors(resume_path(path), TRAINING_STATE, training_state, mark)
    save_tensors(path, SNAPSHOT, weights, metadata)
    return path


def save_half(snapshot: Snapshot, path: Path) -> None:
    """Write a snapshot with weights of float16, half as large, to share.

    Raises:
        UsageError: a weight is too large for it.
    """
    metadata = snapshot._asdict()
    del metadata["path"]
    weights = metadata.pop("weights")
    weights = {n: t.half() if t.is_floating_point() else t for n, t in weights.items()}
    if not all(bool(t.isfinite().all()) for t in weights.values()):
        raise UsageError("the network has weights above 65,504, the largest number of float16")
    save_tensors(path, SNAPSHOT, weights, metadata)


def load_snapshot(path: Path) -> Snapshot:
    """Read a snapshot; weights of half precision become float32.

    Raises:
        UsageError: the file is missing, damaged or not a snapshot.
    """
    weights, meta = load_tensors(path, SNAPSHOT)
    for name, t in weights.items():
        if t.is_floating_point() and t.element_size() == 2:
            weights[name] = t.float()
    return _parse(path, weights, meta)


def _parse(path: Path, weights: dict[str, Any], meta: Mapping[str, Any]) -> Snapshot:
    """Return the snapshot of these weights and metadata.

    Raises:
        UsageError: they are not those of a snapshot.
    """
    try:
        snapshot = Snapshot(
            path=path,
            weights=weights,
            game=typed(meta["game"], str),
            action_meanings=[typed(name, str) for name in typed(meta["action_meanings"], list)],
            observation_shape=tuple(typed(n, int) for n in meta["observation_shape"]),
            observation_dtype=typed(meta["observation_dtype"], str),
            epoch=typed(meta["epoch"], int),
            total_train_steps=typed(meta["total_train_steps"], int),
            weight_updates=typed(meta["weight_updates"], int),
            config=without_places(typed(meta["config"], dict)),
        )
    except (KeyError, TypeError, ValueError) as error:
        reason = f"is not a Simple DQN snapshot, or is damaged ({error})"
        raise UsageError(f"'{path}' {reason}") from None
    return snapshot


def load_training_state(snapshot: Snapshot) -> dict[str, Any] | None:
    """Read the training state that belongs to a snapshot; None if there is no such file.

    Raises:
        UsageError: the file is damaged, or belongs to other weights.
    """
    path = resume_path(snapshot.path)
    if not path.exists():
        return None
    try:
        state, meta = load_tensors(path, TRAINING_STATE)
        if meta.get("weights") != _digest(snapshot.weights):
            raise UsageError(f"'{path}' does not belong to '{snapshot.path}'")
    except UsageError as error:
        raise UsageError(f"{error}; move it away to continue with a new optimiser") from None
    return state


def fitting_weights(weights: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Return ``weights``, which must have the names, shapes and types of a network's ``own``.

    Raises:
        UsageError: they do not have them.
    """
    try:
        fitting: dict[str, Any] = conform(weights, own, "weights")
    except (TypeError, ValueError):
        raise UsageError(
            "the weights are of another network (number of actions or layers)"
        ) from None
    return fitting


def fitting_training_state(state: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Return the parts of a training state that ``own`` also has: target network, optimiser.

    Raises:
        UsageError: a part has other names, shapes or types.
    """
    fitting: dict[str, Any] = {}
    for prefix, what in (
        ("target.", "the target network is another network's"),
        ("optimizer.", "the optimiser's state is another optimiser's or network's"),
    ):
        theirs, ours = _under(prefix, state), _under(prefix, own)
        if prefix == "target." and not ours:
            continue  # the run no longer has a target network
        try:
            fitting |= conform(theirs, ours) if theirs else {}
        except (TypeError, ValueError):
            raise UsageError(what) from None
    return fitting


def _under(prefix: str, tensors: dict[str, Any]) -> dict[str, Any]:
    return {name: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _digest(weights: dict[str, Any]) -> str:
    """Return the checksum that ties a training state to its weights."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].detach().cpu().numpy().tobytes())
    return digest.hexdigest()
