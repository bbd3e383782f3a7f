"""What is known of the GPU path: tests, agreement, speed, memory, resume, and a longer training.

    benchmarks/gpu.sh [--part tests|agree|update|speed|peers|resume|train] [--out FOLDER]
                      [--minutes 8] [--game breakout] [--backend gpu]

Without --part all parts but the training run, in this order. Each writes FOLDER/<part>.json with
the device's name, speed after each of its measurements: a time limit loses nothing.

tests: pytest -m gpu. agree: weights after 1,000 updates, as plain functions and as graphs, and the
largest relative difference. update: microseconds of an update, and of a prediction, with the
kernels that take them. speed: training steps/s of the preset nature over lanes and worker
processes, with where a step's time goes and how busy the GPU is. peers: Stable-Baselines3 and a
plain PyTorch loop, where they are installed. resume: a run that is killed and resumed against an
undisturbed one. train: nature in lanes for --minutes, continued if FOLDER/train has a checkpoint;
then 30 games.

--backend cpu runs all of it on the CPU, with small numbers, to see that it works.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

HERE = Path(__file__).parent
PARTS = ("tests", "agree", "update", "speed", "peers", "resume", "train")
# Lanes, worker processes, whether updates run while the games play.
SPEEDS = (
    (512, 15, True), (256, 15, True), (1, 0, False), (16, 8, False), (64, 16, False),
    (128, 16, False), (128, 15, True),
)  # fmt: skip
SPEEDS_SMALL = ((1, 0, False), (8, 2, False), (8, 2, True))
UPDATES, AT_ONCE, BATCH = 1_000, 8, 32  # of agree
LANES = ("--num_envs", "512", "--workers", "15", "--test_workers", "15", "--concurrent")
GPU_TEST = "@pytest.mark.gpu"
WATCH = "nvidia-smi --query-gpu=utilization.gpu,memory.used --format=csv,noheader,nounits -lms 200"


def device(backend: str) -> dict[str, Any]:
    """Return what was measured on."""
    gpu = torch.cuda.get_device_name() if backend == "gpu" else None
    return {
        "gpu": gpu, "cores": os.cpu_count(), "torch": torch.__version__,
        "python": platform.python_version(), "processor": platform.machine(),
    }  # fmt: skip


def simple_dqn(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command of simple-dqn; its output is kept."""
    command = [sys.executable, "-m", "simple_dqn", *arguments]
    return subprocess.run(command, capture_output=True, text=True, **options)


def tests(args: argparse.Namespace) -> dict[str, Any]:
    """Run the tests that need a GPU."""
    # Only the files with such tests: the others need packages that this machine may lack.
    files = [str(p) for p in (HERE.parent / "tests").glob("test_*.py") if GPU_TEST in p.read_text()]
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-p", "no:cacheprovider", "--tb=short"]
    command += sorted(files)
    done = subprocess.run(command, capture_output=True, text=True, cwd=HERE.parent)
    return {"exit_status": done.returncode, "end": done.stdout[-4000:]}


def make_network(
    args: argparse.Namespace, optimizer: str, captured: bool, compiled: bool = False
) -> Any:
    """Return the network of Mnih et al. 2015 with 4 actions."""
    from simple_dqn.deep_q_network import DeepQNetwork
    from simple_dqn.networks.optimizers import make_optimizer
    from simple_dqn.networks.q_network import QNetwork

    place = torch.device("cuda" if args.backend == "gpu" else "cpu")
    torch.manual_seed(1)
    module = QNetwork(
        4, 4, (84, 84), filters=32, hidden_layers=1, hidden_units=512, conv1_padding=1,
        batch_norm=False, weight_init="fan_in", dueling=False, quantiles=1, noisy=False,
    ).to(place, memory_format=torch.channels_last)  # type: ignore[call-overload]  # fmt: skip
    chosen = make_optimizer(
        optimizer, list(module.parameters()), learning_rate=2.5e-4, decay_rate=0.95,
        epsilon=0.01 if optimizer == "rmsprop" else 1e-8, centered=True, captured=captured,
        compiled=compiled,
    )  # fmt: skip
    return DeepQNetwork(
        module, chosen, datatype="float32", loss_reduction="sum", clip_error=1.0,
        has_target_network=True, double_q=False, captured=captured,
    )  # fmt: skip


