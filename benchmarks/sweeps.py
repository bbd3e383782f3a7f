"""What a study costs besides its runs: seconds a run, and the memory of Ray and the command.

    python benchmarks/sweeps.py [--runs 200] [--alone 20] [--json FILE]

Trivial runs of CartPole are trained first by ``train``, as many at once as there are cores, then as
a study of one seed each. A run's seconds are those for which it occupies a core: the time of all
runs, times the cores, divided by the runs; so the difference is what each run of a study waits for
the workers, the scheduler and the copies of its files. Memory is the proportional set size of the
command and all processes below it, without the runs themselves.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

GAME = "CartPole-v1"
RUN = (
    "--epochs", "1", "--train_steps", "100", "--test_steps", "100", "--random_steps", "100",
    "--replay_size", "1000", "--threads", "1", "--test_workers", "0",
)  # fmt: skip
COMMAND = (sys.executable, "-m", "simple_dqn")


def train(seed: int, folder: str) -> None:
    """Train one run."""
    command = [*COMMAND, "train", GAME, str(seed), *RUN, "--random_seed", str(seed)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, cwd=folder, env=environment, capture_output=True)


def memory(process: psutil.Process) -> int:
    """Return the bytes of a study's processes, without those of its runs."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            if not {"train", "resume"} & set(one.cmdline()):
                total += one.memory_full_info().pss
        except psutil.Error:
            continue
    return total


def study(runs: int, folder: str, cores: int) -> tuple[float, float, list[tuple[int, int]]]:
    """Return (seconds to the first run's end, from there to the last's, [(runs ended, bytes)])."""
    began = time.perf_counter()
    command = [*COMMAND, "sweep", GAME, "--label", "study", "--seeds", str(runs), *RUN]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL)
    watched, measured, first = psutil.Process(process.pid), [], 0.0
    while process.poll() is None:
        time.sleep(2)
        ended = sum(1 for path in Path(folder).glob("sweeps/study/*/done") if path.read_text())
        first = first or (time.perf_counter() - began if ended >= cores else 0.0)
        measured.append((ended, memory(watched)))
    if process.returncode:
        sys.exit(f"the study ended with status {process.returncode}")
    return first, time.perf_counter() - began - first, measured


def main() -> None:
    """Measure, print the figures, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--alone", type=int, default=20, help="runs of train to compare with")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(cores) as pool:
        began = time.perf_counter()
        list(pool.map(lambda seed: train(seed, folder), range(1, args.alone + 1)))
        alone = (time.perf_counter() - began) * cores / args.alone
    with tempfile.TemporaryDirectory() as folder:
        first, rest, measured = study(args.runs, folder, cores)
    each = rest * cores / (args.runs - cores)
    third = args.runs // 3
    early = statistics.median(b for ended, b in measured if cores <= ended <= third) / 1e6
    late = statistics.median(b for ended, b in measured if args.runs - third <= ended) / 1e6
    found = {
        "runs": args.runs, "cores": cores, "seconds_of_a_run_alone": round(alone, 2),
        "seconds_of_a_run_in_the_study": round(each, 2), "overhead_s": round(each - alone, 2),
        "seconds_to_the_first": round(first, 1), "memory_first_third_mb": round(early),
        "memory_last_third_mb": round(late),
    }  # fmt: skip
    for name, value in found.items():
        print(f"{name.replace('_', ' '):32} {value}")
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
