"""Speed over the number of lanes, the size of the replay memory and cores, and in a long run.

    python benchmarks/scaling.py [--game breakout] [--updates 10000] [--json FILE] [-- OPTIONS]

Lanes, cores and sizes of the replay memory are measured as in benchmarks/throughput.py, each in a
separate process, training at ε .1; OPTIONS are any of ``simple-dqn train``. The memory is filled
with noise before the clock starts. The long run is 10,000 updates in one process: the steps per
second and the resident memory of each tenth, which should not drift.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from throughput import STEPS, WARM_UP

LANES = (1, 2, 4, 8, 16, 32)
SIZES = (10_000, 100_000, 1_000_000)


def start(game: str, options: list[str]) -> Any:
    """Return a run whose replay memory is full."""
    from simple_dqn.commands.build import build
    from simple_dqn.environments.games import find_game
    from simple_dqn.networks.acceleration import LEAST_UPDATES
    from simple_dqn.options.parser import parse
    from simple_dqn.options.resolve import resolve

    _, given = parse("train", [game, *options])
    kind, game, rom = find_game(game, given.get("environment", "auto"))
    fixed = {"random_seed": 1, "exploration_rate_start": 0.1, "exploration_rate_end": 0.1}
    config = resolve({**fixed, **given, "environment": kind})
    # Accelerated, as in a long run.
    run = build(config, game, rom, updates=LEAST_UPDATES, with_tests=False)
    fill(run.agent.memory)
    run.agent.train(WARM_UP)
    return run


def fill(memory: Any) -> None:
    """Fill a replay memory with noise: episodes of 200 steps in every lane."""
    rng = np.random.default_rng(0)
    if hasattr(memory, "device"):
        memory.screens.rows[:-1].random_(0, 256)
    else:
        noise = rng.integers(0, 256, (1000, *memory.screens.shape[2:]), np.uint8)
        for begin in range(0, memory.slots, len(noise)):
            count = min(len(noise), memory.slots - begin)
            memory.screens[:, begin : begin + count] = noise[:count]
    memory.actions[:] = rng.integers(2, size=memory.actions.shape)
    memory.starts[:, ::200] = True
    memory.filled[:] = memory.slots
    memory.start_count = int(memory.starts.sum())
    if hasattr(memory, "tree"):  # of priorities
        memory.tree.set_all(np.where(memory.starts, 0.0, 1.0).ravel())


def measure(game: str, options: list[str]) -> float:
    """Return the training steps per second, in this process."""
    with start(game, options) as run:
        begun = time.perf_counter()
        run.agent.train(STEPS["train"])
        return STEPS["train"] / (time.perf_counter() - begun)


def drift(game: str, options: list[str], updates: int) -> list[dict[str, float]]:
    """Return steps/s and resident bytes of each tenth of ``updates``, in this process."""
    import psutil

    with start(game, options) as run:
        steps = updates * run.config.agent.train_frequency // 10
        tenths = []
        for _ in range(10):
            begun = time.perf_counter()
            run.agent.train(steps)
            seconds = time.perf_counter() - begun
            resident = psutil.Process().memory_info().rss
            tenths.append({"steps_per_second": steps / seconds, "resident_bytes": resident})
        return tenths


def in_process(*arguments: str, threads: int = 0) -> Any:
    """Run this script with ``arguments`` in a separate process; return its result."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[: threads or None])  # the process inherits it
    command = [sys.executable, __file__, *arguments]
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    os.sched_setaffinity(0, allowed)
    return json.loads(result.stdout.splitlines()[-1])


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--game", default="breakout")
    parser.add_argument("--updates", type=int, default=10_000, help="in the long run; 0: none")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument(
        "--here", choices=("rate", "drift"), help="measure only this, in this process"
    )
    parser.add_argument("options", nargs="*", help="options of simple-dqn train, after --")
    args = parser.parse_args()
    if args.here:
        more = (args.updates,) if args.here == "drift" else ()
        one: Any = {"rate": measure, "drift": drift}[args.here]
        print(json.dumps(one(args.game, args.options, *more)))
        return

    def rate(*options: str, threads: int = 0) -> float:
        common = ["--here", "rate", "--game", args.game, "--", *args.options]
        found: float = in_process(*common, *options, threads=threads)
        return found

    small = ("--replay_size", "100000")
    cores = range(1, len(os.sched_getaffinity(0)) + 1)
    table = {
        "lanes": {n: rate(*small, "--num_envs", str(n)) for n in LANES},
        "screens in the replay memory": {n: rate("--replay_size", str(n)) for n in SIZES},
        "cores": {n: rate(*small, "--threads", str(n), threads=n) for n in cores},
    }
    print(f"{args.game}, training steps/s, options: {' '.join(args.options) or 'none'}")
    for what, rates in table.items():
        print(f"{what}: " + ", ".join(f"{n:,}: {found:.0f}" for n, found in rates.items()))
    tenths: list[dict[str, float]] = []
    if args.updates:
        common = ["--here", "drift", "--updates", str(args.updates), "--game", args.game]
        tenths = in_process(*common, "--", *args.options, *small)
        print(f"{args.updates:,} updates, tenth by tenth, steps/s: "
              + ", ".join(f"{tenth['steps_per_second']:.0f}" for tenth in tenths))  # fmt: skip
        print("resident MB: " + ", ".join(f"{t['resident_bytes'] / 1e6:.0f}" for t in tenths))
    if args.json:
        found = {"game": args.game, "options": args.options, **table, "tenths": tenths}
        args.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
