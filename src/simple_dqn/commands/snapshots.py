"""Runs from a snapshot: its game, its options, its weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from simple_dqn.callbacks.writers import CSVFile
from simple_dqn.commands.build import Run, build
from simple_dqn.environments.games import find_game, find_rom
from simple_dqn.errors import UsageError
from simple_dqn.options.definitions import Config
from simple_dqn.options.resolve import resolve
from simple_dqn.statistics import Row
from simple_dqn.storage.files import require_place
from simple_dqn.storage.snapshot import Saved, Snapshot, fitting_weights
from simple_dqn.storage.statistics_file import require_statistics

ONE_GAME = {"num_envs": 1, "workers": 0}  # overrides a snapshot's options


def find_snapshots_game(
    snapshot: Saved, environment: str = "", name: str | None = None
) -> tuple[str, Path | None]:
    """Return (game, ROM) of a snapshot or checkpoint, with the ROM from roms/ or from ale-py.

    Args:
        snapshot: it may come from anyone, so it must not decide alone which modules run.
        environment: the user's ``--environment``.
        name: another game of the same environment, by the user.

    Raises:
        UsageError: there is no such game, or its code needs the user's consent.
    """
    own = str(snapshot.config.get("environment"))
    if environment not in ("", own):
        raise UsageError(f"'{snapshot.path}' was trained with --environment {own}: leave it out")
    if ":" in own and not environment:
        raise UsageError(
            f"'{snapshot.path}' was trained on a custom environment: "
            f"give --environment {own} to run its code"
        )
    if name:
        return find_game(name, own)[1:]
    if ":" in own:
        return snapshot.game, None
    if own == "gym":
        module = snapshot.game.rpartition(":")[0]
        if module and environment != "gym":
            raise UsageError(
                f"'{snapshot.path}' was trained on '{snapshot.game}': give --environment gym to "
                f"import the module {module}"
            )
        return snapshot.game, None
    return find_rom(f"roms/{snapshot.game}.bin")


@contextmanager
def snapshot_run(
    snapshot: Snapshot, config: Config, environment: str = "", **options: Any
) -> Iterator[Run]:
    """Build a run that plays with a snapshot's network, without a replay memory.

    Args:
        snapshot: its weights and counters are loaded.
        config: see ``snapshot_config``.
        environment: the user's ``--environment``.
        options: see ``build``.

    Raises:
        UsageError: its game or its network cannot be made.
    """
    game, rom = find_snapshots_game(snapshot, environment)
    with build(config, game, rom, **{"with_memory": False, **options}) as run:
        load_snapshot_into(run, snapshot)
        yield run


def snapshot_config(snapshot: Snapshot, given: Mapping[str, Any]) -> Config:
    """Return the options of a snapshot, overridden by the user's, for a single game.

    One that was trained on a GPU needs none: it then runs on the CPU.
    """
    stored = snapshot.config
    if stored.get("backend") == "gpu":
        stored = {**stored, "backend": "auto", "device_id": 0}
    return resolve({**given, **ONE_GAME}, stored)


def load_snapshot_into(run: Run, snapshot: Snapshot) -> None:
    """Load the weights and counters of a snapshot.

    Raises:
        UsageError: see ``load_weights``.
    """
    load_weights(run, snapshot)
    run.agent.total_train_steps = snapshot.total_train_steps
    run.network.weight_updates = snapshot.weight_updates
    run.statistics.epoch = snapshot.epoch


def load_weights(run: Run, snapshot: Snapshot) -> None:
    """Load the network's weights from a snapshot.

    Raises:
        UsageError: the snapshot's actions or observations are not the game's.
    """
    own, theirs = run.environment.action_meanings, snapshot.action_meanings
    if own != theirs:
        raise UsageError(
            f"'{snapshot.path}' was trained on {snapshot.game} with the actions "
            f"{' '.join(theirs)}, but {run.game} has {' '.join(own)} here"
        )
    seen = snapshot.observation_shape, snapshot.observation_dtype
    here = run.environment.observation_shape, run.environment.observation_dtype.name
    if seen != here:
        raise UsageError(
            f"'{snapshot.path}' sees observations {seen[0]} {seen[1]}, but {run.game} has "
            f"{here[0]} {here[1]} here"
        )
    try:
        run.network.load_weights(fitting_weights(snapshot.weights, run.network.weights()))
    except UsageError as error:
        raise UsageError(f"'{snapshot.path}': {error}") from None


def open_test_csv(config: Config) -> tuple[Callable[[Row], None], ...]:
    """Return what writes the row of a test to its CSV file, if requested.

    Raises:
        UsageError: it exists already, or is no statistics file that may be replaced.
    """
    if not config.run.csv_file:
        return ()
    path = Path(config.run.csv_file)
    require_place(path, "csv_file")
    if path.exists():
        if not config.run.overwrite:
            raise UsageError(f"'{path}' exists: give another --csv_file, or --overwrite true")
        require_statistics(path)
    # Made with its row: a test that is interrupted leaves what was there.
    return (lambda row: CSVFile(path)(row),)
