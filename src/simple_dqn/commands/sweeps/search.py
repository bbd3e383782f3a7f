"""A search for the best values of options, by Optuna, with early stopping of poor trials (ASHA).

A trial is a run like any other. When the command is given again, the trials that are kept report
their rows again, so that sampler and early stopping know what they knew.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from ray import tune
from ray.tune.schedulers import AsyncHyperBandScheduler
from ray.tune.search.optuna import OptunaSearch

from simple_dqn.commands.sweeps.plan import OWN, PlannedGame
from simple_dqn.commands.sweeps.space import Domain, largest_run, trial_run
from simple_dqn.commands.sweeps.study import COMMAND, SCORE, Study, arguments
from simple_dqn.commands.sweeps.trial import DONE, FINISHED, STOPPED, rows_of
from simple_dqn.errors import UsageError
from simple_dqn.options.command_options import SweepOptions
from simple_dqn.storage.files import write_atomically
from simple_dqn.storage.run_files import file_name

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
        search: whose trials they are.
    """

    def __init__(self, search: Search) -> None:
        self.search, self.count = search, 0
        distributions = {name: distribution(domain) for name, domain in search.space.items()}
        super().__init__(
            distributions, metric=SCORE, mode="max", points_to_evaluate=search.kept,
            seed=search.given.get("random_seed", 1) + len(search.kept),  # not the same points again
        )  # fmt: skip

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Return the next trial."""
        point = super().suggest(trial_id)
        if point is None:
            return None
        self.count += 1
        search = self.search
        point = {name: search.space[name].rounded(value) for name, value in point.items()}
        try:
            run = trial_run(search.game, search.given, self.count, point)
        except UsageError:  # the run will say so
            name = trial_run(search.game, search.given, self.count, {}).name
            run = search.largest._replace(name=name, given={**search.largest.given, **point})
        search.study.keep(run.name, run.game, run.given)
        return {"run": search.study.trial(run)}


class StopPoorOnes(AsyncHyperBandScheduler):  # type: ignore[misc]
    """ASHA, but a trial that has trained all its epochs ends by itself, with its last snapshot."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Return whether a trial continues after a test."""
        decision = str(super().on_trial_result(tune_controller, trial, result))
        return self.CONTINUE if result["epoch"] >= trial.config["run"]["epochs"] else decision


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


class Search:
    """A search of the best options for a game.

    Args:
        study: that keeps the trials; Ray has been started.
        game: that is searched.
        given: the options of ``train`` of all trials.
        space: what is chosen from.
        options: of ``sweep``.

    Raises:
        UsageError: an option or a bound cannot be used, no node has room for a trial, or the study
            has trials with other options.
    """

    def __init__(
        self, study: Study, game: PlannedGame, given: Mapping[str, Any],
        space: Mapping[str, Domain], options: SweepOptions,
    ) -> None:  # fmt: skip
        self.study, self.game, self.given, self.space = study, game, given, space
        self.options = options
        self.largest = largest_run(game, given, space)
        if not self.largest.tests:
            raise UsageError(
                "a search goes by the test score: --epochs and --test_steps must be above 0"
            )
        self.grace = options.grace_epochs or max(self.largest.epochs // 10, 1)
        if self.grace > self.largest.epochs:
            raise UsageError(
                f"--grace_epochs {self.grace} is more than the {self.largest.epochs} epochs"
            )
        study.require_room([self.largest])
        searched = {"search": {name: list(domain) for name, domain in space.items()}}
        study.keep(f"{file_name(game.game)}_search", game.name, {**given, **searched})
        self.kept: list[dict[str, Any]] = []  # the points of the trials that are kept, in order
        while kept := study.storage(self._name(len(self.kept) + 1)).read(COMMAND):
            known = json.loads(kept)
            self.kept.append({name: known[name] for name in space})

    def run(self) -> list[str]:
        """Run the trials; print and keep the best ones.

        Returns:
            a line for each trial that could not be run.

        Raises:
            KeyboardInterrupt: it was interrupted.
        """
        study = self.study
        names = [self._name(k + 1) for k in range(max(self.options.trials, len(self.kept)))]
        for name in names[: len(self.kept)]:
            if study.storage(name).read(DONE) not in (FINISHED, STOPPED):
                study.storage(name).write(DONE, "")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        config = dict(
            search_alg=Trials(self),
            scheduler=StopPoorOnes(
                time_attr="epoch", metric=SCORE, mode="max", grace_period=self.grace,
                max_t=self.largest.epochs + 1,
            ),
            num_samples=len(names),
        )  # fmt: skip
        failures = study.fit(len(names), {}, config, MarkStopped(study))
        tried: list[Tried] = []
        problems, interrupted = [], False
        for name in names:
            ending = study.storage(name).read(DONE)
            if ending == FINISHED:
                study.collect(name)
            if ending in (FINISHED, STOPPED, ""):
                tried += self._tried(name, ending)
            if ending not in (FINISHED, STOPPED):
                problems.append(f"{name}: {ending or failures.get(name, '')}")
                interrupted |= not ending and name not in failures
        text = best_text(self.game, self._common(), tried)
        print(text, end="", flush=True)
        place = Path("results") / study.label / f"{file_name(self.game.game)}_search.txt"
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(place, text.encode())
        if interrupted:  # Tune ends its trials and returns
            raise KeyboardInterrupt("; the same command continues the search")
        return problems

    def _name(self, number: int) -> str:
        return trial_run(self.game, self.given, number, {}).name

    def _tried(self, name: str, ending: str) -> list[Tried]:
        """Return a trial with its scores; none if it has no test yet."""
        storage = self.study.storage(name)
        rows = [r for r in rows_of(storage.read(f"results/{name}.csv")) if r["phase"] == "test"]
        if not rows:
            return []
        scores = [float(row["average_reward"]) for row in rows]
        known = json.loads(storage.read(COMMAND))
        point = {option: known[option] for option in self.space}
        return [Tried(name, point, ending, int(rows[-1]["epoch"]), scores[-1], max(scores))]

    def _common(self) -> dict[str, Any]:
        """Return the options of ``sweep`` that all trials have and that are not its usual ones."""
        usual, own = SweepOptions(), self.options
        places = ("storage", "address", "cpus_per_run", "gpus_per_run")
        of_sweep = {k: getattr(own, k) for k in places if getattr(own, k) != getattr(usual, k)}
        implied = {
            **OWN, "threads": max(int(own.cpus_per_run), 1),
            "random_seed": self.given.get("random_seed"),
        }  # fmt: skip
        return of_sweep | {k: v for k, v in self.given.items() if implied.get(k) != v}


def distribution(domain: Domain) -> optuna.distributions.BaseDistribution:
    """Return a domain for Optuna."""
    if domain.kind == "choice":
        return optuna.distributions.CategoricalDistribution(domain.values)
    low, high = domain.values
    log = domain.kind.startswith("log")
    if "int" in domain.kind:
        return optuna.distributions.IntDistribution(low, high, log=log)
    return optuna.distributions.FloatDistribution(low, high, log=log)


def best_text(game: PlannedGame, common: Mapping[str, Any], tried: list[Tried]) -> str:
    """Return the best trials as a table, and a command that runs the best again.

    ``common`` are the options that all of them have.

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
    words = [
        "./scripts/sweep.sh",
        game.name,
        "--label",
        f"{file_name(game.game)}_best",
        *arguments({**common, **best[0].point}),
    ]
    lines += ["", "the best with several seeds, which one score does not replace:"]
    return "\n".join(line.rstrip() for line in [*lines, f"  {shlex.join(words)}"]) + "\n"
