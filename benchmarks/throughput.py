"""Steps per second, peak memory and where the time is spent in each phase: random, train, test.

    python benchmarks/throughput.py [--game breakout] [--rounds 3] [--json FILE] [-- OPTIONS]

Every measurement is a separate process, so that peak memory is that of the phase; the phases
alternate over the rounds, and the median counts. Training runs at ε .1, where nearly every step
uses the network, with a replay memory of full size, of which only the written part is resident. The
peak is that of the main process, without worker processes. OPTIONS are any of ``simple-dqn train``,
such as ``--preset fast`` or ``--datatype bfloat16``.

The time of a step is split into emulator with preprocessing, prediction, sampling, update and the
rest. Its floor, measured in the same process, is the arithmetic of prediction and update at the
speed of one large float32 matrix product, plus the frames of the bare emulator: no program can do
this work faster in float32 with as many threads. Where work overlaps, in worker processes and on a
GPU, the split shows what the main process waited for, the floor counts frames as distributed evenly
over the processes, and it is a reference instead of a bound.
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

STEPS = {"random": 10_000, "train": 2_000, "test": 64_000}
WARM_UP = 400  # steps before the clock starts
LEAST_ROUNDS = {"warm_up": 20, "measured": 200}  # with many lanes: a round is a step in each
PARTS = ("emulator", "prediction", "sampling", "update", "other")


def measure(phase: str, game: str, options: list[str]) -> dict[str, Any]:
    """Run one phase in this process and return its measurements."""
    import torch

    from simple_dqn.commands.build import build
    from simple_dqn.environments.games import find_game
    from simple_dqn.networks.acceleration import LEAST_UPDATES
    from simple_dqn.options.parser import parse
    from simple_dqn.options.resolve import resolve

    _, given = parse("train", [game, *options])
    kind, game, rom = find_game(game, given.get("environment", "auto"))
    fixed = {
        "random_seed": 1, "exploration_rate_start": 0.1, "exploration_rate_end": 0.1,
        "test_steps": STEPS["test"],  # determines the number of test lanes
    }  # fmt: skip
    config = resolve({**fixed, **given, "environment": kind})
    # Accelerated, as in a long run.
    with build(config, game, rom, updates=LEAST_UPDATES) as run:
        agent = run.agent
        agent.play_random(1_000)  # for training to sample from
        phases = {"random": agent.play_random, "train": agent.train, "test": agent.test}
        lanes = config.environment.num_envs
        phases[phase](max(WARM_UP, LEAST_ROUNDS["warm_up"] * lanes))

        spent = dict.fromkeys(PARTS, 0.0)
        for owner, method, part in (
            *(
                (games, method, "emulator")
                for games, _ in agent.all_lanes
                for method in ("send", "receive", "restart")
            ),
            (run.network, "predict", "prediction"),
            (run.network, "act", "prediction"),
            (agent.memory, "sample", "sampling"),
            (run.network, "train", "update"),
        ):
            setattr(owner, method, timed(getattr(owner, method), part, spent))
        start, clock = time.perf_counter(), time.time()
        phases[phase](max(STEPS[phase], LEAST_ROUNDS["measured"] * lanes))
        if run.network.device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start
        spent["other"] = seconds - sum(spent.values())
        steps = run.statistics.row["steps"]
        return {
            "steps_per_second": steps / seconds,
            # In a test, with those of games that ended too late to count
            "all_steps_per_second": agent.phase.rounds * agent.environment.num_envs / seconds,
            "milliseconds_a_step": {part: s / steps * 1e3 for part, s in spent.items()},
            "floor_milliseconds_a_step": floor(run, phase, rom) * 1e3,
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "measured_between": [clock, clock + seconds],  # by time.time()
            "device": str(run.network.device),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }


def timed(method: Callable[..., Any], part: str, spent: dict[str, float]) -> Callable[..., Any]:
    """Return ``method`` with its time added to a part, excluding other parts inside it."""

    def call(*args: Any, **kwargs: Any) -> Any:
        others = sum(spent.values())
        start = time.perf_counter()
        result = method(*args, **kwargs)
        spent[part] += time.perf_counter() - start - (sum(spent.values()) - others)
        return result

    return call


def floor(run: Any, phase: str, rom: Path | None) -> float:
    """Return the minimum seconds of a step of the phase."""
    import torch

    agent, config = run.agent, run.config
    forward, backward = products(run)
    samples = config.network.batch_size * config.agent.train_repeat / config.agent.train_frequency
    predicted = {"random": 0.0, "train": 0.9, "test": 0.95}[phase]  # 1 − ε
    flops = 2 * forward * predicted
    if phase == "train":  # θ⁻ on post-states, with Double also θ; θ on states, and back
        flops += 2 * samples * (forward * (3 if config.network.double_q else 2) + backward)
    a = torch.randn(1024, 1024, device=run.network.device)
    processes = getattr(agent.environment, "workers", 1)  # over which the frames are distributed
    arithmetic = flops / (2 * 1024**3) * fastest(lambda: (a @ a).sum().item())
    return arithmetic + emulator(agent, rom) / processes


def products(run: Any) -> tuple[int, int]:
    """Return the multiplications of a forward and of a backward pass for one state."""
    import torch

    forward = backward = 0

    def count(module: Any, inputs: Any, output: Any) -> None:
        nonlocal forward, backward
        macs = output[0].numel() * module.weight[0].numel()
        backward += macs if not forward else 2 * macs  # no gradient of the first layer's input
        forward += macs

    network = run.network.network
    layers = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    run.network.predict(run.agent.buffer.states[:1], hooks=True)
    for hook in hooks:
        hook.remove()
    return forward, backward


def emulator(agent: Any, rom: Path | None) -> float:
    """Return the seconds of the bare emulator per step; 0 for other games."""
    if rom is None:
        return 0.0
    from ale_py import ALEInterface

    ale = ALEInterface()
    ale.setFloat("repeat_action_probability", 0.0)
    ale.loadROM(str(rom))
    ale.reset_game()
    actions = ale.getMinimalActionSet()
    rng = np.random.default_rng(0)

    def frames() -> None:
        for action in rng.integers(len(actions), size=100):
            ale.act(actions[action])
            if ale.game_over():
                ale.reset_game()

    return fastest(frames) / 100 * 4  # frame skip


def fastest(work: Callable[[], Any], times: int = 20) -> float:
    """Return the minimum seconds of ``work``."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return min(found)


