"""From the options that a user gave to the whole configuration of a run, checked."""

from __future__ import annotations

import difflib
import math
import re
import secrets
from collections.abc import Mapping
from typing import Any

from simple_dqn.errors import UsageError
from simple_dqn.options.definitions import (
    DEEPMIND_EPSILON,
    OPTIMIZER_EPSILON,
    PATHS,
    Config,
    options,
)
from simple_dqn.options.presets import PRESETS


def resolve(given: Mapping[str, Any], base: Mapping[str, Any] | None = None) -> Config:
    """Return the configuration for the options ``given`` on top of ``base`` or of the preset.

    A seed of -1 becomes a fresh one, an optimiser's ε of 0 its own.

    Args:
        given: what the user set, {option: value}.
        base: all options of the run to go on from (a snapshot's), or None for a new run.

    Raises:
        UsageError: an unknown option, a wrong type, a value out of range, a clash of two.
    """
    check(base or {})
    check(given)
    known = {f.name: (group, f, hint) for group, f, hint in options()}
    values: dict[str, Any] = {name: f.default for name, (_, f, _) in known.items()}
    preset = given.get("preset", (base or {}).get("preset", values["preset"]))
    if base:
        values.update(base)
    elif preset in PRESETS:  # an unknown one is refused with its choices below
        values.update(PRESETS[preset])
    defaults = dict(values)
    values.update(given)

    for name, (_, f, hint) in known.items():
        values[name] = _check(name, values[name], f.metadata, hint)
    _check_together(values, given)
    interval(values["checkpoint_every"])
    if values["random_seed"] == -1:
        values["random_seed"] = secrets.randbelow(2**31)
    if changes(given, defaults, "optimizer") or changes(given, defaults, "rmsprop_centered"):
        values["optimizer_epsilon"] = given.get("optimizer_epsilon", 0)
    if values["optimizer_epsilon"] == 0:
        centered = values["optimizer"] == "rmsprop" and values["rmsprop_centered"]
        values["optimizer_epsilon"] = (
            DEEPMIND_EPSILON if centered else OPTIMIZER_EPSILON[values["optimizer"]]
        )

    groups: dict[str, dict[str, Any]] = {}
    for name, (group, _, _) in known.items():
        groups.setdefault(group, {})[name] = values[name]
    every = Config()
    return Config(**{g: type(getattr(every, g))(**kw) for g, kw in groups.items()})


def interval(text: str) -> tuple[float, int]:
    """Return (seconds, 0) or (0, steps) of what ``--checkpoint_every`` takes.

    Raises:
        UsageError: it is neither.
    """
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)([ms]?)", text, re.ASCII)
    if not match or not float(match[1]) or (not match[2] and not match[1].isdecimal()):
        raise UsageError(
            f"--checkpoint_every is minutes as 10m, seconds as 30s, or a number of steps, "
            f"not '{text}' (for none: --no_checkpoint)"
        )
    if match[2]:
        return float(match[1]) * (60 if match[2] == "m" else 1), 0
    return 0.0, int(match[1])


def check(given: Mapping[str, Any]) -> None:
    """Raise UsageError for an unknown option, a wrong type or a value out of range."""
    known = {f.name: (f, hint) for _, f, hint in options()}
    for name, value in given.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=2)
            also = f" (did you mean {' or '.join(near)}?)" if near else ""
            raise UsageError(f"there is no option '{name}'{also}")
        field, hint = known[name]
        _check(name, value, field.metadata, hint)


def changes(given: Mapping[str, Any], base: Mapping[str, Any], name: str) -> bool:
    """Whether an option was given another value than it has in ``base``."""
    return name in given and given[name] != base.get(name)


def _check(name: str, value: Any, meta: Mapping[str, Any], kind: type) -> Any:
    """Return ``value`` as ``kind``; raise UsageError for another type or out of range."""
    if kind == PATHS:
        if not (isinstance(value, list | tuple) and all(type(path) is str for path in value)):
            raise UsageError(f"--{name} takes names of files, not {value!r}")
        return tuple(value)
    wanted = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}[kind]
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind or (isinstance(value, float) and not math.isfinite(value)):
        raise UsageError(f"--{name} takes {wanted}, not {value!r}")
    own_class = "MODULE:CLASS" in meta["choices"] and ":" in str(value)
    if meta["choices"] and value not in meta["choices"] and not own_class:
        raise UsageError(f"--{name} is one of {', '.join(meta['choices'])}, not '{value}'")
    low, high = meta["low"], meta["high"]
    if (low is not None and value < low) or (high is not None and value > high):
        allowed = (
            f"from {low:g} to {high:g}"
            if low is not None and high is not None
            else f"{low:g} or more"
            if low is not None
            else f"{high:g} or less"
        )
        unit = f" {meta['unit']}" if meta["unit"] else ""
        raise UsageError(f"--{name} is {allowed}{unit}, not {value}")
    return value


def _check_together(values: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raise UsageError for options that contradict each other or have no effect together."""
    for _, f, _ in options():
        for other, needed in f.metadata["only"].items():
            if f.name in given and values[other] not in needed:
                raise UsageError(
                    f"--{f.name} has no effect with --{other} {values[other]}: leave it out"
                )
    if values["optimizer"] == "adadelta" and "learning_rate" in given:
        raise UsageError("--learning_rate has no effect with --optimizer adadelta: leave it out")
    if values["min_reward"] > values["max_reward"]:
        raise UsageError(
            f"--min_reward {values['min_reward']:g} is above --max_reward {values['max_reward']:g}"
        )
    slots = values["replay_size"] // values["num_envs"]
    least = values["history_length"] + (1 if values["history_padding"] == "zero" else 3)
    if slots < least:
        raise UsageError(
            f"--replay_size {values['replay_size']} is too small: {values['num_envs']} games with "
            f"states of {values['history_length']} screens need at least "
            f"{least * values['num_envs']}"
        )
    for name, start, end in (
        ("exploration", "exploration_rate_start", "exploration_rate_end"),
        ("learning_rate", "learning_rate", "learning_rate_end"),
    ):
        if values[f"{name}_schedule"] == "exponential" and min(values[start], values[end]) <= 0:
            raise UsageError(f"--{name}_schedule exponential needs --{start} and --{end} above 0")
    if values["optimizer"] == "adadelta" and values["learning_rate_schedule"] != "constant":
        raise UsageError(
            "--optimizer adadelta has no learning rate to schedule: "
            "add --learning_rate_schedule constant"
        )
    if values["play_games"] and values["display_screen"]:
        raise UsageError("--play_games plays unseen: play.sh shows its games")
    if values["play_games"] and (given.get("load_experience") or given.get("offline")):
        raise UsageError("--play_games learns nothing: leave --load_experience and --offline out")
    if values["noisy"] and not values["hidden_layers"]:
        raise UsageError("--noisy needs --hidden_layers of 1 or more")
    if values["batch_norm"] and values["batch_size"] == 1:
        raise UsageError("--batch_norm needs a --batch_size of 2 or more")
    if values["datatype"] == "float16" and values["clip_error"] == 0:
        raise UsageError("--datatype float16 needs a --clip_error: larger errors overflow")
