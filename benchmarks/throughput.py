"""Steps a second and peak memory of each phase: random, train, test.

    python benchmarks/throughput.py [--game breakout] [--rounds 3] [--json FILE] [-- OPTIONS]

Every measurement is a process of its own, so that peak memory is the phase's; the phases alternate
over the rounds, and the median counts. Training runs at ε .1, where nearly every step asks the
network, with a replay memory of the full size of which only the written part is resident. OPTIONS
are any of ``simple-dqn train``, such as ``--datatype bfloat16``.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

STEPS = {"random": 10_000, "train": 2_000, "test": 4_000}
WARM_UP = 400  # steps before the clock starts


def measure(phase: str, game: str, options: list[str]) -> dict[str, Any]:
    """Run one phase in this process and return what it took."""
    import torch

    from simple_dqn.build import build, find_game
    from simple_dqn.cli import parse
    from simple_dqn.resolve import resolve

    _, given = parse("train", [game, *options])
    kind, game, rom = find_game(game, given.get("environment", "auto"))
    fixed = {"random_seed": 1, "exploration_rate_start": 0.1, "exploration_rate_end": 0.1}
    run = build(resolve({**fixed, **given, "environment": kind}), game, rom)
    agent = run.agent
    agent.play_random(1_000)  # what training samples from
    phases = {"random": agent.play_random, "train": agent.train, "test": agent.test}
    phases[phase](WARM_UP)
    start = time.perf_counter()
    phases[phase](STEPS[phase])
    if run.network.device.type == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "steps_per_second": run.statistics.row["steps"] / seconds,
        "peak_memory_bytes": peak,
        "device": str(run.network.device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def main() -> None:
    """Measure all phases in turn, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--game", default="breakout")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each phase")
    parser.add_argument("--json", type=Path, help="write the figures into this file")
    parser.add_argument("--phase", choices=STEPS, help="measure only this, here, and print JSON")
    parser.add_argument("options", nargs="*", help="options of simple-dqn train, after --")
    args = parser.parse_args()
    if args.phase:
        print(json.dumps(measure(args.phase, args.game, args.options)))
        return

    found: dict[str, list[dict[str, Any]]] = {phase: [] for phase in STEPS}
    for _ in range(args.rounds):
        for phase in STEPS:
            command = [sys.executable, __file__, "--phase", phase, "--game", args.game]
            result = subprocess.run(
                [*command, "--", *args.options], check=True, stdout=subprocess.PIPE, text=True
            )
            found[phase].append(json.loads(result.stdout.splitlines()[-1]))

    one = found["train"][0]
    print(f"{args.game}, {one['device']}, {one['threads']} threads, torch {one['torch']}, "
          f"{platform.machine()}, options: {' '.join(args.options) or 'none'}")  # fmt: skip
    print(f"{'phase':8}{'steps/s':>10}{'lowest':>10}{'highest':>10}{'peak memory':>14}")
    table = {}
    for phase, runs in found.items():
        rates = [run["steps_per_second"] for run in runs]
        peak = max(run["peak_memory_bytes"] for run in runs)
        table[phase] = {
            "steps_per_second": statistics.median(rates), "lowest": min(rates),
            "highest": max(rates), "peak_memory_bytes": peak,
        }  # fmt: skip
        print(f"{phase:8}{statistics.median(rates):10.0f}{min(rates):10.0f}{max(rates):10.0f}"
              f"{peak / 1e6:11.0f} MB")  # fmt: skip
    if args.json:
        machine = {key: one[key] for key in ("device", "threads", "torch")}
        text = json.dumps(
            {"game": args.game, "options": args.options, **machine, "phases": table}, indent=2
        )
        args.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
