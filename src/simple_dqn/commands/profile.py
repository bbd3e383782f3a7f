"""The profile commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from simple_dqn.options.presets import PROFILE_DEFAULTS
from simple_dqn.options.resolve import resolve

if TYPE_CHECKING:
    pass

Given = dict[str, Any]  # the options that the user gave


def profile(phase: str, name: str, given: Given) -> None:
    """Run one phase under the profiler and print where its time went."""
    import cProfile
    import pstats

    from simple_dqn.commands.build import build
    from simple_dqn.environments.games import find_game, find_preset
    from simple_dqn.networks.acceleration import accelerate
    from simple_dqn.storage.run_files import file_name

    kind, game, rom = find_game(name, given.get("environment", "auto"))
    given = {**given, "environment": kind}
    if "preset" not in given:
        given["preset"] = find_preset(kind, game)
    config = resolve({**PROFILE_DEFAULTS[f"profile_{phase}"], **given})
    with build(config, game, rom) as run:
        if phase == "train" and config.backend.acceleration:
            accelerate(run.network, config.run.train_steps // config.agent.train_frequency)
        profiler = cProfile.Profile()
        if phase != "random":
            run.agent.play_random(config.run.random_steps)
        profiler.enable()
        if phase == "random":
            run.agent.play_random(config.run.random_steps)
        elif phase == "train":
            run.agent.train(config.run.train_steps)
        else:
            run.agent.test(config.run.test_steps)
        profiler.disable()
        stats = pstats.Stats(profiler)
        stats.sort_stats("tottime").print_stats(25)
        output = Path(f"results/{file_name(game)}_{phase}.prof")
        output.parent.mkdir(parents=True, exist_ok=True)
        stats.dump_stats(output)
        print(f"The whole profile is in {output}: any viewer of Python profiles opens it.")
