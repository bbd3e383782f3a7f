"""The command ``export``: a snapshot's network for other programs, or a folder to share."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import torch

from simple_dqn import __version__
from simple_dqn.commands.snapshots import snapshot_config, snapshot_run
from simple_dqn.errors import UsageError
from simple_dqn.networks.plain import PlainQNetwork
from simple_dqn.options.definitions import Config
from simple_dqn.storage.files import require_place, write_atomically
from simple_dqn.storage.foreign.write import cleanrl_bytes, onnx_bytes, stable_baselines3_bytes
from simple_dqn.storage.record import read_record
from simple_dqn.storage.run_files import csv_of
from simple_dqn.storage.snapshot import Snapshot, save_half
from simple_dqn.storage.statistics_file import read_csv

logger = logging.getLogger(__name__)

SUFFIXES = {
    "onnx": ".onnx", "stable_baselines3": ".pth", "cleanrl": ".cleanrl_model",
    "float16": ".safetensors", "folder": "",
}  # fmt: skip

CARD = """---
library_name: simple-dqn
tags: [reinforcement-learning, deep-q-learning, {game}]
---
# {game}: a Q-network of Simple DQN {version}

| | |
|---|---|
| game | {game}, actions {actions} |
| trained | epoch {epoch}: {steps:,} steps, {updates:,} updates |
{score}| states | {states} |

`snapshot.safetensors` has the weights and all options; `config.json` the options to read.
```
./scripts/test.sh snapshot.safetensors --test_games 30
./scripts/play.sh snapshot.safetensors
```
Trained by
```
{command}
```
"""


def export(snapshot: Snapshot, given: dict[str, Any]) -> None:
    """Write a snapshot's network in another format.

    Raises:
        UsageError: the format has no such network, or the file exists.
    """
    config = snapshot_config(snapshot, given)
    kind = config.export.format
    target = Path(config.export.export_file or f"exports/{snapshot.path.stem}{SUFFIXES[kind]}")
    require_place(target, "export_file", inside=len("snapshot.safetensors"))
    if target.exists() and not config.run.overwrite:
        raise UsageError(f"'{target}' exists: give another --export_file, or --overwrite true")
    if kind == "folder":
        if target.exists() and not target.is_dir():
            raise UsageError(f"'{target}' is not a folder: give another --export_file")
        _write_folder(snapshot, config, target)
    else:
        if target.is_dir():
            raise UsageError(f"'{target}' is a folder: add a file's name to --export_file")
        if kind == "float16":
            save_half(snapshot, target)
        else:
            data = _exported(snapshot, config, kind, given.get("environment", ""))
            write_atomically(target, data)
    logger.info("wrote %s", target)


def _exported(snapshot: Snapshot, config: Config, kind: str, environment: str) -> bytes:
    """Return the file of a format."""
    with snapshot_run(snapshot, config, environment, with_tests=False) as run:
        network = PlainQNetwork(run.network.network)
        if kind == "stable_baselines3":
            return stable_baselines3_bytes(network, len(snapshot.action_meanings))
        if kind == "cleanrl":
            return cleanrl_bytes(network)
        dtype = torch.uint8 if snapshot.observation_dtype == "uint8" else torch.float32
        shape = (2, config.replay.history_length, *snapshot.observation_shape)
        return onnx_bytes(network, torch.zeros(shape, dtype=dtype))


def _write_folder(snapshot: Snapshot, config: Config, folder: Path) -> None:
    """Write a folder for a model hub: snapshot, options and a card."""
    about = dict(
        game=snapshot.game, action_meanings=snapshot.action_meanings, epoch=snapshot.epoch,
        total_train_steps=snapshot.total_train_steps, weight_updates=snapshot.weight_updates,
        observation_shape=snapshot.observation_shape, options=snapshot.config,
    )  # fmt: skip
    files = {
        "snapshot.safetensors": snapshot.path.read_bytes(),
        "config.json": (json.dumps(about, indent=1) + "\n").encode(),
        "README.md": _card(snapshot, config).encode(),
    }
    for name, data in files.items():
        write_atomically(folder / name, data)


def _card(snapshot: Snapshot, config: Config) -> str:
    """Return the card: game, protocol and score of the epoch's test, and the command."""
    csv_file = Path(csv_of(snapshot.prefix))
    score, command = "", "not known: the record is not beside the snapshot"
    if csv_file.is_file():
        for row in read_csv(csv_file):
            if (row["phase"], int(row["epoch"])) == ("test", snapshot.epoch):
                mean, deviation = float(row["average_reward"]), float(row["std_game_reward"] or 0)
                score = (
                    f"| score | {mean:.2f} ± {deviation:.2f} over {row['nr_games']} games: "
                    f"{float(row['steps']):,.0f} steps at ε {float(row['last_exploration_rate']):g}"
                    f"{_protocol(config)} |\n"
                )
    record = csv_file.with_suffix(".json")
    if record.is_file():
        first, _ = read_record(record)
        command = " ".join(first["command_line"])
        score += f"| seed | {first['config'].get('random_seed')} |\n"
    return CARD.format(
        game=snapshot.game, version=__version__, actions=" ".join(snapshot.action_meanings),
        epoch=snapshot.epoch, steps=snapshot.total_train_steps, updates=snapshot.weight_updates,
        states=f"{config.replay.history_length} x {snapshot.observation_dtype} "
        f"{list(snapshot.observation_shape)}",
        score=score or "| score | no test is known: its statistics are not beside it |\n",
        command=command,
    )  # fmt: skip


def _protocol(config: Config) -> str:
    """Return how Atari games began and ended in tests."""
    env = config.environment
    if env.environment == "gym" or ":" in env.environment:
        return ""
    cap = f"cut off after {env.test_frame_cap:,} frames" if env.test_frame_cap else "not cut off"
    fire = ", FIRE then and after a lost life" if env.fire_on_reset else ""
    sticky = f", sticky actions {env.repeat_action_probability:g}"
    return (
        f", at most {env.random_starts} no-op {env.random_starts_unit}{fire}, {cap}"
        f"{sticky if env.repeat_action_probability else ''}"
    )
