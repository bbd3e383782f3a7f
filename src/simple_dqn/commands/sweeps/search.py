"""A search for the best values of options, by Optuna, with early stopping of poor trials (ASHA).

A trial is a run like any other. When the command is given again, the trials that are kept report
their rows again, so that sampler and early stopping know what they knew.
"""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from ray import tune
from ray.tune.schedulers import AsyncHyperBandScheduler
from ray.tune.search.optuna import OptunaSearch

from simple_dqn.commands.sweeps.plan import OWN, PlannedGame, PlannedRun
from simple_dqn.commands.sweeps.space import Domain, largest_run, trial_run
from simple_dqn.commands.sweeps.study import COMMAND, SCORE, Study, arguments
from simple_dqn.commands.sweeps.trial import DONE, FINISHED, STOPPED, rows_of
from simple_dqn.errors import UsageError
from simple_dqn.storage.files import write_atomically
from simple_dqn.storage.run_files import file_name

logger = logging.getLogger(__name__)

SHOWN = 10  # of the best configurations


class Tried(NamedTuple):
    """A trial that has a score.

    Attributes:
        name: of its files.
        point: the options that were chosen.
        ending: "finished", "stopped" or empty: it was interrupted.
        epochs: that it was tested after.
        last, best: its test scores.
    """

    name: str
    point: dict[str, Any]
    ending: str
    epochs: int
    last: float
    best: float


class Trials(OptunaSearch):  # type: ignore[misc]
    """Suggests the trials of a search: first those that are kept, then new ones.

    Args:
        study: that keeps them.
        game: that is searched.
        given: the options of ``train`` of all trials.
        space: what is chosen from.
        largest: of its runs.
        kept: the points of the trials that are kept, in their order.
    """

    def __init__(
        self, study: Study, game: PlannedGame, given: Mapping[str, Any],
        space: Mapping[str, Domain], largest: PlannedRun, kept: list[dict[str, Any]],
    ) -> None:  # fmt: skip
        self.study, self.game, self.given, self.space = study, game, given, space
        self.largest, self.count = largest, 0
        distributions = {name: distribution(domain) for name, domain in space.items()}
        super().__init__(
            distributions, metric=SCORE, mode="max", points_to_evaluate=kept,
            seed=given.get("random_seed", 1) + len(kept),  # not the same points again
        )  # fmt: skip

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Return the next trial."""
        point = super().suggest(trial_id)
        if point is None:
            return None
        self.count += 1
        point = {name: self.space[name].rounded(value) for name, value in point.items()}
        try:
            run = trial_run(self.game, self.given, self.count, point)
        except UsageError:  # the run will say so
            name = trial_run(self.game, self.given, self.count, {}).name
            run = self.largest._replace(name=name, given={**self.largest.given, **point})
        self.study.require_same(run.name, run.game, run.given)
        return {"run": self.study.trial(run)}


class MarkStopped(tune.Callback):  # type: ignore[misc]
    """Keeps of each trial that was stopped early that it was.

    Args:
        study: that keeps the trials.
    """

    def __init__(self, study: Study) -> None:
        self.study = study

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Keep it."""
        storage = self.study.storage(trial.config["run"]["name"])
        if not storage.read(DONE):
            storage.write(DONE, STOPPED)


