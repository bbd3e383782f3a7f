"""Cost of a batch of 32 from a full replay memory of 1M screens, uniform and prioritized.

    .venv/bin/python benchmarks/replay.py --json benchmarks/results/replay.json

On one core. The memory contains 84x84 screens of random bytes (7 GB). As in training, each round
samples a batch, sets its priorities and adds four transitions.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from simple_dqn.replay.prioritized import PrioritizedReplayMemory
from simple_dqn.replay_memory import ReplayMemory

BATCH, STEPS, ROUNDS = 32, 4, 2000


def fill(memory: ReplayMemory, rng: np.random.Generator) -> None:
    """Fill the ring with episodes of 200 steps."""
    screens = rng.integers(0, 256, (200, 84, 84), dtype=np.uint8)
    false, zero = np.zeros(1, np.bool_), np.zeros(1, np.int64)
    while memory.filled[0] < memory.slots:
        memory.restart(None, screens[:1])
        for screen in screens[1:]:
            memory.add(zero, rng.random(1).astype(np.float32), screen[None], false)


def measure(kind: Any, size: int) -> dict[str, float]:
    """Return the milliseconds per operation, medians over the rounds."""
    rng = np.random.default_rng(0)
    memory = kind(
        size, 1, 4, (84, 84), np.uint8, discount_rate=0.99, n_step=1, min_reward=-1, max_reward=1,
        history_padding="zero", rng=rng,
    )  # fmt: skip
    fill(memory, rng)
    screen, false, zero = memory.screens[0, :1].copy(), np.zeros(1, np.bool_), np.zeros(1, np.int64)
    reward = np.zeros(1, np.float32)
    times: dict[str, list[float]] = {"sample": [], "update_priorities": [], "add": []}
    for _ in range(ROUNDS):
        errors = torch.rand(BATCH)
        start = time.perf_counter()
        batch = memory.sample(BATCH)
        sampled = time.perf_counter()
        memory.update_priorities(batch.indices, errors)
        updated = time.perf_counter()
        for _ in range(STEPS):
            memory.add(zero, reward, screen, false)
        added = time.perf_counter()
        times["sample"].append(sampled - start)
        times["update_priorities"].append(updated - sampled)
        times["add"].append((added - updated) / STEPS)
    return {name: 1000 * float(np.median(values)) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1_000_000, help="screens")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    kinds: dict[str, Any] = {
        "uniform": ReplayMemory,
        "prioritized": partial(PrioritizedReplayMemory, exponent=0.6),
    }
    results = {name: measure(kind, arguments.size) for name, kind in kinds.items()}
    print(f"milliseconds, batch of {BATCH}, {arguments.size} screens")
    for name, times in results.items():
        print(f"{name:12}", "  ".join(f"{what} {value:.3f}" for what, value in times.items()))
    if arguments.json:
        record = dict(size=arguments.size, batch=BATCH, milliseconds=results)
        arguments.json.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
