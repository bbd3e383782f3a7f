"""A study on Ray Tune: its runs as trials, retried on other nodes, and their results collected."""

from __future__ import annotations

import json
import logging
import os
import socket
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray import tune

from simple_dqn.commands.sweeps.plan import PlannedRun
from simple_dqn.commands.sweeps.progress import StudyProgress
from simple_dqn.commands.sweeps.storage import RunStorage, open_storage
from simple_dqn.commands.sweeps.trial import DONE, FINISHED, remove_left_over, run_trial
from simple_dqn.errors import UsageError
from simple_dqn.options.command_options import SweepOptions
from simple_dqn.options.definitions import ASKED_AGAIN
from simple_dqn.storage.files import write_atomically

logger = logging.getLogger(__name__)

ATTEMPTS = 20  # of a run whose process or node dies
COMMAND = "command.json"  # the kept file with the game and options of a run
SCORE = "score"  # of a row of a test, for a search
CONNECT_SECONDS = 10
# The seconds that a worker waits for the end of a run that is stopped before it takes the next.
WORKERS = {"TUNE_FUNCTION_THREAD_TIMEOUT_S": "600"}


class Study:
    """Where the runs of a study are kept, and what each of them gets.

    Args:
        options: of ``sweep``.

    Raises:
        UsageError: the storage cannot be written.
    """

    def __init__(self, options: SweepOptions) -> None:
        self.label, self.address = options.label, options.address
        self.cpus, self.gpus = options.cpus_per_run, options.gpus_per_run
        place, mark, query = options.storage.partition("?")  # s3://bucket/folder?region=...
        place = f"{place.rstrip('/')}/{options.label}{mark}{query}"
        self.filesystem, self.folder = open_storage(place)

    def storage(self, name: str) -> RunStorage:
        """Return the kept files of a run."""
        return RunStorage(self.filesystem, f"{self.folder}/{name}")

    def require_same(self, name: str, game: str, given: Mapping[str, Any]) -> None:
        """Raise UsageError if the study has a run or a search of this name with other options."""
        if self.storage(name).read(COMMAND) not in ("", _command(game, given)):
            raise UsageError(
                f"the study '{self.label}' has {name} with other options: give another --label"
            )

    def keep(self, name: str, game: str, given: Mapping[str, Any]) -> None:
        """Keep the game and the options of a run or a search, unless they are kept already.

        Raises:
            UsageError: see ``require_same``.
        """
        self.require_same(name, game, given)
        if not self.storage(name).read(COMMAND):
            self.storage(name).write(COMMAND, _command(game, given))

    def require_room(self, runs: Iterable[PlannedRun]) -> None:
        """Raise UsageError for a run that no node has room for: it would wait for ever."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        for run in runs:
            needed = {"CPU": self.cpus, "GPU": self.gpus, "memory": run.memory}
            if not any(all(node.get(k, 0) >= n for k, n in needed.items()) for node in nodes):
                raise UsageError(
                    f"{run.name} needs {self.cpus:g} CPUs, {self.gpus:g} GPUs and "
                    f"{run.memory / 1e9:.1f} GB of memory, which no node has: reduce "
                    f"--cpus_per_run, --gpus_per_run or --replay_size"
                )

    def trial(self, run: PlannedRun) -> dict[str, Any]:
        """Return a run as the configuration of a trial."""
        again = {k: v for k, v in run.given.items() if k in ASKED_AGAIN}
        return {
            "name": run.name, "game": run.game, "arguments": arguments(run.given),
            "again": arguments(again), "threads": max(int(self.cpus), 1), "memory": run.memory,
            "epochs": run.epochs,
        }  # fmt: skip

    def fit(
        self, runs: int, space: dict[str, Any], config: dict[str, Any], *searches: tune.Callback
    ) -> dict[str, str]:
        """Run trials; each ends in its storage.

        Args:
            runs: how many there are.
            space, config: Tune's param_space, with a trial as "run", and TuneConfig.
            searches: what a search has called; without it the rows need no score.

        Returns:
            why runs failed in all attempts, by name.
        """

        def resources(config: dict[str, Any]) -> tune.PlacementGroupFactory:
            one = {"CPU": self.cpus, "GPU": self.gpus, "memory": config["run"]["memory"]}
            return tune.PlacementGroupFactory([{k: v for k, v in one.items() if v}])

        def name_of(trial: Any) -> str:
            return str(trial.config["run"]["name"])

        trainable = partial(
            _trial, filesystem=self.filesystem, folder=self.folder, home=os.getcwd(),
            searches=bool(searches),
        )  # fmt: skip
        progress = StudyProgress(runs)
        with tempfile.TemporaryDirectory(prefix="simple_dqn_study_") as books:
            tuner = tune.Tuner(
                tune.with_resources(trainable, resources),
                param_space=space,
                tune_config=tune.TuneConfig(
                    reuse_actors=True, trial_name_creator=name_of, trial_dirname_creator=name_of,
                    **config
                ),
                run_config=tune.RunConfig(
                    name="study", storage_path=books, verbose=0,
                    failure_config=tune.FailureConfig(max_failures=ATTEMPTS),
                    callbacks=[progress, *searches],
                ),
            )  # fmt: skip
            with progress:
                results = tuner.fit()
        return {
            result.config["run"]["name"]: str(result.error).strip().splitlines()[-1]
            for result in results
            if result.error and result.config
        }

    def collect(self, name: str) -> None:
        """Copy rows, record and snapshots of a finished run to its folders of the study."""
        for path, data in self.storage(name).files():
            folder, _, file = path.rpartition("/")
            if folder in ("results", "snapshots") and not file.endswith(".resume"):
                target = Path(folder) / self.label / file
                if not target.exists():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    write_atomically(target, data())

    def __enter__(self) -> Study:
        """Start Ray, or join its cluster."""
        connect(self.address)
        return self

    def __exit__(self, *error: object) -> None:
        """Leave Ray."""
        ray.shutdown()
        remove_left_over()


def run_study(runs: Sequence[PlannedRun], study: Study) -> list[str]:
    """Run what is not finished yet of a grid; collect results and snapshots.

    Returns:
        a line for each run that could not be finished.

    Raises:
        KeyboardInterrupt: it was interrupted; what is finished has been collected.
        UsageError: no one answers at the address, no node has room for a run, or the study has one
            of the runs with other options.
    """
    for run in runs:
        study.require_same(run.name, run.game, run.given)
    left = [run for run in runs if study.storage(run.name).read(DONE) != FINISHED]
    failures: dict[str, str] = {}
    if left:
        with study:
            study.require_room(left)
            for run in left:
                study.keep(run.name, run.game, run.given)
                study.storage(run.name).write(DONE, "")  # refused ones get another chance
            trials = [study.trial(run) for run in left]
            failures = study.fit(len(left), {"run": tune.grid_search(trials)}, {})
    problems, interrupted = [], False
    for run in runs:
        ending = study.storage(run.name).read(DONE)
        if ending == FINISHED:
            study.collect(run.name)
        else:
            problems.append(f"{run.name}: {ending or failures.get(run.name, '')}")
            interrupted |= not ending and run.name not in failures
    if interrupted:  # Tune ends its trials and returns
        raise KeyboardInterrupt("; the same command continues the study")
    return problems


def _command(game: str, given: Mapping[str, Any]) -> str:
    """Return what is kept of the command of a run."""
    return json.dumps({"game": Path(game).name, **given}, sort_keys=True)


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
            log_to_driver=False, logging_level=logging.ERROR, runtime_env={"env_vars": WORKERS},
        )  # fmt: skip
    except Exception as error:  # Ray has several
        reason = (str(error).strip().splitlines() or ["no answer"])[0]
        hint = "; one with a token needs --address auto on one of its nodes, or RAY_AUTH_MODE=token"
        raise UsageError(f"--address '{address}': {reason}{hint if address else ''}") from None


def _trial(config: dict[str, Any], filesystem: Any, folder: str, home: str, searches: bool) -> None:
    """Run one trial in a worker of Ray."""
    run = config["run"]
    storage = RunStorage(filesystem, f"{folder}/{run['name']}")

    def report(row: dict[str, Any]) -> None:
        row = {**row, "epoch": int(row["epoch"])}
        if not searches:
            tune.report(row)
        elif row["phase"] == "test":  # Tune requires the score in each row
            tune.report({**row, SCORE: float(row["average_reward"])})

    run_trial(
        run["name"], run["game"], run["arguments"], run["again"], run["threads"], storage, home,
        report, again_from_start=searches,
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
