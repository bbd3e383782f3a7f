"""The command ``sweep``: a study of games, variants and seeds, on all cores or on a cluster."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from simple_dqn.commands.sweeps.plan import plan
from simple_dqn.commands.sweeps.study import run_study
from simple_dqn.errors import UsageError
from simple_dqn.options.definitions import groups
from simple_dqn.options.resolve import resolve

logger = logging.getLogger(__name__)

OWN = {"threads": 1, "test_workers": 0, "checkpoint_every": "2m"}  # unless they are given


def sweep(games: Sequence[str], given: dict[str, Any]) -> None:
    """Run a study; running the same command again continues it.

    Raises:
        UsageError: the study cannot start, or runs of it could not be finished.
    """
    options = resolve({k: v for k, v in given.items() if k in _own_names()}).sweep
    of_runs = {name: value for name, value in given.items() if name not in _own_names()}
    threads = max(int(options.cpus_per_run), 1)
    of_runs = {**OWN, "threads": threads, **of_runs}
    runs, problems = plan(games, of_runs, options.grid, options.seeds)
    for problem in problems:
        logger.warning("%s", problem)
    logger.info("%d runs of the study '%s'", len(runs), options.label)
    problems += run_study(
        runs, options.storage, options.label, options.address, options.cpus_per_run,
        options.gpus_per_run,
    )  # fmt: skip
    logger.info("results are in results/%s: compare.sh results/%s", options.label, options.label)
    if problems:
        raise UsageError("; ".join(problems))


def _own_names() -> set[str]:
    return set(groups()["sweep"].__dataclass_fields__)
