"""The profile commands: where the time of a phase is spent."""

from __future__ import annotations

import cProfile
import pstats
from pathlib import Path
from typing import Any

from simple_dqn.commands.build import Run, build
from simple_dqn.environments.games import find_game, find_preset
from simple_dqn.options.presets import PROFILE_DEFAULTS
from simple_dqn.options.resolve import resolve
from simple_dqn.storage.run_files import file_name

Given = dict[str, Any]  # the options that the user gave


def profile(phase: str, name: str, given: Given) -> None:
    """Run one phase under the profiler and print where its time was spent."""
    kind, game, rom = find_game(name, given.get("environment", "auto"))
    given = {**given, "environment": kind}
    if "preset" not in given:
        given["preset"] = find_preset(kind, game)
    config = resolve({**PROFILE_DEFAULTS[f"profile_{phase}"], **given})
    updates = config.run.train_steps // config.agent.train_frequency if phase == "train" else 0
    with build(config, game, rom, updates=updates) as run:
        if phase != "random":
            run.agent.play_random(config.run.random_steps)
        profiler = cProfile.Profile()
        profiler.runcall(run_phase, run, phase)
    stats = pstats.Stats(profiler)
    stats.sort_stats("tottime").print_stats(25)
    output = Path(f"results/{file_name(game)}_{phase}.prof")
    output.parent.mkdir(parents=True, exist_ok=True)
    stats.dump_stats(output)
    print(f"The whole profile is in {output}, for any viewer of Python profiles.")


def run_phase(run: Run, phase: str) -> None:
    """Run the phase to profile."""
    options = run.config.run
    if phase == "random":
        run.agent.play_random(options.random_steps)
    elif phase == "train":
        run.agent.train(options.train_steps)
    else:
        run.agent.test(options.test_steps)