def search_game(
    study: Study, game: PlannedGame, given: Mapping[str, Any], space: Mapping[str, Domain],
    trials: int, grace: int,
) -> list[str]:  # fmt: skip
    """Search the best options for a game; print and keep the best ones.

    Args:
        study: that keeps the trials; Ray has been started.
        game: that is searched.
        given: the options of ``train`` of all trials.
        space: what is chosen from.
        trials: how many, with those that are kept.
        grace: epochs before a trial may be stopped; 0 for a tenth of all.

    Returns:
        a line for each trial that could not be run.

    Raises:
        KeyboardInterrupt: it was interrupted.
        UsageError: an option or a bound cannot be used, or the study has trials with others.
    """
    largest = largest_run(game, given, space)
    if not (largest.epochs and largest.tests):
        raise UsageError(
            "a search goes by the test score: --epochs and --test_steps must be above 0"
        )
    study.require_room([largest])
    searched = {"search": {name: list(domain) for name, domain in space.items()}}
    study.require_same(f"{file_name(game.game)}_search", game.name, {**given, **searched})
    kept = _kept_points(study, game, given, space)
    names = [trial_run(game, given, k + 1, {}).name for k in range(max(trials, len(kept)))]
    for name in names[: len(kept)]:
        if study.storage(name).read(DONE) not in (FINISHED, STOPPED):
            study.storage(name).write(DONE, "")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    config = dict(
        search_alg=Trials(study, game, given, space, largest, kept),
        scheduler=AsyncHyperBandScheduler(
            time_attr="epoch", metric=SCORE, mode="max",
            grace_period=grace or max(largest.epochs // 10, 1),
            max_t=largest.epochs + 1,  # not all: the last snapshot is written after the last test
        ),
        num_samples=len(names),
    )  # fmt: skip
    failures = study.fit(len(names), {}, config, MarkStopped(study))
    tried, problems, interrupted = [], [], False
    for name in names:
        storage = study.storage(name)
        ending = storage.read(DONE)
        if ending == FINISHED:
            study.collect(name)
        rows = [r for r in rows_of(storage.read(f"results/{name}.csv")) if r["phase"] == "test"]
        if rows and ending in (FINISHED, STOPPED, ""):
            scores = [float(row["average_reward"]) for row in rows]
            options = json.loads(storage.read(COMMAND))
            point = {option: options[option] for option in space}
            tried.append(
                Tried(name, point, ending, int(rows[-1]["epoch"]), scores[-1], max(scores))
            )
        if ending not in (FINISHED, STOPPED):
            problems.append(f"{name}: {ending or failures.get(name, '')}")
            interrupted |= not ending and name not in failures
    text = best_text(game, given, tried)
    print(text, end="", flush=True)
    place = Path("results") / study.label / f"{file_name(game.game)}_search.txt"
    place.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(place, text.encode())
    if interrupted:  # Tune ends its trials and returns
        raise KeyboardInterrupt("; the same command continues the search")
    return problems


def distribution(domain: Domain) -> optuna.distributions.BaseDistribution:
    """Return a domain for Optuna."""
    if domain.kind == "choice":
        return optuna.distributions.CategoricalDistribution(domain.values)
    low, high = domain.values
    log = domain.kind.startswith("log")
    if "int" in domain.kind:
        return optuna.distributions.IntDistribution(low, high, log=log)
    return optuna.distributions.FloatDistribution(low, high, log=log)


def best_text(game: PlannedGame, given: Mapping[str, Any], tried: list[Tried]) -> str:
    """Return the best trials as a table, and a command that runs the best again.

    The more epochs a trial was given, the better it did: those come first that got furthest.
    """
    best = sorted(tried, key=lambda t: (t.epochs, t.last), reverse=True)[:SHOWN]
    if not best:
        return f"no trial of {game.game} has a test score\n"
    options = list(best[0].point)
    head = ["trial", "state", "epochs", "last test", "best test", *options]
    rows = [
        [t.name, t.ending or "interrupted", str(t.epochs), f"{t.last:.2f}", f"{t.best:.2f}",
         *(str(t.point[option]) for option in options)]
        for t in best
    ]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)) for r in [head, *rows]]
    own = {**OWN, "random_seed": given.get("random_seed")}
    again = {k: v for k, v in given.items() if own.get(k) != v} | best[0].point
    words = [
        "./scripts/sweep.sh",
        game.name,
        "--label",
        f"{file_name(game.game)}_best",
        *arguments(again),
    ]
    lines += ["", "the best with several seeds, which one score does not replace:"]
    return "\n".join(line.rstrip() for line in [*lines, f"  {shlex.join(words)}"]) + "\n"


def _kept_points(
    study: Study, game: PlannedGame, given: Mapping[str, Any], space: Mapping[str, Domain]
) -> list[dict[str, Any]]:
    """Return the points of the trials that are kept, in their order."""
    points: list[dict[str, Any]] = []
    while kept := study.storage(trial_run(game, given, len(points) + 1, {}).name).read(COMMAND):
        options = json.loads(kept)
        points.append({name: options[name] for name in space})
    return points
