"""The command test: the score of a snapshot and the test protocol."""

from __future__ import annotations

from typing import Any

from simple_dqn.commands.build import Run, build
from simple_dqn.commands.show import announce, show_and_record
from simple_dqn.commands.snapshots import (
    find_snapshots_game,
    load_snapshot_into,
    open_test_csv,
    snapshot_config,
)
from simple_dqn.environments.games import noop_frames
from simple_dqn.options.option import short_text
from simple_dqn.storage.snapshot import Snapshot

Given = dict[str, Any]  # the options that the user gave


def test(snapshot: Snapshot, given: Given) -> None:
    """Test a snapshot; print mean ± standard deviation, minimum, maximum and the protocol."""
    name = given.pop("game", None)
    config = snapshot_config(snapshot, given)
    game, rom = find_snapshots_game(snapshot, given.get("environment", ""), name)
    with build(config, game, rom, with_memory=False) as run:
        load_snapshot_into(run, snapshot)
        show_and_record(run)
        run.statistics.on_row += open_test_csv(config)
        announce(run)
        run.agent.test(steps=config.run.test_steps, games=config.run.test_games)
        print(report(run, snapshot))


def report(run: Run, snapshot: Snapshot) -> str:
    """Return the result of a test: scores and protocol."""
    row, env = run.statistics.row, run.config.environment
    scores = (
        "mean {average_reward:.2f} ± {std_game_reward:.2f} (standard deviation), "
        "minimum {low}, maximum {high}".format(
            low=short_text(row["min_game_reward"]), high=short_text(row["max_game_reward"]), **row
        )
        if row["nr_games"]
        else "no game ended: give more --test_steps, or --test_games"
    )
    if snapshot.config.get("environment") == "ale":
        least, most = noop_frames(run.config)
        starts = f"{least} to {most} no-op frames at the start"
        starts += ", FIRE then and after a lost life" if env.fire_on_reset else ""
        cap = f"cut off after {env.test_frame_cap} frames" if env.test_frame_cap else "no frame cap"
        rules = (
            f"{starts}, {cap}, frame skip {env.frame_skip}, "
            f"sticky actions {env.repeat_action_probability:g}"
        )
    else:
        rules = "starts and limits of the environment"
    return (
        f"{run.game}, {snapshot.path}: epoch {snapshot.epoch}, "
        f"{snapshot.total_train_steps} training steps, preset {run.config.common.preset}\n"
        f"{row['nr_games']} games in {row['steps']} steps: {scores}\n"
        f"protocol: ε {row['last_exploration_rate']:g}, {rules}, "
        f"seed {run.config.common.random_seed}"
    )
