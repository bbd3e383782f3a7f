"""Experience files: games played by a person or a network, for learning from them.

A tensor file (see ``files``) with the slots of a replay memory (see ``screen_codec``).

Nothing in it depends on the clock. It records the game, its actions and how its screens were made,
and can only be loaded where these are the same.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simple_dqn.environment import Environment
from simple_dqn.errors import UsageError
from simple_dqn.options.definitions import RECIPE, SCREEN_RECIPE, Config
from simple_dqn.replay_memory import Experience
from simple_dqn.storage.files import load_tensors, save_tensors
from simple_dqn.storage.minari_dataset import is_dataset, load_dataset, save_dataset
from simple_dqn.storage.screen_codec import pack, unpack

logger = logging.getLogger(__name__)

KIND = "file of experience"


def save_experience(
    name: str | Path, experience: Experience, config: Config, game: str, environment: Environment
) -> None:
    """Write an experience file, or a dataset of Minari."""
    origin = _origin(config, game, environment)
    if is_dataset(name):
        save_dataset(str(name), experience, origin, len(environment.action_meanings))
    else:
        save_tensors(Path(name), KIND, pack(experience), origin)


def load_experience(
    name: str | Path, config: Config, game: str, environment: Environment
) -> Experience:
    """Read an experience file, or a dataset of Minari.

    Raises:
        UsageError: it is missing, damaged, or from another game or other options.
    """
    if is_dataset(name):
        experience, origin = load_dataset(str(name), environment)
        if origin is None:
            logger.warning("%s does not say with which options it was played", name)
        else:
            _require_same(name, origin, _origin(config, game, environment))
        return experience
    tensors, metadata = load_tensors(Path(name), KIND)
    _require_same(name, metadata, _origin(config, game, environment))
    shape, dtype = environment.observation_shape, environment.observation_dtype
    try:
        experience = unpack(tensors, shape, dtype, len(environment.action_meanings))
        if not experience.starts[0]:
            raise ValueError("it does not begin with a start")
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"'{name}' is damaged ({error})") from None
    return experience


def _require_same(name: str | Path, metadata: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Raise UsageError for experience that was played with something else."""
    for key, own in here.items():
        if (theirs := metadata.get(key)) != own:
            raise UsageError(f"'{name}' cannot be loaded here: {_difference(theirs, own)}")


def _origin(config: Config, game: str, environment: Environment) -> dict[str, Any]:
    """Return what must be equal for experience to be loaded."""
    options = config.to_dict()
    kind = options["environment"]
    screens = len(environment.observation_shape) == 2
    recipe = RECIPE if kind == "ale" else SCREEN_RECIPE if kind == "gym" and screens else ()
    return dict(
        environment=kind,
        game=game,
        action_meanings=environment.action_meanings,
        recipe={name: options[name] for name in recipe},
        observation=[environment.observation_dtype.name, *environment.observation_shape],
    )


def _difference(theirs: Any, own: Any) -> str:
    """Describe how two entries of ``_origin`` differ."""
    if type(own) is not type(theirs) or (isinstance(own, Mapping) and own.keys() != theirs.keys()):
        return "it does not say how it was played"
    if isinstance(own, Mapping):
        given = [f"--{n} {str(theirs[n]).lower():.20}" for n in own if theirs[n] != own[n]]
        return f"it was played with {' '.join(given)}"
    texts = [" ".join(map(str, x)) if isinstance(x, list) else str(x) for x in (theirs, own)]
    return f"it was played with '{texts[0]:.80}', not '{texts[1]:.80}'"
