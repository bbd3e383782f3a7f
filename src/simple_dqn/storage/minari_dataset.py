"""Experience as datasets of Minari, the format of offline data of Gymnasium's ecosystem.

``minari:NAME`` instead of a file's name. An episode of Minari has T + 1 observations and T actions;
here it is a start slot and T slots (see ``replay_memory``). A last step that is not terminal was
truncated. Screens are stored without loss.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from simple_dqn.environment import Environment
from simple_dqn.errors import UsageError
from simple_dqn.options.resources import available_memory
from simple_dqn.replay_memory import Experience
from simple_dqn.storage.files import set_aside

PREFIX = "minari:"
ORIGIN = "simple_dqn"  # the entry of a dataset's metadata with what must be equal here


def is_dataset(name: str | Path) -> bool:
    """Return whether a name of experience is that of a dataset."""
    return str(name).startswith(PREFIX)


def require_new_dataset(name: str, overwrite: bool) -> None:
    """Raise UsageError for a dataset that exists or cannot be named so, or without the extra."""
    place = _place(name)
    if place.exists() and not overwrite:
        raise UsageError(f"'{name}' exists: give another name, or --overwrite")


def save_dataset(
    name: str, experience: Experience, origin: Mapping[str, Any], num_actions: int
) -> None:
    """Write a dataset, replacing one of this name.

    Raises:
        UsageError: Minari does not allow the name.
        OSError: it cannot be written; one that was there is kept.
    """
    minari = _minari()
    from minari.data_collector.episode_buffer import EpisodeBuffer

    shape, dtype = experience.screens.shape[1:], experience.screens.dtype
    low, high = (0, 255) if dtype == np.uint8 else (-np.inf, np.inf)
    place = _place(name)
    old = set_aside(place)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it asks for author, code and a reference score
            dataset = minari.create_dataset_from_buffers(
                _id(name),
                [EpisodeBuffer(id=n, **e) for n, e in enumerate(_episodes(experience))],
                observation_space=spaces.Box(low, high, shape, dtype.type),
                action_space=spaces.Discrete(num_actions),
                algorithm_name="play", description=f"{origin['game']}, played with Simple DQN",
                jpeg_encoding=False,
            )  # fmt: skip
        dataset.storage.update_metadata({ORIGIN: json.dumps(origin)})
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        if old:
            old.rename(place)
        raise
    if old:
        shutil.rmtree(old)


def load_dataset(name: str, environment: Environment) -> tuple[Experience, dict[str, Any] | None]:
    """Return (experience, what it was played with if it was here) of a dataset.

    Raises:
        UsageError: there is none, it is damaged, too large, or of other observations or actions.
    """
    minari, place = _minari(), _place(name)
    shape, dtype = environment.observation_shape, environment.observation_dtype
    names = environment.action_meanings
    try:
        kept = _require_harmless(place / "data")
        dataset = minari.load_dataset(_id(name))
        actions, seen = dataset.action_space, dataset.observation_space
        if not isinstance(actions, spaces.Discrete) or actions.n != len(names) or actions.start:
            raise UsageError(f"'{name}' has the actions {actions}, but there are {len(names)} here")
        if not isinstance(seen, spaces.Box) or (seen.shape, seen.dtype) != (shape, dtype):
            raise UsageError(f"'{name}' has the observations {seen}, here they are {dtype} {shape}")
        parts = [_slots(episode, dtype, len(names)) for episode in dataset.iterate_episodes()]
    except FileNotFoundError:
        raise UsageError(f"there is no dataset '{_id(name)}' of Minari on this machine") from None
    except UsageError:
        raise
    except Exception as error:  # of many kinds, for a dataset that anyone may have made
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise UsageError(f"'{name}' is no dataset, or is damaged ({reason})") from None
    if not parts:
        raise UsageError(f"'{name}' has no episodes")
    arrays: Any = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Experience(*arrays), kept


def _minari() -> Any:
    """Return the package.

    Raises:
        UsageError: the extra is not installed.
    """
    try:
        import h5py  # noqa: F401
        import minari
    except ImportError:
        reason = "a dataset of Minari needs the extra 'minari': pip install '.[minari]'"
        raise UsageError(reason) from None
    return minari


def _id(name: str) -> str:
    """Return Minari's name of a dataset."""
    return name.removeprefix(PREFIX)


def _place(name: str) -> Path:
    """Return the folder of a dataset.

    Raises:
        UsageError: it cannot be a dataset's name.
    """
    _minari()
    from minari.dataset.minari_dataset import parse_dataset_id
    from minari.storage import get_dataset_path

    try:
        parse_dataset_id(_id(name))
    except (ValueError, TypeError):
        form = f"{PREFIX}[namespace/]name-v0"
        raise UsageError(f"'{name}' cannot be a dataset's name: give {form}") from None
    return Path(get_dataset_path(_id(name)))


def _require_harmless(data: Path) -> dict[str, Any] | None:
    """Return what a dataset was played with, if it was here.

    Without its spaces, Minari would make the environment that it names, and so run its code; and a
    compressed file of a few kB may claim any size.

    Raises:
        FileNotFoundError: there is no dataset.
        ValueError: it has no spaces, another format, or more than the free memory holds.
    """
    import h5py

    metadata = json.loads((data / "metadata.json").read_text())
    if not all(isinstance(metadata[f"{what}_space"], str) for what in ("observation", "action")):
        raise ValueError("it does not say its spaces")
    sizes: list[int] = []
    with h5py.File(data / "main_data.hdf5", "r") as file:
        file.visititems(lambda _, item: sizes.append(getattr(item, "nbytes", 0)))
    if sum(sizes) > available_memory():
        raise ValueError(f"it needs {sum(sizes) / 1e9:.1f} GB of memory")
    kept = metadata.get(ORIGIN)
    return dict(json.loads(kept)) if kept else None


def _episodes(experience: Experience) -> Iterator[dict[str, Any]]:
    """Yield the episodes that have steps, as Minari's buffers take them."""
    starts = np.flatnonzero(experience.starts)
    for start, end in zip(starts, [*starts[1:], len(experience.starts)], strict=True):
        steps = experience.cut(slice(start + 1, end))
        if len(steps.starts):
            truncations = np.zeros(len(steps.starts), np.bool_)
            truncations[-1] = not steps.terminals[-1]
            yield dict(
                observations=experience.screens[start:end], actions=steps.actions.astype(np.int64),
                rewards=steps.rewards, terminations=steps.terminals, truncations=truncations,
            )  # fmt: skip


def _slots(episode: Any, dtype: np.dtype[Any], num_actions: int) -> Experience:
    """Return an episode as slots; its end is a terminal only where Minari says so."""
    steps = len(episode.rewards)
    screens = np.asarray(episode.observations, dtype)
    starts = np.zeros(steps + 1, np.bool_)
    starts[0] = True
    if len(screens) != steps + 1 or np.any(episode.terminations[:-1]):
        raise ValueError("an episode whose observations do not fit its steps")
    played = np.asarray(episode.actions)
    if played.ndim != 1 or np.any((played < 0) | (played >= num_actions)):
        raise ValueError("actions that the game does not have")
    if not (np.isfinite(screens).all() and np.isfinite(episode.rewards).all()):
        raise ValueError("numbers that are not finite")
    actions, rewards, terminals = (
        np.concatenate([[0], np.asarray(values)])
        for values in (episode.actions, episode.rewards, episode.terminations)
    )
    return Experience(
        screens, actions.astype(np.int32), rewards.astype(np.float32), terminals.astype(np.bool_),
        starts,
    )  # fmt: skip
