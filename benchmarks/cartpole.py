"""CartPole-v1 with its preset: wall time, test score, and how early a run solves it.

For each seed, a whole run of train.sh and a test of its best snapshot over 100 games, called as a
user would. "Solved from" is the first episode, counted from 1 including the random phase, that
starts 100 consecutive episodes with an average score of 195 or more.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from simple_dqn.agent import Agent, Callback
from simple_dqn.environment import Step


class Episodes(Callback):
    """Writes the score of each episode of the random and the training phases into episodes.json."""

    def __init__(self) -> None:
        self.scores: list[float] = []
        self.score = 0.0

    def on_phase_start(self, agent: Agent) -> None:
        """Start a new episode."""
        self.score = 0.0

    def on_step(self, agent: Agent, step: Step) -> None:
        """Add up the score of the one lane."""
        self.score += float(step.rewards[0])
        if step.game_overs[0] or step.truncateds[0]:
            if agent.phase != "test":
                self.scores.append(self.score)
            self.score = 0.0

    def on_phase_end(self, agent: Agent) -> None:
        """Write the scores so far."""
        Path("episodes.json").write_text(json.dumps(self.scores))


def run(seed: int) -> dict[str, Any]:
    """Train and test with one seed, in the current folder."""
    train = ["train", "CartPole-v1", "--environment", "gym", "--random_seed", str(seed)]
    start = time.perf_counter()
    simple_dqn(*train, "--overwrite", "--callback", "cartpole:Episodes")
    seconds = time.perf_counter() - start
    best = "snapshots/CartPole-v1_best.safetensors"
    output = simple_dqn(
        "test", best, "--test_games", "100", "--test_envs", "20", "--random_seed", "0"
    )
    match = re.search(r"mean ([\d.]+)", output)
    assert match
    scores = json.loads(Path("episodes.json").read_text())
    means = np.convolve(scores, np.ones(100) / 100, "valid")[: max(len(scores) - 99, 0)]
    solved = next((i for i, mean in enumerate(means, 1) if mean >= 195), None)
    return dict(
        seed=seed, seconds=seconds, test=float(match[1]), episodes=len(scores), solved_from=solved
    )


def simple_dqn(*arguments: str) -> str:
    """Run a command; return what it printed."""
    folder = str(Path(__file__).parent)  # of the callback
    return subprocess.run(
        [sys.executable, "-m", "simple_dqn", *arguments, "--log_level", "ERROR"],
        env={**os.environ, "PYTHONPATH": folder}, check=True, stdout=subprocess.PIPE, text=True,
    ).stdout  # fmt: skip


def main() -> None:
    """Run all seeds, print a table and, if requested, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    json_file = arguments.json.resolve() if arguments.json else None
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for seed in arguments.seeds:
            row = run(seed)
            rows.append(row)
            print("seed {seed}: {seconds:.0f} s, test {test:.2f} over 100 games, {episodes} "
                  "episodes, solved from {solved_from}".format(**row), flush=True)  # fmt: skip
        os.chdir("/")
    median = statistics.median(row["solved_from"] or float("inf") for row in rows)
    reached = sum(row["test"] >= 475 for row in rows)
    print(f"{reached} of {len(rows)} reach 475; solved from episode {median:g} (median)")
    if json_file:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        machine = dict(cores=cores, platform=platform.platform())
        json_file.write_text(json.dumps(dict(machine=machine, runs=rows), indent=2) + "\n")


if __name__ == "__main__":
    main()
