"""Fault injection for any length of time: kills, failing writes, hostile files, absurd options.

    scripts/soak.sh [--minutes 1] [--seed N] [--folder DIR]

Every round is drawn from the seed, so that a failure can be reproduced. It prints counts, and exits
with status 1 at the first run that differs from the reference run, the first traceback, and the
first damage that is not refused in one line. ``test_faults.py`` runs a few rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import errno
import io
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from simple_dqn.callbacks import writers
from simple_dqn.environments.games import find_rom
from simple_dqn.main import main as simple_dqn
from simple_dqn.options.parser import make_parser
from simple_dqn.statistics import TIME_COLUMNS
from simple_dqn.storage import files

# Four short epochs of Pong, with far more checkpoints than anyone would want.
RUN = [
    "--random_steps", "80", "--train_steps", "160", "--test_steps", "60", "--epochs", "4",
    "--replay_size", "400", "--screen_width", "36", "--screen_height", "36", "--filters", "4",
    "--hidden_units", "16", "--target_steps", "50", "--validation_size", "20", "--backend", "cpu",
    "--threads", "1", "--random_seed", "5", "--checkpoint_every", "25",
]  # fmt: skip
VARIANTS = {
    "plain": [],
    "lanes": ["--num_envs", "4"],
    "prioritized": ["--prioritized"],
    "both": ["--num_envs", "4", "--prioritized"],
}


PATIENCE = 20  # seconds until Ctrl-C
MEMORY = 8 << 30  # bytes of address space for such a process


class Failure(Exception):
    """Something that must never happen has happened."""


def results(folder: Path, name: str) -> tuple[list[dict[str, str]], bytes]:
    """Return the rows without time columns, and the last snapshot."""
    with open(folder / f"results/pong_{name}.csv", newline="") as file:
        rows = [
            {k: v for k, v in row.items() if k not in TIME_COLUMNS} for row in csv.DictReader(file)
        ]
    return rows, (folder / f"snapshots/pong_{name}_4.safetensors").read_bytes()


def command(*arguments: str) -> list[str]:
    """Return the command line of a new process."""
    return [sys.executable, "-m", "simple_dqn", *arguments]


def reference(folder: Path, variant: str) -> tuple[list[dict[str, str]], bytes]:
    """Return the results of an uninterrupted run, which is made only once."""
    name = f"reference_{variant}"
    if not (folder / f"snapshots/pong_{name}_4.safetensors").exists():
        arguments = ["train", "roms/pong.bin", name, *RUN, *VARIANTS[variant]]
        subprocess.run(command(*arguments), cwd=folder, check=True, capture_output=True)
    return results(folder, name)


def kill(folder: Path, variant: str, kills: int, rng: random.Random, counts: Counter[str]) -> None:
    """Kill and resume a run at random moments until it is done; compare the results."""
    expected = reference(folder, variant)
    name, most = f"killed_{variant}", kills
    for path in (*folder.glob(f"*/pong_{name}.*"), *folder.glob(f"*/pong_{name}_*")):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    checkpoint = folder / f"snapshots/pong_{name}.checkpoint"
    start = ["train", "roms/pong.bin", name, *RUN, *VARIANTS[variant], "--overwrite"]
    while True:
        arguments = (
            ["resume", f"pong_{name}"] if (checkpoint / "run.safetensors").exists() else start
        )
        with subprocess.Popen(
            command(*arguments), cwd=folder, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr is not None
            startup = ""
            if kills > 0:
                # Not while Python starts, which proves nothing, but once the run has started.
                for line in process.stderr:
                    startup += line
                    if "statistics go to" in line:
                        break
                time.sleep(rng.uniform(0, 1.5 / most))
                kills -= 1
                process.send_signal(signal.SIGKILL)
            text = startup + process.stderr.read()
        if process.returncode == 0 or "nothing is left to do" in text:  # killed while exiting
            break
        if process.returncode != -signal.SIGKILL:
            raise Failure(f"{' '.join(arguments)}: status {process.returncode}: {text}")
        counts["kills"] += 1
        torn = [*folder.glob(f"*/.pong_{name}*.tmp"), *checkpoint.glob(".*.tmp")]
        counts["kills during a write"] += bool(torn)
        for path in torn:  # so that each is counted once; a run would remove them as well
            path.unlink()
    if results(folder, name) != expected:
        raise Failure(f"a killed run ({variant}) reached different results, in {folder}")
    counts["killed runs with the results of the reference run"] += 1


# --- writes that fail ----------------------------------------------------------------------------


class FailingDisk:
    """Makes the ``number``-th file operation fail, with ENOSPC or EIO."""

    def __init__(self, number: int, error: int) -> None:
        self.number, self.error = number, error
        self.failed = ""

    def __call__(self, name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.number -= 1
            if self.number == 0:
                self.failed = name
                raise OSError(self.error, os.strerror(self.error))
            return operation(*args, **kwargs)

        return call


class TornFile:
    """A file whose ``write`` may fail halfway, or while it is flushed."""

    def __init__(self, file: Any, disk: FailingDisk) -> None:
        self.file, self.disk = file, disk
        self.flush = disk("flush", file.flush)

    def write(self, data: Any) -> int:
        half = len(data) // 2
        self.file.write(data[:half])
        done: int = self.disk("write", self.file.write)(data[half:])
        return half + done

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def __enter__(self) -> TornFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()


@contextlib.contextmanager
def failing_disk(number: int, error: int) -> Iterator[FailingDisk]:
    """Make one file operation fail within the block."""
    disk = FailingDisk(number, error)

    class OS:
        fsync = staticmethod(disk("fsync", os.fsync))
        replace = staticmethod(disk("replace", os.replace))

        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

    def open_failing(path: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if mode not in ("wb", "a"):
            return open(path, mode, *args, **kwargs)
        file = disk("open", open)(path, mode, *args, **kwargs)
        return TornFile(file, disk)

    before = files.os, writers.os
    files.os = writers.os = OS()  # type: ignore[assignment]
    files.open = writers.open = open_failing  # type: ignore[attr-defined]
    try:
        yield disk
    finally:
        files.os, writers.os = before
        del files.open, writers.open  # type: ignore[attr-defined]


def fail_a_write(folder: Path, variant: str, rng: random.Random, counts: Counter[str]) -> bool:
    """Make one write of a run fail, resume and compare it; return whether any write failed."""
    expected = reference(folder, variant)
    name = "failing"
    for path in (*folder.glob(f"*/pong_{name}.*"), *folder.glob(f"*/pong_{name}_*")):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    error = rng.choice([errno.ENOSPC, errno.EIO])
    start = ["train", "roms/pong.bin", name, *RUN, *VARIANTS[variant]]
    with inside(folder), failing_disk(rng.randrange(1, 700), error) as disk:
        status, text = run_command(start)
    while status != 0:
        line = text.splitlines()[-1]
        if "nothing is left to do" in line:  # it failed after everything had been written
            break
        if status != 2 or os.strerror(error) not in line:
            raise Failure(f"{disk.failed} failed: status {status}: {text}")
        kept = (folder / f"snapshots/pong_{name}.checkpoint/run.safetensors").exists()
        with inside(folder):
            status, text = run_command(
                ["resume", f"pong_{name}"] if kept else [*start, "--overwrite"]
            )
    if results(folder, name) != expected:
        raise Failure(f"a run ({variant}) whose {disk.failed} failed reached different results")
    counts[f"{errno.errorcode[error]} at {disk.failed or 'no operation'}"] += 1
    return bool(disk.failed)


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Change to ``folder`` within the block."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def run_command(arguments: list[str]) -> tuple[int, str]:
    """Run a command in this process; return its status and its stderr."""
    text = io.StringIO()
    with contextlib.redirect_stderr(text), contextlib.redirect_stdout(io.StringIO()):
        status = simple_dqn(arguments)
    return status, text.getvalue()


# --- damaged files -------------------------------------------------------------------------------


class Evil:
    """What a hostile pickle may do."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("evil",)