def random_batch(rng: np.random.Generator, size: int) -> Any:
    """Return a batch of random transitions."""
    from simple_dqn.replay_memory import Batch

    states = rng.integers(0, 256, (2, size, 4, 84, 84), dtype=np.uint8)
    return Batch(
        states[0], rng.integers(4, size=size), rng.integers(-1, 2, size).astype(np.float32),
        np.full(size, 0.99, np.float32), states[1], np.arange(size), np.ones(size, np.float32),
    )  # fmt: skip


def agree(args: argparse.Namespace) -> dict[str, Any]:
    """Compare updates as plain functions with updates as graphs."""
    updates = UPDATES if args.backend == "gpu" else 2 * AT_ONCE
    found: dict[str, Any] = {"updates": updates, "at_once": AT_ONCE}
    gpu = args.backend == "gpu"
    for optimizer in ("rmsprop", "adam"):
        networks = [make_network(args, optimizer, captured) for captured in (False, gpu)]
        if optimizer == "rmsprop":  # as long runs have it; its rounding is another
            networks += [make_network(args, optimizer, gpu, compiled=True)]
        rng, largest = np.random.default_rng(1), 0.0
        for _ in range(updates // AT_ONCE):
            batch = random_batch(rng, AT_ONCE * BATCH)
            errors = [network.train(batch, AT_ONCE).clone() for network in networks]
            largest = max(largest, float((errors[0] - errors[1]).abs().max()))
        plain, *others = (network.weights() for network in networks)
        differences = [
            max(float((other[name] - w).norm() / w.norm()) for name, w in plain.items())
            for other in others
        ]
        found[optimizer] = {
            "relative_difference": differences[0], "largest_error_difference": largest,
            **({"relative_difference_compiled": differences[1]} if others[1:] else {}),
        }  # fmt: skip
    return found


def update(args: argparse.Namespace) -> dict[str, Any]:
    """Measure updates and predictions whose data is on the device already."""
    from torch.profiler import ProfilerActivity, profile

    gpu = args.backend == "gpu"
    rng, found = np.random.default_rng(1), {}
    for optimizer, captured, at_once in (
        ("rmsprop", False, 8), ("rmsprop", True, 1), ("rmsprop", True, 8), ("rmsprop", True, 32),
        ("adam", True, 32),
    ) if gpu else (("rmsprop", False, 2),):  # fmt: skip
        network = make_network(args, optimizer, captured, compiled=captured)
        batch = random_batch(rng, at_once * BATCH)
        place = network.device
        tensors = [torch.as_tensor(array).to(place) for array in batch]
        batch = type(batch)(*tensors)

        def repeat(
            times: int, network: Any = network, batch: Any = batch, n: int = at_once
        ) -> None:
            for _ in range(times):
                network.train(batch, n)
            if gpu:
                torch.cuda.synchronize()

        repeat(5)
        times = 800 // at_once if gpu else 1
        begun = time.perf_counter()
        repeat(times)
        seconds = time.perf_counter() - begun
        with profile(
            activities=[ProfilerActivity.CUDA if gpu else ProfilerActivity.CPU]
        ) as profiled:
            repeat(4)
        done = 4 * at_once
        kernels = sorted(profiled.key_averages(), key=lambda k: -k.self_device_time_total)
        found[f"{optimizer}, {'graph' if captured else 'plain'}, {at_once} at once"] = {
            "microseconds": seconds / times / at_once * 1e6,
            "kernel_microseconds": sum(k.self_device_time_total for k in kernels) / done,
            "kernels": sum(k.count for k in kernels) / done,
            "largest": {
                k.key[:90]: [k.count / done, round(k.self_device_time_total / done, 2)]
                for k in kernels[:40]
            },
        }
    network = make_network(args, "rmsprop", gpu)
    for lanes in (1, 64, 128) if gpu else (8,):
        states = torch.as_tensor(random_batch(rng, lanes).states).to(network.device)
        for _ in range(5):
            network.predict(states)
        begun = time.perf_counter()
        for _ in range(200 if gpu else 1):
            network.predict(states)
        seconds = time.perf_counter() - begun
        found[f"prediction of {lanes}"] = {"microseconds": seconds / (200 if gpu else 1) * 1e6}
    return found


@contextlib.contextmanager
def watched() -> Iterator[list[tuple[float, float, float]]]:
    """Collect (time, percent that the GPU is busy, MB in use) every 200 ms, where there is one."""
    use: list[tuple[float, float, float]] = []
    if not shutil.which("nvidia-smi"):
        yield use
        return
    watching = subprocess.Popen(WATCH.split(), stdout=subprocess.PIPE, text=True)

    def collect() -> None:
        assert watching.stdout
        for line in watching.stdout:
            percent, megabytes = line.split(",")
            use.append((time.time(), float(percent), float(megabytes)))

    thread = threading.Thread(target=collect)
    thread.start()
    try:
        yield use
    finally:
        watching.terminate()
        thread.join()


def speed(args: argparse.Namespace) -> dict[str, Any]:
    """Measure training over lanes and workers; write after each."""
    small = args.backend == "cpu"
    found: list[dict[str, Any]] = []
    for lanes, workers, concurrent in SPEEDS_SMALL if small else SPEEDS:
        options = [
            "--preset", "nature", "--num_envs", str(lanes), "--workers", str(workers),
            "--backend", args.backend, *(["--concurrent"] if concurrent else []),
            *(["--replay_size", "20000", "--filters", "4"] if small else []),
        ]  # fmt: skip
        command = [sys.executable, str(HERE / "throughput.py"), "--phase", "train"]
        with watched() as use:
            done = subprocess.run(
                [*command, "--game", args.game, "--", *options], capture_output=True, text=True
            )
        entry: dict[str, Any] = {"lanes": lanes, "workers": workers, "concurrent": concurrent}
        if done.returncode:
            entry["failed"] = done.stderr[-2000:]
        else:
            entry |= json.loads(done.stdout.splitlines()[-1])
            begun, ended = entry.pop("measured_between")
            if during := [percent for when, percent, _ in use if begun < when < ended]:
                entry["gpu_use_percent"] = statistics.mean(during)
        if use:
            entry["gpu_memory_mb"] = max(megabytes for _, _, megabytes in use)
        found.append(entry)
        write(args, "speed", {"options": options[:2], "measurements": found})
        print(entry.get("steps_per_second", "failed"), *options, flush=True)
    return {"measurements": found}


def peers(args: argparse.Namespace) -> dict[str, Any]:
    """Measure the peers that are installed."""
    found: dict[str, Any] = {}
    for peer in ("stable_baselines3", "plain_pytorch"):
        command = [sys.executable, str(HERE / f"peer_{peer}.py"), args.game, "train"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            found[peer] = {"failed": done.stderr[-1000:]}
        else:
            found[peer] = json.loads(done.stdout.splitlines()[-1])
    return found


def resume(args: argparse.Namespace) -> dict[str, Any]:
    """Compare a run that is killed twice and resumed with an undisturbed one."""
    options = [
        "--backend", args.backend, "--num_envs", "8", "--workers", "4", "--random_steps", "2000",
        "--train_steps", "6000", "--test_steps", "1000", "--epochs", "3", "--replay_size", "20000",
        "--random_seed", "1", "--checkpoint_every", "1000",
    ]  # fmt: skip
    if args.backend == "cpu":
        options += ["--filters", "4", "--hidden_units", "16", "--threads", "1"]
    with tempfile.TemporaryDirectory() as folder:
        whole = simple_dqn("train", args.game, "whole", *options, cwd=folder)
        assert whole.returncode == 0, whole.stderr[-2000:]
        rows = {"whole": read_rows(Path(folder) / f"results/{args.game}_whole.csv")}
        seconds = float(rows["whole"][-1]["total_time"])
        command = [sys.executable, "-m", "simple_dqn"]
        start = ["train", args.game, "cut", *options]
        kills = 0
        for _ in range(2):
            process = subprocess.Popen(
                [*command, *start], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            time.sleep(0.5 * seconds + 3)
            kills += process.poll() is None
            process.kill()
            process.wait()
            start = ["resume", f"{args.game}_cut"]
        last = simple_dqn("resume", f"{args.game}_cut", cwd=folder)
        rows["cut"] = read_rows(Path(folder) / f"results/{args.game}_cut.csv")
        snapshots = [
            (Path(folder) / f"snapshots/{args.game}_{name}_3.safetensors").read_bytes()
            for name in ("whole", "cut")
        ]
    times = ("total_time", "epoch_time", "steps_per_second")
    for name, lines in rows.items():
        rows[name] = [{k: v for k, v in row.items() if k not in times} for row in lines]
    return {
        "kills": kills, "rows_equal": rows["whole"] == rows["cut"],
        "snapshots_equal": snapshots[0] == snapshots[1], "log": last.stderr[-500:],
        "scores": {name: [row["average_reward"] for row in lines] for name, lines in rows.items()},
    }  # fmt: skip


def train(args: argparse.Namespace) -> dict[str, Any]:
    """Train for a time, from where the last call stopped; test what there is."""
    folder = args.out / "train"
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{args.game}_nature_gpu"
    small = (
        "--filters", "4", "--hidden_units", "16", "--replay_size", "20000", "--random_steps",
        "1000", "--train_steps", "4000", "--test_steps", "1000", "--num_envs", "8", "--workers",
        "2", "--test_workers", "2",
    )  # fmt: skip
    options = ["--backend", args.backend, "--random_seed", "1", *LANES]
    if args.backend == "cpu":
        options += small
    begin = ["train", args.game, "nature_gpu", *options]
    if (folder / f"snapshots/{name}.checkpoint").exists():
        begin = ["resume", name]
    process = subprocess.Popen(
        [sys.executable, "-m", "simple_dqn", *begin], cwd=folder, stderr=subprocess.PIPE, text=True
    )
    try:
        _, log = process.communicate(timeout=60 * args.minutes)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)  # it writes a checkpoint
        _, log = process.communicate()
    rows = read_rows(folder / f"results/{name}.csv")
    found: dict[str, Any] = {"command": begin, "rows": len(rows), "log": log[-2000:]}
    best = folder / f"snapshots/{name}_best.safetensors"
    if best.exists():
        games = "2" if args.backend == "cpu" else "30"
        tested = simple_dqn(
            "test", str(best.relative_to(folder)), "--test_games", games, "--exploration_rate_test",
            "0.05", "--random_seed", "1", cwd=folder,
        )  # fmt: skip
        found["test"] = tested.stdout[-600:]
    if rows:
        found["last_row"] = rows[-1]
    return found


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a statistics file; none if there is no such file."""
    if not path.exists():
        return []
    with open(path) as file:
        return list(csv.DictReader(file))


def write(args: argparse.Namespace, part: str, found: dict[str, Any]) -> None:
    """Write what a part has found, with what it was measured on."""
    text = json.dumps({"device": device(args.backend), **found}, indent=2)
    (args.out / f"{part}.json").write_text(re.sub(r"/\S*/simple_dqn", "simple_dqn", text) + "\n")


def main() -> None:
    """Run the parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--part", choices=PARTS, help="default: all but train")
    parser.add_argument("--out", type=Path, default=Path("gpu"), help="folder for the results")
    parser.add_argument("--minutes", type=float, default=8, help="of train")
    parser.add_argument("--game", default="breakout")
    parser.add_argument("--backend", choices=("gpu", "cpu"), default="gpu")
    args = parser.parse_args()
    if args.backend == "gpu" and not torch.cuda.is_available():
        parser.error("there is no CUDA GPU here; --backend cpu tries everything without one")
    args.out = args.out.resolve()
    args.out.mkdir(parents=True, exist_ok=True)
    failed = False
    for part in (args.part,) if args.part else PARTS[:-1]:
        begun = time.perf_counter()
        try:
            found = globals()[part](args)
        except Exception as error:  # the other parts still count
            found, failed = {"failed": f"{type(error).__name__}: {error}"[-3000:]}, True
        write(args, part, {**found, "seconds": round(time.perf_counter() - begun, 1)})
        print(f"{part}: {time.perf_counter() - begun:.0f} s, {args.out / part}.json", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
