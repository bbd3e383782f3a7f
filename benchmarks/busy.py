"""Training speed on a quiet and on a busy machine, by how long OpenMP's threads spin.

    python benchmarks/busy.py [--rounds 3] [--busy 2] [--json FILE] [-- OPTIONS]

Threads that wait for one another spin for a while before they sleep. A quiet machine gains by it;
beside other programs, spinning takes the processor from the thread that is waited for. The values
of GOMP_SPINCOUNT take turns, each without and beside ``--busy`` processes that compute all the
time; "default" is GNU OpenMP's own. OPTIONS are any of ``simple-dqn train``.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

SPINS = ("default", "1000", "2000", "5000", "20000")
RUN = (
    "--epochs", "1", "--random_steps", "400", "--train_steps", "1000", "--test_steps", "0",
    "--exploration_rate_start", "0.1", "--random_seed", "1", "--no_checkpoint",
)  # fmt: skip


def measure(spins: str, busy: int, options: list[str]) -> float:
    """Return the training steps per second."""
    environment = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY",)}
    # main.py replaces a missing value by its own
    environment["GOMP_SPINCOUNT"] = "300000" if spins == "default" else spins
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
    try:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "simple_dqn", "train", "breakout", *RUN, *options]
            places = ["--csv_file", "run.csv", "--save_weights_prefix", "run"]
            subprocess.run(
                [*command, *places], check=True, cwd=folder, env=environment, capture_output=True
            )
            with open(Path(folder) / "run.csv") as file:
                rows = list(csv.DictReader(file))
            return float(rows[-1]["steps_per_second"])
    finally:
        for other in others:
            other.kill()
            other.wait()


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--busy", type=int, default=2, help="processes that compute all the time")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("options", nargs="*", help="options of simple-dqn train, after --")
    args = parser.parse_args()
    found: dict[str, dict[str, list[float]]] = {s: {"quiet": [], "busy": []} for s in SPINS}
    for _ in range(args.rounds):
        for spins in SPINS:
            found[spins]["quiet"].append(measure(spins, 0, args.options))
            found[spins]["busy"].append(measure(spins, args.busy, args.options))
    medians = {s: {k: statistics.median(v) for k, v in each.items()} for s, each in found.items()}
    print(f"{'GOMP_SPINCOUNT':16}{'quiet':>8}{'ratio':>8}{'busy':>8}{'ratio':>8}   steps/s")
    base = medians["default"]
    for spins, each in medians.items():
        print(f"{spins:16}" + "".join(f"{each[k]:8.0f}{each[k] / base[k]:8.2f}" for k in each))
    if args.json:
        args.json.write_text(json.dumps({"busy": args.busy, "steps_per_second": found}, indent=2))


if __name__ == "__main__":
    main()
