"""Checkpoints of a run with a full replay memory: seconds and bytes to write, seconds to resume.

    python benchmarks/checkpoint.py [breakout] [--replay_size 1000000] [--new 100000] [--json FILE]

The network is that of the preset ``nature``; the memory is filled by random play in lanes. The
first checkpoint writes all of it, the next only what is new. Resuming is timed in a new process,
from its start until the next step could be taken.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simple_dqn.commands.build import Run

LANES = 8


def start(game: str, replay_size: int) -> Run:
    """Return a run of the preset ``nature`` before its first step."""
    from simple_dqn.commands.build import build
    from simple_dqn.environments.games import find_game
    from simple_dqn.options.resolve import resolve

    options = {
        "environment": "ale", "replay_size": replay_size, "num_envs": LANES, "workers": 2,
        "test_workers": 0, "random_seed": 1,
    }  # fmt: skip
    kind, name, rom = find_game(game, "ale")
    return build(resolve({**options, "environment": kind}), name, rom)


def resume(game: str, replay_size: int, folder: Path) -> None:
    """Do the work of ``resume.sh`` until the next step could be taken."""
    from simple_dqn.storage.checkpoint import Checkpoint
    from simple_dqn.storage.run_state import load_run_state, read_saved_run

    checkpoint = Checkpoint(folder)
    saved = read_saved_run(checkpoint)
    with start(game, replay_size) as run:
        load_run_state(checkpoint, saved.state, run.agent, run.statistics, None)


def write(game: str, replay_size: int, new: int, folder: Path) -> dict[str, float]:
    """Fill a memory, write a checkpoint, play ``new`` steps, write the next; return the figures."""
    from simple_dqn.callbacks.checkpointer import Checkpointer
    from simple_dqn.storage.checkpoint import Checkpoint
    from simple_dqn.storage.run_state import run_state

    figures: dict[str, float] = {"replay_size": replay_size, "new_steps": new}
    with start(game, replay_size) as run:
        state = partial(run_state, run.config, run.game, run.agent, run.statistics, None)
        options = run.config.run
        checkpointer = Checkpointer(Checkpoint(folder), state, run.statistics, options, False)
        for what, steps in (("first", replay_size), ("next", new)):
            run.agent.play_random(steps)
            before = time.time()
            checkpointer.save(run.agent)
            figures[f"{what}_seconds"] = checkpointer.cost
            files = [path.stat() for path in folder.iterdir()]
            figures[f"{what}_bytes"] = sum(f.st_size for f in files if f.st_mtime >= before - 1)
        assert run.agent.memory is not None
        figures["bytes_on_disk"] = sum(file.st_size for file in files)
        figures["transitions"] = run.agent.memory.count
    return figures


def main() -> None:
    """Write twice, resume; print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("game", nargs="?", default="breakout")
    parser.add_argument("--replay_size", type=int, default=1_000_000)
    parser.add_argument("--new", type=int, default=100_000, help="steps between the checkpoints")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--resume", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.resume:
        resume(args.game, args.replay_size, args.resume)
        return

    with tempfile.TemporaryDirectory(dir=".") as place:
        folder = Path(place) / "run.checkpoint"
        figures = write(args.game, args.replay_size, args.new, folder)
        begin = time.perf_counter()
        subprocess.run(
            [sys.executable, __file__, args.game, "--replay_size", str(args.replay_size),
             "--resume", folder], check=True,
        )  # fmt: skip
        figures["resume_seconds"] = time.perf_counter() - begin

    print(f"{args.game}: {figures['transitions']:.0f} transitions held")
    print(f"{'checkpoint':28}{'seconds':>10}{'MB':>10}")
    for what in ("first", "next"):
        new = args.replay_size if what == "first" else args.new
        line = f"{what}, {new} new steps"
        print(f"{line:28}{figures[f'{what}_seconds']:10.1f}{figures[f'{what}_bytes'] / 1e6:10.1f}")
    print(f"{'on disk':38}{figures['bytes_on_disk'] / 1e6:10.1f}")
    print(f"{'resuming, a new process':28}{figures['resume_seconds']:10.1f}")
    print(f"the next, every ten minutes: {figures['next_seconds'] / 6:.2f}% of the time")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
