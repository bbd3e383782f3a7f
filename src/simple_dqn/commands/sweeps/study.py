"""A study on Ray Tune: its runs as trials, retried on other nodes, and their results collected."""

from __future__ import annotations

import json
import logging
import os
import socket
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray import tune

from simple_dqn.commands.sweeps.plan import PlannedRun
from simple_dqn.commands.sweeps.progress import StudyProgress
from simple_dqn.commands.sweeps.storage import RunStorage, open_storage
from simple_dqn.commands.sweeps.trial import DONE, FINISHED, run_trial
from simple_dqn.errors import UsageError
from simple_dqn.options.definitions import ASKED_AGAIN, Config
from simple_dqn.replay_memory import ReplayMemory
from simple_dqn.storage.files import write_atomically

logger = logging.getLogger(__name__)

ATTEMPTS = 20  # of a run whose process or node dies
COMMAND = "command.json"  # the kept file with the game and options of a run
OVERHEAD = 600_000_000  # bytes of a run besides its replay memory
CONNECT_SECONDS = 10


def run_study(
    runs: Sequence[PlannedRun], place: str, label: str, address: str, cpus: float, gpus: float
) -> list[str]:
    """Run what is not finished yet; collect results and snapshots.

    Args:
        runs: of the study.
        place: a folder or a URI, where the files of the runs are kept.
        label: of the study.
        address: of a Ray cluster; empty for the cores of this machine.
        cpus, gpus: of each run; fractions share one.

    Returns:
        a line for each run that could not be finished.

    Raises:
        KeyboardInterrupt: it was interrupted; what is finished has been collected.
        UsageError: the storage cannot be written, no one answers at the address, or the study has
            one of the runs with other options.
    """
    filesystem, folder = open_storage(f"{place.rstrip('/')}/{label}")
    kept = {run.name: RunStorage(filesystem, f"{folder}/{run.name}") for run in runs}
    for run in runs:
        _require_same(run, kept[run.name], label)
    left = [run for run in runs if kept[run.name].read(DONE) != FINISHED]
    for run in left:
        kept[run.name].write(DONE, "")  # refused ones get another chance
    failures: dict[str, str] = {}
    if left:
        connect(address)
        try:
            _require_room(left, cpus, gpus)
            failures = _fit(left, filesystem, folder, cpus, gpus)
        finally:
            ray.shutdown()
    problems, interrupted = [], False
    for run in runs:
        ending = kept[run.name].read(DONE)
        if ending == FINISHED:
            collect(run.name, kept[run.name], label)
        else:
            problems.append(f"{run.name}: {ending or failures.get(run.name, '')}")
            interrupted |= not ending and run.name not in failures
    if interrupted:  # Tune ends its trials and returns
        raise KeyboardInterrupt("; the same command continues the study")
    return problems


def connect(address: str) -> None:
    """Start Ray on this machine, or join a cluster.

    Raises:
        UsageError: no one answers at the address.
    """
    if address not in ("", "auto"):
        host, _, port = address.rpartition("://")[2].rpartition(":")
        try:
            socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
        except (OSError, ValueError) as error:  # Ray itself would wait for minutes
            raise UsageError(f"--address '{address}': no one answers there ({error})") from None
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # which prints in spite of verbose=0
    try:
        ray.init(
            address=address or "local", include_dashboard=False if not address else None,
            log_to_driver=False, logging_level=logging.ERROR,
        )  # fmt: skip
    except Exception as error:  # Ray has several
        reason = (str(error).strip().splitlines() or ["no answer"])[0]
        raise UsageError(f"--address '{address}': {reason}") from None