def damage(content: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Damage the content in a random way; return (the kind of damage, the damaged content)."""
    at = rng.randrange(len(content))
    kind = rng.choice(["flip", "cut", "random", "pickle", "long header", "zeros", "doubled"])
    if kind == "flip":
        flipped = content[at] ^ 1 << rng.randrange(8)
        return kind, content[:at] + bytes([flipped]) + content[at + 1 :]
    if kind == "cut":
        return kind, content[:at]
    if kind == "random":
        return kind, rng.randbytes(rng.randrange(1, 2000))
    if kind == "pickle":
        return kind, pickle.dumps(Evil())
    if kind == "long header":
        return kind, rng.randrange(2**63).to_bytes(8, "little") + content[8:]
    if kind == "zeros":
        count = rng.randrange(1, 5000)
        zeroed = content[:at] + b"\0" * min(count, len(content) - at) + content[at + count :]
        return kind, zeroed if zeroed != content else b""
    return kind, content + content


@contextlib.contextmanager
def files_to_damage(folder: Path) -> Iterator[tuple[Path, dict[str, tuple[Path, list[str]]]]]:
    """Yield a folder with a file of every kind, and {kind: (its path, the command that reads it)}.

    It is a copy: a command that accepts a damaged file may change all the others.
    """
    stem, intact = "pong_reference_plain", folder / "intact"
    if not (intact / "pong.experience").exists():
        intact.mkdir(exist_ok=True)
        reference(intact, "plain")
        arguments = ["play", f"snapshots/{stem}_4.safetensors", "--display", "none",
                     "--save_experience", "pong.experience", "--random_seed", "1"]  # fmt: skip
        subprocess.run(command(*arguments), cwd=intact, check=True, capture_output=True)
        shutil.copy(find_rom("pong")[1], intact / "custom.bin")
    copy = folder / "damaged"
    shutil.copytree(intact, copy)
    try:
        yield copy, readers(copy, stem)
    finally:
        shutil.rmtree(copy)


def readers(folder: Path, stem: str) -> dict[str, tuple[Path, list[str]]]:
    """Return {kind of file: (the path of one, the command that reads it)}."""
    checkpoint = folder / f"snapshots/{stem}.checkpoint"
    chunk = sorted(checkpoint.glob("replay_*"))[0]
    small = [*RUN, "--epochs", "0", "--no_checkpoint"]
    return {
        "snapshot": (
            folder / f"snapshots/{stem}_4.safetensors",
            ["test", f"snapshots/{stem}_4.safetensors", "--test_steps", "1"],
        ),
        "training state": (
            folder / f"snapshots/{stem}_3.resume",
            ["resume", f"snapshots/{stem}_3.safetensors", "--epochs", "3"],
        ),
        "checkpoint": (checkpoint / "run.safetensors", ["resume", stem, "--epochs", "5"]),
        "part of a checkpoint": (chunk, ["resume", stem, "--epochs", "5"]),
        "experience": (
            folder / "pong.experience",
            ["train", "roms/pong.bin", "x", *small, "--load_experience", "pong.experience"],
        ),
        "ROM": (folder / "custom.bin", ["train", "custom.bin", "x", *small, "--overwrite"]),
        "statistics": (folder / f"results/{stem}.csv", ["plot", f"results/{stem}.csv"]),
        "record": (
            folder / f"results/{stem}.json",
            ["train", "x", "--from", f"results/{stem}.json", "--epochs", "0", "--overwrite"],
        ),
    }  # fmt: skip


# They have no checksum; some damage leaves them valid, such as a changed digit.
UNCHECKED = ("statistics", "record")


def damage_a_file(folder: Path, rng: random.Random, counts: Counter[str]) -> None:
    """Damage a file and read it: one line, status 2, no code run and no files left."""
    with files_to_damage(folder) as (copy, kinds):
        kind, (path, arguments) = rng.choice(list(kinds.items()))
        how, damaged = damage(path.read_bytes(), rng)
        path.write_bytes(damaged)
        before = set(copy.rglob("*"))
        try:
            with inside(copy):
                status, text = run_command(arguments)
        except Exception as error:
            raise Failure(f"a {kind}, {how}: {type(error).__name__}: {error}") from error
        left = set(copy.rglob("*")) - before
        refused = status == 2 and sum("simple-dqn:" in line for line in text.splitlines()) == 1
        if not refused and not (kind in UNCHECKED and status == 0):
            raise Failure(f"a {kind}, {how}: status {status}: {text}")
        if (copy / "evil").exists() or (refused and left):
            raise Failure(f"a {kind}, {how}, left {left}")
    counts[f"{'refused' if refused else 'still read'}: {kind}"] += 1


# --- tampering: damage with a valid checksum ------------------------------------------------------


def run_process(folder: Path, arguments: list[str], what: str) -> int:
    """Run a command that may be nonsensical; return its status, unless that is a failure."""
    limited = f'ulimit -v {MEMORY >> 10}; exec "$@"'
    with subprocess.Popen(
        ["bash", "-c", limited, "-", *command(*arguments)], cwd=folder, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        try:
            text = process.communicate(timeout=PATIENCE)[0]
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            try:
                text = process.communicate(timeout=PATIENCE)[0]
            except subprocess.TimeoutExpired:
                process.kill()
                raise Failure(f"{what}{arguments}: cannot be interrupted") from None
    lines = sum(line.startswith("simple-dqn:") for line in text.splitlines())
    status: int = process.returncode
    if status not in (0, 2, 130) or "Traceback" in text or lines > 1:
        raise Failure(f"{what}{arguments}: status {status}: {text}")
    if status == 2 and lines != 1:
        raise Failure(f"{what}{arguments}: status 2 without a line: {text}")
    return status


def tamper(folder: Path, rng: random.Random, counts: Counter[str]) -> None:
    """Change a value in a file and renew its checksum: it is refused in one line, or runs."""
    with files_to_damage(folder) as (copy, kinds):
        kind = rng.choice(sorted({*kinds} - {*UNCHECKED, "ROM"}))
        path, arguments = kinds[kind]
        sealed = "file of experience" if kind == "experience" else kind
        tensors, metadata = files.load_tensors(path, sealed)
        places = [(tensors, name) for name in tensors] + list(leaves(metadata))
        tree, key = rng.choice(places)
        if tree is tensors:
            tensors[key] = rng.choice([
                torch.zeros(3), tensors[key][:1], tensors[key].to(torch.float64),
                torch.full_like(tensors[key], 77), torch.cat([tensors[key].flatten()] * 2),
            ])  # fmt: skip
        else:
            tree[key] = rng.choice([
                None, -1, 0, 10**400, 2**63, 1.5, float("nan"), True, "x", "../x", [], {}, [[]],
                "a:b",
            ])  # fmt: skip
        del metadata["kind"], metadata["format_version"], metadata["checksum"]
        files.save_tensors(path, sealed, tensors, metadata)
        status = run_process(copy, arguments, f"{kind}, {key!r} tampered with: ")
        if (copy / "evil").exists():
            raise Failure(f"a {kind}, {key!r} tampered with, ran code")
    counts[f"tampered {kind}: status {status}"] += 1


def leaves(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (container, key) of every value in a tree of dicts and lists."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if isinstance(tree, list) or key not in ("kind", "format_version", "checksum"):
            yield tree, key
        if isinstance(value, (dict, list)):
            yield from leaves(value)


# --- nonsensical options --------------------------------------------------------------------------

VALUES = (
    "", "0", "-0", "1", "-1", "2", "7", "1.5", "-1e-9", "1e-30", "1e9", "1e309", "inf", "nan",
    "9" * 40, "true", "maybe", "None", "ε", "a" * 300, "..", "/", "/dev/null", "/proc/x/y", "a:b",
    "os:system",
    "8,8", "%s", "{}", "--", "-", "=", " ", "\n", "\x1b[2J", "results", "pong", "1m", "-5m", "0x10",
)  # fmt: skip
BRIEF = ["--random_steps", "0", "--epochs", "0", "--no_checkpoint"]


def fuzz_options(folder: Path, rng: random.Random, counts: Counter[str]) -> None:
    """Give one to three options arbitrary values: it runs, or one line says what is wrong."""
    reference(folder, "plain")
    stem = "pong_reference_plain"
    name, base = rng.choice([
        ("train", ["train", "roms/pong.bin", "fuzz", *RUN, *BRIEF, "--overwrite"]),
        ("train", ["train", "CartPole-v1", "fuzz", *BRIEF, "--overwrite"]),
        ("test", ["test", f"snapshots/{stem}_4.safetensors", "--test_steps", "5"]),
        ("play", ["play", f"snapshots/{stem}_4.safetensors", "--display", "none"]),
        ("plot", ["plot", f"results/{stem}.csv", "--png_file", "fuzz.png"]),
    ])  # fmt: skip
    options = [a.option_strings[0] for a in make_parser(name)._actions if a.option_strings]
    drawn = [
        word
        for option in rng.sample(sorted(set(options) - {"-h"}), rng.choice([1, 1, 2, 3]))
        for word in [option, rng.choice(VALUES)][: rng.choice([1, 2, 2, 2, 2])]
    ]
    status = run_process(folder, [*base, *drawn], "")
    counts[f"options: status {status}"] += 1


def main() -> int:
    """Run rounds until the time is up; print counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--seed", type=int, default=None, help="of everything drawn")
    parser.add_argument("--folder", type=Path, help="where to work; it is kept")
    args = parser.parse_args()
    seed = random.randrange(2**31) if args.seed is None else args.seed
    rng, counts = random.Random(seed), Counter[str]()
    end = time.monotonic() + 60 * args.minutes
    with contextlib.ExitStack() as stack:
        folder = args.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        print(f"seed {seed}", flush=True)
        try:
            while time.monotonic() < end:
                kill(folder, rng.choice(list(VARIANTS)), 5, rng, counts)
                for _ in range(5):
                    fail_a_write(folder, rng.choice(list(VARIANTS)), rng, counts)
                for _ in range(50):
                    damage_a_file(folder, rng, counts)
                for _ in range(10):
                    fuzz_options(folder, rng, counts)
                    tamper(folder, rng, counts)
        except Failure as failure:
            print(f"FAILED: {failure}")
            return 1
        finally:
            for what, count in sorted(counts.items()):
                print(f"{count:8} {what}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
