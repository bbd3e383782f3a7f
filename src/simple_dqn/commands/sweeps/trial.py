"""A trial: one run, as a process of ``train`` or ``resume``, with its files kept as it goes."""

from __future__ import annotations

import contextlib
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

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    from simple_dqn.commands.sweeps.storage import RunStorage

DONE = "done"  # the kept file that says how a run ended: one of these, or why it was refused
FINISHED, STOPPED = "finished", "stopped"
RESUMED_FROM = "run.safetensors"  # of a checkpoint: written last, see ``storage.checkpoint``
WORK = "simple_dqn_run_"  # how the folder of a run begins, among the temporary ones
IN_USE = ".in_use"  # locked by the worker that uses the folder
POLL = 0.2  # seconds between two looks at a run's files
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
    again_from_start: bool = False,
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
        again_from_start: report the rows of earlier attempts, too, also of a run that has ended.

    Raises:
        RuntimeError: the process died; another attempt may succeed.
    """
    if storage.read(DONE) in (FINISHED, STOPPED):
        for row in rows_of(storage.read(f"results/{name}.csv")) if again_from_start else ():
            report(row)
        return
    remove_left_over()
    # Not a TemporaryDirectory: the exit of the interpreter would empty it while its files are kept.
    work = Path(tempfile.mkdtemp(prefix=WORK))
    lock = FileLock(work / IN_USE)
    try:
        lock.acquire()
        checkpoint = work / f"snapshots/{name}.checkpoint"
        resumes = storage.fetch(work) and (checkpoint / RESUMED_FROM).is_file()
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
            kept = read_rows(work / f"results/{name}.csv") if resumes else []
            reported = 0 if again_from_start else len(kept)
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
        lock.release()


def remove_left_over() -> None:
    """Remove the folders of runs whose worker died before it could: no one holds their locks."""
    for work in Path(tempfile.gettempdir()).glob(f"{WORK}*"):
        lock = FileLock(work / IN_USE)
        with contextlib.suppress(Timeout, OSError), lock.acquire(timeout=0):
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
        return rows_of(path.read_text())
    except OSError:
        return []


def rows_of(text: str) -> list[dict[str, Any]]:
    """Return the complete rows of the text of a statistics file."""
    return list(csv.DictReader(text[: text.rfind("\n") + 1].splitlines()))