def main() -> None:
    """Measure all phases in turn, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--game", default="breakout")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each phase")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument(
        "--phase", choices=STEPS, help="measure only this, in this process, and print JSON"
    )
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
    print(f"{'phase':8}{'steps/s':>9}{'lowest':>9}{'highest':>9}{'peak memory':>13}   "
          f"ms a step: {', '.join(PARTS)}; floor, share")  # fmt: skip
    table = {}
    for phase, runs in found.items():
        rates = [run["steps_per_second"] for run in runs]
        peak = max(run["peak_memory_bytes"] for run in runs)
        middle = sorted(runs, key=lambda run: run["steps_per_second"])[len(runs) // 2]
        parts = middle["milliseconds_a_step"]
        least = middle["floor_milliseconds_a_step"]
        table[phase] = {
            "steps_per_second": statistics.median(rates), "lowest": min(rates),
            "highest": max(rates), "peak_memory_bytes": peak, "milliseconds_a_step": parts,
            "floor_milliseconds_a_step": least,
        }  # fmt: skip
        print(f"{phase:8}{statistics.median(rates):9.0f}{min(rates):9.0f}{max(rates):9.0f}"
              f"{peak / 1e6:10.0f} MB   {', '.join(f'{parts[part]:.2f}' for part in PARTS)}; "
              f"{least:.2f}, {least / sum(parts.values()):.0%}")  # fmt: skip
    if args.json:
        machine = {key: one[key] for key in ("device", "threads", "torch")}
        text = json.dumps(
            {"game": args.game, "options": args.options, **machine, "phases": table}, indent=2
        )
        args.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
