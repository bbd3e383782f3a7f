"""MinAtar: five games, three seeds each, by the preset ``minatar``; continued where it was left.

    .venv/bin/pip install minatar
    .venv/bin/python benchmarks/minatar.py --folder FOLDER --processes 2 --json FILE

Each run is ``train.sh MinAtar/<game>-v0 seed<n> --random_seed <n>`` in a process of one thread.
Given again, the command resumes what is not finished.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

GAMES = ("Asterix", "Breakout", "Freeway", "Seaquest", "SpaceInvaders")


def run(folder: Path, game: str, seed: int, epochs: int) -> None:
    """Train, or resume, one run to its end."""
    name = f"MinAtar-{game}-v0_seed{seed}"
    command = [sys.executable, "-m", "simple_dqn"]
    if (folder / f"snapshots/{name}.checkpoint/run.safetensors").exists():
        command += ["resume", name]
    else:
        command += ["train", f"MinAtar/{game}-v0", f"seed{seed}", "--random_seed", str(seed)]
        command += ["--overwrite"]
    with open(folder / f"{name}.log", "a") as log:
        subprocess.run([*command, "--epochs", str(epochs)], cwd=folder, stderr=log, check=False)


def summary(folder: Path, game: str, seeds: int) -> dict[str, Any]:
    """Return the last scores of each seed: in tests at ε .05, in training at the current ε."""
    last: dict[str, list[float]] = {"train": [], "test": []}
    steps = []
    for seed in range(1, seeds + 1):
        with open(folder / f"results/MinAtar-{game}-v0_seed{seed}.csv") as file:
            rows = list(csv.DictReader(file))
        for phase, scores in last.items():
            scores += [float(row["average_reward"]) for row in rows if row["phase"] == phase][-1:]
        steps.append(int(rows[-1]["total_train_steps"]))
    return {"game": game, "steps": steps, **last}


def main() -> None:
    """Run all; print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--folder", type=Path, default=Path("minatar"), help="of the results")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=50, help="of 100,000 steps; 50 in the paper")
    parser.add_argument("--processes", type=int, default=2, help="runs at the same time")
    parser.add_argument("--json", type=Path, help="write the figures into this file")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    runs = [(game, seed) for seed in range(1, args.seeds + 1) for game in GAMES]
    with ThreadPoolExecutor(args.processes) as pool:
        list(pool.map(lambda r: run(args.folder, r[0], r[1], args.epochs), runs))

    figures = [summary(args.folder, game, args.seeds) for game in GAMES]
    print(f"{'game':16}{'steps':>10}{'test, ε .05':>16}{'training':>16}")
    for figure in figures:
        cells = [
            f"{statistics.mean(scores):.1f} ± {statistics.pstdev(scores):.1f}"
            for scores in (figure["test"], figure["train"])
        ]
        print(f"{figure['game']:16}{min(figure['steps']):10}{cells[0]:>16}{cells[1]:>16}")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