def _require_room(runs: Sequence[PlannedRun], cpus: float, gpus: float) -> None:
    """Raise UsageError for a run that no node has room for: it would wait for ever."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for run in runs:
        needed = {"CPU": cpus, "GPU": gpus, "memory": memory_of(run.config)}
        if not any(all(node.get(k, 0) >= n for k, n in needed.items()) for node in nodes):
            gigabytes = needed["memory"] / 1e9
            raise UsageError(
                f"{run.name} needs {cpus:g} CPUs, {gpus:g} GPUs and {gigabytes:.1f} GB of memory, "
                f"which no node has: reduce --cpus_per_run, --gpus_per_run or --replay_size"
            )


def _require_same(run: PlannedRun, storage: RunStorage, label: str) -> None:
    """Raise UsageError if the study has a run of this name with another game or other options."""
    own = json.dumps({"game": Path(run.game).name, **run.given}, sort_keys=True)
    there = storage.read(COMMAND)
    if there and there != own:
        raise UsageError(
            f"the study '{label}' has the run {run.name} with other options: give another --label"
        )
    if not there:
        storage.write(COMMAND, own)


def _fit(
    runs: Sequence[PlannedRun], filesystem: Any, folder: str, cpus: float, gpus: float
) -> dict[str, str]:
    """Run the trials; each ends in its storage. Return why runs failed in all attempts, by name."""
    trials = [
        {
            "name": run.name, "game": run.game, "arguments": arguments(run.given),
            "again": arguments({k: v for k, v in run.given.items() if k in ASKED_AGAIN}),
            "threads": max(int(cpus), 1), "memory": memory_of(run.config),
        }
        for run in runs
    ]  # fmt: skip

    def resources(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        one = {"CPU": cpus, "GPU": gpus, "memory": config["run"]["memory"]}
        return tune.PlacementGroupFactory([{k: v for k, v in one.items() if v}])

    trainable = partial(_trial, filesystem=filesystem, folder=folder, home=os.getcwd())
    with tempfile.TemporaryDirectory(prefix="simple_dqn_study_") as books:
        tuner = tune.Tuner(
            tune.with_resources(trainable, resources),
            param_space={"run": tune.grid_search(trials)},
            tune_config=tune.TuneConfig(
                trial_name_creator=lambda trial: trial.config["run"]["name"],
                trial_dirname_creator=lambda trial: trial.config["run"]["name"],
            ),
            run_config=tune.RunConfig(
                name="study", storage_path=books, verbose=0,
                failure_config=tune.FailureConfig(max_failures=ATTEMPTS),
                callbacks=[StudyProgress([run.name for run in runs])],
            ),
        )  # fmt: skip
        results = tuner.fit()
    return {
        result.config["run"]["name"]: str(result.error).strip().splitlines()[-1]
        for result in results
        if result.error and result.config
    }


def _trial(config: dict[str, Any], filesystem: Any, folder: str, home: str) -> None:
    """Run one trial in a worker of Ray."""
    run = config["run"]
    storage = RunStorage(filesystem, f"{folder}/{run['name']}")
    run_trial(
        run["name"], run["game"], run["arguments"], run["again"], run["threads"], storage, home,
        lambda row: tune.report(row),
    )  # fmt: skip


def arguments(given: dict[str, Any]) -> list[str]:
    """Return options as arguments of ``train``."""
    words: list[str] = []
    for name, value in given.items():
        if isinstance(value, tuple | list):
            words += [f"--{name}", *map(str, value)] if value else []
        else:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            words.append(f"--{name}={text}")
    return words


def memory_of(config: Config) -> int:
    """Return the bytes that a run takes at most, with screens of the size that its options say."""
    env = config.environment
    shape = (env.screen_height, env.screen_width)
    return ReplayMemory.nbytes(config.replay.replay_size, shape, "uint8") + OVERHEAD


def collect(name: str, storage: RunStorage, label: str) -> None:
    """Copy rows, record and snapshots of a finished run to its folders of the study."""
    for path, data in storage.files():
        folder, _, file = path.rpartition("/")
        if folder in ("results", "snapshots") and not file.endswith(".resume"):
            target = Path(folder) / label / file
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(target, data())
