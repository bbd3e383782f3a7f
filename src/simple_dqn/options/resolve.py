"""From the given options to the complete configuration of a run, checked."""

from __future__ import annotations

import difflib
import math
import re
import secrets
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from simple_dqn.errors import UsageError
from simple_dqn.options.definitions import Config, groups, options, without_places
from simple_dqn.options.option import PATHS, number_text
from simple_dqn.options.presets import PRESETS

# The ε that --optimizer_epsilon 0 stands for.
OPTIMIZER_EPSILON = {"rmsprop": 1e-6, "adam": 1e-8, "adadelta": 1e-6, "sgd": 0.0}
DEEPMIND_EPSILON = 0.01  # of centred rmsprop


def resolve(given: Mapping[str, Any], base: Mapping[str, Any] | None = None) -> Config:
    """Return the configuration for the options ``given`` on top of ``base`` or of the preset.

    A seed of -1 is replaced by a new one, an optimiser's ε of 0 by its usual value.

    Args:
        given: the options that the user set, {option: value}.
        base: the options of the run to continue from (a snapshot's), or None for a new run.

    Raises:
        UsageError: an option is unknown, has the wrong type or is out of range, or two options
            contradict each other.
    """
    check(base or {})
    check(given)
    known = {f.name: (f, kind) for _, f, kind in options()}
    values: dict[str, Any] = {name: f.default for name, (f, _) in known.items()}
    preset = given.get("preset", (base or {}).get("preset", values["preset"]))
    if base:
        values.update(base)
    elif preset in PRESETS:  # an unknown one is rejected below
        values.update(PRESETS[preset])
    another_optimizer = changes_optimizer(given, values)
    values.update(given)

    for name, (f, kind) in known.items():
        values[name] = _checked(name, values[name], f.default, f.metadata, kind)
    _check_effects(values, given)
    for message in _contradictions(values):
        raise UsageError(message)
    interval(values["checkpoint_every"])
    if values["random_seed"] == -1:
        values["random_seed"] = secrets.randbelow(2**31)
    if another_optimizer:
        values["optimizer_epsilon"] = given.get("optimizer_epsilon", 0)
    if values["optimizer_epsilon"] == 0:
        centered = values["optimizer"] == "rmsprop" and values["rmsprop_centered"]
        values["optimizer_epsilon"] = (
            DEEPMIND_EPSILON if centered else OPTIMIZER_EPSILON[values["optimizer"]]
        )

    return Config(
        **{
            name: group(**{f.name: values[f.name] for f in fields(group)})
            for name, group in groups().items()
        }
    )


def changed_options(config: Config) -> dict[str, Any]:
    """Return the options in which a run differs from its preset, {option: value}."""
    preset = resolve({"preset": config.common.preset}).to_dict()
    return {
        name: value
        for name, value in without_places(config.to_dict()).items()
        if value != preset[name] and name != "environment"
    }


def interval(text: str) -> tuple[float, int]:
    """Return the value of ``--checkpoint_every`` as (seconds, 0) or (0, steps).

    Raises:
        UsageError: it is neither.
    """
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)([ms]?)", text, re.ASCII)
    if not match or not float(match[1]) or (not match[2] and not match[1].isdecimal()):
        raise UsageError(
            f"--checkpoint_every must be minutes as 10m, seconds as 30s, or a number of steps, "
            f"not '{text}' (for none: --no_checkpoint)"
        )
    if match[2]:
        return float(match[1]) * (60 if match[2] == "m" else 1), 0
    return 0.0, int(match[1])


def check(given: Mapping[str, Any]) -> None:
    """Raise UsageError for an unknown option, a wrong type or a value out of range."""
    known = {f.name: (f, kind) for _, f, kind in options()}
    for name, value in given.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=2)
            also = f" (did you mean {' or '.join(near)}?)" if near else ""
            raise UsageError(f"there is no option '{name}'{also}")
        field, kind = known[name]
        _checked(name, value, field.default, field.metadata, kind)


def changes(given: Mapping[str, Any], base: Mapping[str, Any], name: str) -> bool:
    """Return whether an option is given with another value than it has in ``base``."""
    return name in given and given[name] != base.get(name)


