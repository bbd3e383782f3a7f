"""The command ``import``: a snapshot of a network that another package trained."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from simple_dqn.commands.build import build
from simple_dqn.commands.train import configure
from simple_dqn.environments.games import find_game, find_preset, make_environment
from simple_dqn.errors import UsageError
from simple_dqn.options.resolve import resolve
from simple_dqn.storage.files import require_place
from simple_dqn.storage.foreign.network import (
    ForeignNetwork,
    Shape,
    actions_first,
    same_sizes,
    shape_of,
)
from simple_dqn.storage.foreign.read import read_foreign
from simple_dqn.storage.snapshot import save_snapshot, snapshot_path

logger = logging.getLogger(__name__)

PRESETS = {"screen": "nature", "board": "minatar", "vector": "vector"}
ALL_ACTIONS = 18  # of the console
TOLD = (  # of the options that a source implies: what is not the network's own shape
    "preset", "resize", "conv1_padding", "fire_on_reset", "minimal_action_set", "quantiles",
    "random_starts_unit", "color_averaging",
)  # fmt: skip


def import_network(path: Path, label: str, given: dict[str, Any]) -> None:
    """Write a snapshot of another package's network.

    Raises:
        UsageError: the file cannot be read, its network does not play the game, or there is such a
            snapshot.
    """
    name = given.pop("game")
    foreign = read_foreign(path)
    shape = shape_of(foreign.layers)
    kind, game, rom = find_game(name, given.get("environment", "auto"))
    try:
        implied = implied_options(foreign, shape, (kind, game, rom), given)
        config = configure(kind, game, label, {**implied, **given})
        target = snapshot_path(config.run.save_weights_prefix, foreign.epoch)
        require_place(target, "save_weights_prefix", instead="label or ")
        if target.exists() and not config.run.overwrite:
            raise UsageError(f"'{target}' exists: give another label, or --overwrite true")
        with build(config, game, rom, with_memory=False, with_tests=False) as run:
            meanings = run.environment.action_meanings
            weights = fitted(foreign, run.network.weights(), len(meanings))
            save_snapshot(
                config.run.save_weights_prefix,
                weights=weights,
                training_state=None,
                game=game,
                action_meanings=meanings,
                observation_shape=run.environment.observation_shape,
                observation_dtype=run.environment.observation_dtype.name,
                epoch=foreign.epoch,
                total_train_steps=0,
                weight_updates=0,
                config=config,
            )
    except UsageError as error:
        raise UsageError(f"'{path}', a network of {foreign.source}: {error}") from None
    told = ", ".join(
        f"{k} {implied[k]}"
        for k in TOLD
        if k in implied and k not in given and (k, implied[k]) != ("quantiles", 1)
    )
    logger.info("%s: a network of %s for %d actions", path, foreign.source, len(meanings))
    logger.info("options that it implies: %s", told)
    for sentence in foreign.differs:
        logger.info("%s", sentence)
    logger.info("saved %s", target)


def implied_options(
    foreign: ForeignNetwork,
    shape: Shape,
    found: tuple[str, str, Path | None],
    given: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the options that a network's source and shape imply, for a game.

    Args:
        foreign, shape: the network.
        found: (kind, game, ROM), see ``find_game``.
        given: the user's options.

    Raises:
        UsageError: the game has other observations or actions.
    """
    kind, game, rom = found
    preset = PRESETS[shape.kind]
    if find_preset(kind, game) != preset:
        raise UsageError(f"it sees {shape.kind}s, which {game} does not show")
    implied = {"preset": preset, **foreign.options, **shape.options}
    config = resolve({**implied, **given, "environment": kind})
    environment = make_environment(config, game, rom, 1, np.random.SeedSequence(0))
    environment.close()
    names = environment.action_meanings
    if shape.kind == "screen":
        implied["history_length"] = shape.inputs
    else:
        inputs = environment.observation_shape[0]
        if shape.inputs % inputs:
            raise UsageError(f"it takes {shape.inputs} inputs, {game} gives {inputs}")
        implied["history_length"] = shape.inputs // inputs
    if foreign.presses_fire and rom and names[1:2] == ["FIRE"]:
        implied["fire_on_reset"] = True
    counts = {len(names): dict[str, Any]()}
    if rom and "minimal_action_set" not in given:
        counts.setdefault(ALL_ACTIONS, {"minimal_action_set": False})
    for count, options in counts.items():  # of a multiple of both, the fewer are the usual ones
        quantiles, rest = divmod(shape.outputs, count)
        if not rest and (quantiles == 1 or foreign.quantiles_first):
            return {**implied, **options, "quantiles": quantiles}
    there = " or ".join(map(str, counts))
    raise UsageError(f"it has {shape.outputs} outputs, but {game} has {there} actions")


def fitted(foreign: ForeignNetwork, own: Mapping[str, Any], actions: int) -> dict[str, Any]:
    """Return the weights of a network under the names of ``own``, with its shapes.

    Raises:
        UsageError: the shapes differ.
    """
    layers = same_sizes(foreign.layers)
    if foreign.quantiles_first:
        layers[-1] = actions_first(layers[-1], actions)
    tensors = [tensor for layer in layers for tensor in layer]
    for (name, expected), tensor in zip(own.items(), tensors, strict=True):
        if tensor.shape != expected.shape:
            raise UsageError(
                f"its {name} is {list(tensor.shape)}, here {list(expected.shape)}: screens of "
                f"another size need --screen_width and --screen_height"
            )
    return dict(zip(own, (tensor.contiguous() for tensor in tensors), strict=True))
