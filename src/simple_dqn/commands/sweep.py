"""The command ``sweep``: a study of games, variants and seeds, on all cores or on a cluster."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from simple_dqn.commands.sweeps.plan import OWN, find_games, plan, require_effect
from simple_dqn.commands.sweeps.space import read_space
from simple_dqn.commands.sweeps.study import Study, run_study
from simple_dqn.errors import UsageError
from simple_dqn.options.definitions import groups
from simple_dqn.options.resolve import resolve

logger = logging.getLogger(__name__)


def sweep(names: Sequence[str], given: dict[str, Any]) -> None:
    """Run a study or a search; running the same command again continues it.

    Raises:
        UsageError: the study cannot start, or runs of it could not be finished.
    """
    options = resolve({k: v for k, v in given.items() if k in _own_names()}).sweep
    require_effect(given)
    of_runs = {name: value for name, value in given.items() if name not in _own_names()}
    threads = max(int(options.cpus_per_run), 1)
    of_runs = {**OWN, "threads": threads, **of_runs}
    space = read_space(options.search)
    games, left_out = find_games(names, of_runs)
    runs = plan(games, of_runs, options.grid, 1 if space else options.seeds)
    for problem in left_out:
        logger.warning("%s", problem)
    study = Study(options)
    if space:
        from simple_dqn.commands.sweeps.search import Search

        logger.info("%d trials of each game in '%s'", options.trials, options.label)
        with study:  # all games are checked before the first one starts
            searches = [Search(study, game, of_runs, space, options) for game in games]
            problems = [problem for search in searches for problem in search.run()]
    else:
        logger.info("%d runs of the study '%s'", len(runs), options.label)
        problems = run_study(runs, study)
    logger.info("results are in results/%s: compare.sh results/%s", options.label, options.label)
    if left_out:  # why has been said when the study started
        problems.append(f"left out: {', '.join(line.split()[0] for line in left_out)}")
    if problems:
        raise UsageError("; ".join(problems))


def _own_names() -> set[str]:
    return set(groups()["sweep"].__dataclass_fields__)
