"""Resident memory of the replay memory: when created, after a short run, and full and wrapped.

    python benchmarks/memory.py [--replay_size 1000000] [--json FILE]

The transitions are noise, in episodes of 200 steps.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import psutil

from simple_dqn.replay_memory import ReplayMemory

EPISODE = 200  # steps


def main() -> None:
    """Fill a memory, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--replay_size", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()

    process = psutil.Process()
    before = process.memory_info().rss
    memory = ReplayMemory(
        args.replay_size, 1, 4, (84, 84), np.uint8, discount_rate=0.99, n_step=1, min_reward=-1,
        max_reward=1, history_padding="zero", rng=np.random.default_rng(0),
    )  # fmt: skip
    screen = np.random.default_rng(1).integers(0, 256, (1, 84, 84), np.uint8)
    action, reward, lane = np.array([1]), np.array([1.0], np.float32), np.array([0])
    figures: dict[str, float] = {"made": process.memory_info().rss - before}
    memory.restart(None, screen)
    for step in range(1, args.replay_size + EPISODE):
        ended = step % EPISODE == 0
        memory.add(action, reward, screen, np.array([ended]))
        if ended:
            memory.restart(lane, screen)
        if step == 1_000:
            figures["after 1000 steps"] = process.memory_info().rss - before
    figures["full"] = process.memory_info().rss - before

    print(f"replay memory of {args.replay_size} screens of 84x84, {memory.count} transitions held")
    for what, size in figures.items():
        print(f"{what:20}{size / 1e9:8.3f} GB resident")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
