"""The command visualize: which inputs activate the filters of a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from simple_dqn.analysis.filter_page import visualize as write_page
from simple_dqn.commands.snapshots import snapshot_config, snapshot_run
from simple_dqn.errors import UsageError
from simple_dqn.storage.files import require_place
from simple_dqn.storage.snapshot import Snapshot

Given = dict[str, Any]  # the options that the user gave


def visualize(snapshot: Snapshot, given: Given) -> None:
    """Play a game of a snapshot and write a page of what activates its filters."""
    config = snapshot_config(snapshot, given)
    options = config.visualization
    page = Path(options.visualization_file or f"results/{snapshot.path.stem}.html")
    require_place(page, "visualization_file")
    if page.is_dir():
        raise UsageError(f"--visualization_file '{page}' is a folder: add a file's name")
    if page.suffix.lower() not in (".html", ".htm"):  # never statistics or a snapshot
        raise UsageError(f"--visualization_file '{page}': its name must end in .html")
    chosen = given.get("environment", "")
    with snapshot_run(snapshot, config, chosen, with_tests=False) as run:
        write_page(
            run.agent,
            run.statistics,
            snapshot,
            page,
            game=run.game,
            seed=config.common.random_seed,
            filters=options.visualization_filters,
            weight_init=config.network.weight_init,
        )
