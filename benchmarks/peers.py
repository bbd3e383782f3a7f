"""Our speed against that of other DQNs, in training and in evaluation, on one machine.

    python benchmarks/peers.py [--game breakout] [--rounds 3] [--phases train test] [--threads N]
                               [--json FILE]

Stable-Baselines3, Tianshou and a plain PyTorch loop do the work of our preset ``nature``: frame
skip 4, the network of the Nature paper, batches of 32, an update every 4 steps, ε .1, float32 on
the CPU with PyTorch's default number of threads, or ``--threads``. The preset ``fast`` learns as
many samples per step, 8, with a narrow network, in float32 or where the CPU has it in bfloat16;
``whole network`` is that preset with all filters and units. Each peer is configured as its
documentation shows; if it supports several games at a time, the fastest configuration counts and is
named below the table. All steps count, in evaluation also those of games that end too late to be
part of a result; how many of ours are part of one is said below the table. Each figure comes from a
separate process, and the programs take turns over the rounds; medians and their ratios are
reported. A ratio is to the fastest peer; the ratio over the rounds is to the fastest peer of the
same round.

The peers are not dependencies of the project: nothing in src imports them, and pyproject.toml does
not name them. They are installed in a separate virtual environment, benchmarks/.venv, created on
first use from the exact versions in `PACKAGES` (Python 3.11 or newer). Only the peer_*.py scripts
run there, as processes. After a change of `PACKAGES`, remove benchmarks/.venv.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import venv
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PEER_VENV = HERE / ".venv"
PACKAGES = [
    "stable-baselines3==2.9.2", "tianshou==2.0.1", "gymnasium==1.4.0", "ale-py==0.12.1",
    "torch==2.13.0", "numpy==2.4.6", "opencv-python-headless==5.0.0.93",
]  # fmt: skip

OURS = {  # name: options of simple-dqn train
    "simple_dqn nature": ["--preset", "nature", "--backend", "cpu"],
    "simple_dqn fast": ["--preset", "fast", "--backend", "cpu"],
    "simple_dqn fast, float32": ["--preset", "fast", "--backend", "cpu", "--datatype", "float32"],
    "simple_dqn fast, whole network": [
        *("--preset", "fast", "--backend", "cpu", "--filters", "32", "--hidden_units", "512"),
    ],
}
PEERS = {  # name: script, called with the game and the phase
    "stable-baselines3": "peer_stable_baselines3.py",
    "tianshou": "peer_tianshou.py",
    "plain pytorch": "peer_plain_pytorch.py",
}
PHASES = {"train": "training", "test": "evaluation"}

Measurement = dict[str, Any]  # "steps_per_second" and more, or "failed"


def peer_python() -> Path:
    """Return the interpreter of the peers' virtual environment, which is created if missing."""
    python = PEER_VENV / "bin" / "python"
    if not (PEER_VENV / "installed").exists():
        venv.create(PEER_VENV, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
        (PEER_VENV / "installed").touch()
    return python


def commands(phase: str, game: str, threads: int) -> dict[str, list[str]]:
    """Return the commands that measure `phase`, by name: ours, then the peers'."""
    throughput = [sys.executable, str(HERE / "throughput.py"), "--phase", phase, "--game", game]
    limit = ["--threads", str(threads)] if threads else []
    ours = {name: [*throughput, "--", *options, *limit] for name, options in OURS.items()}
    python = str(peer_python())
    peers = {name: [python, str(HERE / script), game, phase] for name, script in PEERS.items()}
    return {**ours, **peers}


def measure(command: list[str], threads: int) -> Measurement:
    """Run `command` and return the JSON of its last line, or why there is none."""
    environment = {**os.environ, **({"OMP_NUM_THREADS": str(threads)} if threads else {})}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    try:
        if result.returncode == 0:
            found: Measurement = json.loads(result.stdout.splitlines()[-1])
            if "all_steps_per_second" in found:
                found["counted_steps_per_second"] = found["steps_per_second"]
                found["steps_per_second"] = found["all_steps_per_second"]
            return {**found, "steps_per_second": float(found["steps_per_second"])}
    except (IndexError, KeyError, TypeError, ValueError):
        return {"failed": "no figure on the last line of the output"}
    errors = result.stderr.split("\n")
    last = next((line.strip() for line in reversed(errors) if line.strip()), "")
    return {"failed": last or f"exit status {result.returncode}"}


def rate(measurement: Measurement) -> float | None:
    """Return the steps per second of a measurement; None if it failed."""
    return measurement.get("steps_per_second")


def table(found: dict[str, list[Measurement]]) -> list[str]:
    """Return the lines of one phase's table; `found` has the measurements round by round."""
    rates = {name: [rate(one) for one in runs] for name, runs in found.items()}
    medians = {
        name: statistics.median(good)
        for name, each in rates.items()
        if (good := [one for one in each if one is not None])
    }
    best_median = max((medians[name] for name in PEERS if name in medians), default=None)
    rounds = zip(*(rates[name] for name in PEERS), strict=True)
    best = [max((one for one in each if one is not None), default=None) for each in rounds]

    lines = [
        f"{'':20}{'steps/s':>10}{'lowest':>10}{'highest':>10}{'ratio':>8}{'over the rounds':>18}"
    ]
    for name, each in rates.items():
        good = [one for one in each if one is not None]
        if good:
            line = f"{name:20}{medians[name]:10.0f}{min(good):10.0f}{max(good):10.0f}"
            if best_median is not None:
                ratios = [one / top for one, top in zip(each, best, strict=True) if one and top]
                span = f"{min(ratios):.2f}–{max(ratios):.2f}" if ratios else ""
                line += f"{medians[name] / best_median:8.2f}{span:>18}"
            lines.append(line)
        failures = [one["failed"] for one in found[name] if "failed" in one]
        if failures:
            lines.append(f"{name:20}failed {len(failures)} of {len(each)}: {failures[-1]}")
    return lines + notes(found)


def notes(found: dict[str, list[Measurement]]) -> list[str]:
    """Return lines about our counted steps, and each peer's configurations: their medians."""
    lines = []
    for name in OURS:
        good = [one for one in found[name] if "counted_steps_per_second" in one]
        if any(one["counted_steps_per_second"] < one["steps_per_second"] for one in good):
            counted = statistics.median(one["counted_steps_per_second"] for one in good)
            lines.append(f"{name}: {counted:.0f} steps/s are part of the result")
    for name, runs in found.items():
        several = [one["ways"] for one in runs if len(one.get("ways", ())) > 1]
        if several:
            ways = {way: statistics.median(each[way] for each in several) for way in several[0]}
            figures = ", ".join(f"{way} {median:.0f}" for way, median in ways.items())
            lines.append(f"{name}, steps/s by configuration: {figures}; the fastest counts")
    return lines


def cpu_model() -> str:
    """Return the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main() -> None:
    """Run all programs in turn, print a table per phase, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--game", default="breakout")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each")
    parser.add_argument("--phases", nargs="+", choices=PHASES, default=list(PHASES))
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (0: the default)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()

    machine = {"cpu": cpu_model(), "cores": os.cpu_count(), "python": platform.python_version()}
    phases: dict[str, dict[str, list[Measurement]]] = {}
    for phase in args.phases:
        every = commands(phase, args.game, args.threads)
        found = phases[phase] = {name: [] for name in every}
        for turn in range(1, args.rounds + 1):
            for name, command in every.items():
                found[name].append(measure(command, args.threads))
                figure = rate(found[name][-1])
                shown = "failed" if figure is None else f"{figure:.0f} steps/s"
                print(f"{phase} {turn}/{args.rounds} {name}: {shown}", file=sys.stderr)
        print(f"{args.game}, {PHASES[phase]}, float32, {machine['cores']} cores, {machine['cpu']}, "
              f"{args.rounds} rounds")  # fmt: skip
        print("\n".join(table(found)), end="\n\n", flush=True)
        if args.json:
            record = {
                "game": args.game, "rounds": args.rounds, "threads": args.threads, **machine,
                "simple_dqn": version("simple-dqn"), "options": OURS, "packages": PACKAGES,
                "phases": phases,
            }  # fmt: skip
            args.json.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
