"""All options: the configuration of a run, and the lists that follow from their declarations.

The options are declared in ``environment_options``, ``learning_options`` and ``command_options``,
one dataclass per group. ``--help``, the configuration stored with the results, the metadata of
snapshots, the presets and the lists below all derive from those fields. The value of an option
comes from, in rising order of precedence: its default (which is the preset ``nature``), the
preset, the snapshot or checkpoint that a run continues from, the command line.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from types import NoneType
from typing import Any, get_args, get_type_hints

from simple_dqn.options.command_options import (
    CommonOptions,
    CompareOptions,
    ExportOptions,
    PlotOptions,
    RunOptions,
    SweepOptions,
    VisualizationOptions,
    WatchOptions,
)
from simple_dqn.options.environment_options import EnvironmentOptions
from simple_dqn.options.learning_options import (
    AgentOptions,
    BackendOptions,
    NetworkOptions,
    ReplayOptions,
)


@dataclass(frozen=True)
class Config:
    """All options of a run, by group."""

    environment: EnvironmentOptions = field(default_factory=EnvironmentOptions)
    replay: ReplayOptions = field(default_factory=ReplayOptions)
    network: NetworkOptions = field(default_factory=NetworkOptions)
    backend: BackendOptions = field(default_factory=BackendOptions)
    agent: AgentOptions = field(default_factory=AgentOptions)
    run: RunOptions = field(default_factory=RunOptions)
    watch: WatchOptions = field(default_factory=WatchOptions)
    plot: PlotOptions = field(default_factory=PlotOptions)
    sweep: SweepOptions = field(default_factory=SweepOptions)
    compare: CompareOptions = field(default_factory=CompareOptions)
    visualization: VisualizationOptions = field(default_factory=VisualizationOptions)
    export: ExportOptions = field(default_factory=ExportOptions)
    common: CommonOptions = field(default_factory=CommonOptions)

    def to_dict(self) -> dict[str, Any]:
        """The options of ``train`` as one flat dictionary, in the order of ``--help``."""
        return {
            f.name: getattr(getattr(self, group), f.name)
            for group, f, _ in options()
            if "train" in f.metadata["commands"]
        }


@cache
def groups() -> dict[str, type[Any]]:
    """Return {name: dataclass} of every group of options."""
    return get_type_hints(Config)


@cache
def options() -> tuple[tuple[str, dataclasses.Field[Any], type], ...]:
    """Return (group name, field, type of a value) of every option, in the order of ``--help``."""
    found = []
    for group, declared in groups().items():
        hints = get_type_hints(declared)
        for f in fields(declared):
            kind, kinds = hints[f.name], get_args(hints[f.name])
            if NoneType in kinds:  # the values of `float | None` are floats
                (kind,) = set(kinds) - {NoneType}
            found.append((group, f, kind))
    return tuple(found)


_OF_TRAINING = {f.name: f.metadata for _, f, _ in options() if "train" in f.metadata["commands"]}

# What does not change what a run computes. It is not stored in snapshots, so that equal runs have
# equal snapshots, wherever they were started.
PLACES = frozenset(name for name, meta in _OF_TRAINING.items() if meta["scope"] != "run")
# Those of PLACES that a checkpoint stores, that ``resume`` asks for again, and that
# ``train --from`` takes over.
KEPT_IN_CHECKPOINT = tuple(n for n, meta in _OF_TRAINING.items() if meta["on_resume"] == "keep")
ASKED_AGAIN = tuple(name for name, meta in _OF_TRAINING.items() if meta["on_resume"] == "ask")
REPEATED = tuple(name for name, meta in _OF_TRAINING.items() if meta["repeated"])
# How observations are made and what actions do: for Atari games, and for other games with screens.
RECIPE = tuple(name for name, meta in _OF_TRAINING.items() if meta["recipe"])
SCREEN_RECIPE = tuple(name for name, meta in _OF_TRAINING.items() if meta["recipe"] == "screen")
# What has no effect in ``play`` without --save_experience.
SAVED_PLAY = tuple(name for name, meta in _OF_TRAINING.items() if meta["saved_play"])


def without_places(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those options that change what a run computes, {option: value}.

    They are what a snapshot stores. Files from anyone are read through this function, too: none of
    the options that it returns is a file to write or a callback to run.
    """
    return {k: v for k, v in values.items() if k in _OF_TRAINING and k not in PLACES}