def changes_optimizer(given: Mapping[str, Any], base: Mapping[str, Any]) -> bool:
    """Return whether the optimiser is given and another than that of ``base``."""
    return changes(given, base, "optimizer") or changes(given, base, "rmsprop_centered")


def _checked(name: str, value: Any, default: Any, meta: Mapping[str, Any], kind: type) -> Any:
    """Return ``value`` as ``kind``; raise UsageError for a wrong type or a value out of range."""
    if value is None and default is None:
        return None
    if kind == PATHS:
        if not (isinstance(value, list | tuple) and all(type(path) is str for path in value)):
            raise UsageError(f"--{name} takes names of files, not {value!r}")
        return tuple(value)
    wanted = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}[kind]
    if kind is float and type(value) is int:
        value = float(value) if abs(value) <= sys.float_info.max else math.inf
    if type(value) is not kind or (isinstance(value, float) and not math.isfinite(value)):
        raise UsageError(f"--{name} must be {wanted}, not {value!r}")
    custom_class = "MODULE:CLASS" in meta["choices"] and ":" in str(value)
    if meta["choices"] and value not in meta["choices"] and not custom_class:
        raise UsageError(f"--{name} must be one of {', '.join(meta['choices'])}, not '{value}'")
    low, high = meta["low"], meta["high"]
    if (low is not None and value < low) or (high is not None and value > high):
        unit = f" {meta['unit']}" if meta["unit"] else ""
        raise UsageError(f"--{name} must be {_range(low, high)}{unit}, not {value}")
    return value


def _range(low: float | None, high: float | None) -> str:
    """Return the range from ``low`` to ``high`` in words; one of them may be None."""
    if low is not None and high is not None:
        return f"from {number_text(low)} to {number_text(high)}"
    if low is not None:
        return f"{number_text(low)} or more"
    return f"{number_text(high or 0)} or less"


def _check_effects(values: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raise UsageError for a given option that has no effect."""
    for _, f, _ in options():
        for other, needed in f.metadata["only"].items():
            if f.name in given and values[other] not in needed:
                raise UsageError(
                    f"--{f.name} has no effect with --{other} {values[other]}: leave it out"
                )
    for name, end in (
        ("n_step_decay_steps", "n_step_end"),
        ("priority_decay_steps", "priority_exponent_end"),
    ):
        if given.get(name) and values[end] is None:
            raise UsageError(f"--{name} has no effect without --{end}: leave it out")
    if values["optimizer"] == "adadelta" and "learning_rate" in given:
        raise UsageError("--learning_rate has no effect with --optimizer adadelta: leave it out")
    if values["play_games"] and (given.get("load_experience") or given.get("offline")):
        raise UsageError("--play_games learns nothing: leave out --load_experience and --offline")


def _contradictions(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield a message for each contradiction between options."""
    low, high = values["min_reward"], values["max_reward"]
    if low > high:
        yield f"--min_reward {number_text(low)} is above --max_reward {number_text(high)}"
    slots = values["replay_size"] // values["num_envs"]
    least = values["history_length"] + (1 if values["history_padding"] == "zero" else 3)
    if slots < least:
        yield (
            f"--replay_size {values['replay_size']} is too small: {values['num_envs']} games with "
            f"states of {values['history_length']} screens need at least "
            f"{least * values['num_envs']}"
        )
    for name, start, end in (
        ("exploration", "exploration_rate_start", "exploration_rate_end"),
        ("learning_rate", "learning_rate", "learning_rate_end"),
    ):
        if values[f"{name}_schedule"] == "exponential" and min(values[start], values[end]) <= 0:
            yield f"--{name}_schedule exponential needs --{start} and --{end} above 0"
    if values["optimizer"] == "adadelta" and values["learning_rate_schedule"] != "constant":
        yield (
            "--optimizer adadelta has no learning rate to schedule: "
            "add --learning_rate_schedule constant"
        )
    if values["play_games"] and (values["display_screen"] or values["page"] is not None):
        yield "--play_games has no display: play.sh shows its games"
    if values["noisy"] and not values["hidden_layers"]:
        yield "--noisy needs --hidden_layers of 1 or more"
    if values["batch_norm"] and values["batch_size"] == 1:
        yield "--batch_norm needs a --batch_size of 2 or more"
    if values["datatype"] == "float16" and values["clip_error"] == 0:
        yield "--datatype float16 needs a --clip_error: larger errors overflow"
