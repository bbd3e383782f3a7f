"""Experience files: games played by a person or a network, for learning from them.

A tensor file (see ``files``) with the slots of a replay memory (see ``screen_codec``).

Nothing in it depends on the clock. It records the game, its actions and how its screens were made,
and can only be loaded where these are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simple_dqn.environment import Environment
from simple_dqn.errors import UsageError
from simple_dqn.options.definitions import RECIPE, SCREEN_RECIPE, Config
from simple_dqn.replay_memory import Experience
from simple_dqn.storage.files import load_tensors, save_tensors
from simple_dqn.storage.screen_codec import pack, unpack

KIND = "file of experience"


def save_experience(
    path: Path, experience: Experience, config: Config, game: str, environment: Environment
) -> None:
    """Write an experience file."""
    save_tensors(path, KIND, pack(experience), _origin(config, game, environment))


def load_experience(path: Path, config: Config, game: str, environment: Environment) -> Experience:
    """Read an experience file.

    Raises:
        UsageError: it is missing, damaged, or from another game or other options.
    """
    tensors, metadata = load_tensors(path, KIND)
    here = _origin(config, game, environment)
    for name, own in here.items():
        if (theirs := metadata.get(name)) != own:
            raise UsageError(f"'{path}' cannot be loaded here: {_difference(theirs, own)}")
    shape, dtype = environment.observation_shape, environment.observation_dtype
    try:
        experience = unpack(tensors, shape, dtype, len(environment.action_meanings))
        if not experience.starts[0]:
            raise ValueError("it does not begin with a start")
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"'{path}' is damaged ({error})") from None
    return experience


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
