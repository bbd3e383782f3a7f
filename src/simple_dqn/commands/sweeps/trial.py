"""A trial: one run, as a process of ``train`` or ``resume``, with its files kept as it goes."""

from __future__ import annotations

import csv
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simple_dqn.commands.sweeps.storage import RunStorage

DONE, FINISHED = "done", "finished"  # the kept file that says this of a run, or why it was refused
POLL = 0.5  # seconds between two looks at a run's files
REFUSED = 2  # the exit status of ``train`` for input that it cannot use
PR_SET_PDEATHSIG = 1  # of Linux's prctl


def run_trial(
    name: str,
    game: str,
    arguments: list[str],
    again: list[str],
    threads: int,
    storage: RunStorage,
    home: str,
    report: Callable[[dict[str, Any]], None],
) -> None:
    """Run to the end, from the last kept checkpoint if there is one.

    Args:
        name: of the run's files.
        game, arguments: of ``train``.
        again: the arguments that ``resume`` must be given again.
        threads: of the run.
        storage: keeps its files, and how it ended.
        home: the folder where the study was started; custom classes are found there.
        report: called with each new row of its statistics file.

    Raises:
        RuntimeError: the process died; another attempt may succeed.
    """
    if storage.read(DONE) == FINISHED:
        return
    # Not a TemporaryDirectory: the exit of the interpreter would empty it while its files are kept.
    work = Path(tempfile.mkdtemp(prefix="simple_dqn_"))
    try:
        resumes = storage.fetch(work) and (work / f"snapshots/{name}.checkpoint").is_dir()
        places = ["--csv_file", f"results/{name}.csv", "--save_weights_prefix", f"snapshots/{name}"]
        train = ["train", game, *arguments, *places, "--overwrite"]
        command = ["resume", name, *again] if resumes else train
        with open(work / ".log", "wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "simple_dqn", *command],
                cwd=work, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=environment(threads, home), preexec_fn=die_with_parent,
            )  # fmt: skip
        try:
            reported = len(read_rows(work / f"results/{name}.csv")) if resumes else 0
            while True:
                ended = process.poll() is not None
                rows = read_rows(work / f"results/{name}.csv")
                storage.keep(work)
                for row in rows[reported:]:
                    report(row)
                reported = max(reported, len(rows))
                if ended:
                    break
                time.sleep(POLL)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait()
                storage.keep(work)
        lines = (work / ".log").read_text(errors="replace").strip().splitlines() or [""]
        if process.returncode == REFUSED:
            storage.write(DONE, lines[-1].removeprefix("simple-dqn: "))
        elif process.returncode == 0:
            storage.write(DONE, FINISHED)
        else:
            raise RuntimeError(f"{name} ended with status {process.returncode}: {lines[-1]}")
    finally:
        shutil.rmtree(work, ignore_errors=True)


def environment(threads: int, home: str) -> dict[str, str]:
    """Return the environment of a run."""
    paths = [home, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        **os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": os.pathsep.join(paths),
    }  # fmt: skip


def die_with_parent() -> None:
    """Let the kernel end this process with its parent, however that ends; on Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the complete rows of a statistics file."""
    try:
        text = path.read_text()
    except OSError:
        return []
    return list(csv.DictReader(text[: text.rfind("\n") + 1].splitlines()))
