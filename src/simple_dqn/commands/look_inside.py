"""The commands plot and visualize."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from simple_dqn.errors import UsageError
from simple_dqn.options.resolve import resolve

if TYPE_CHECKING:
    pass

Given = dict[str, Any]  # the options that the user gave


def plot(csvs: list[Path], given: Given) -> None:
    """Plot the statistics of one or more runs."""
    config = resolve(given)
    from simple_dqn.analysis.plot import plot

    plot(csvs, config.plot)


def visualize(path: Path, given: Given) -> None:
    """Play a game of a snapshot and write a page about what excites its filters."""
    from simple_dqn.analysis.filter_page import visualize
    from simple_dqn.commands.build import build, go_on
    from simple_dqn.environments.games import find_snapshots_game
    from simple_dqn.storage.files import require_writable
    from simple_dqn.storage.snapshot import load_snapshot

    snapshot = load_snapshot(path)
    game, rom = find_snapshots_game(snapshot, given.get("environment", ""))
    config = resolve({**given, "num_envs": 1, "workers": 0}, snapshot.config)
    options = config.visualization
    page = Path(options.visualization_file or f"results/{path.stem}.html")
    if page.is_dir():
        raise UsageError(f"--visualization_file '{page}' is a folder: add a file's name")
    require_writable(page.parent, "visualization_file")
    with build(config, game, rom, with_memory=False, with_tests=False) as run:
        go_on(run, snapshot)
        visualize(run, snapshot, options.visualization_filters, page)
