"""What any command can show or record of a run: a log line, a window, pictures, sound."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from simple_dqn.commands.build import Run
from simple_dqn.environment import Environment
from simple_dqn.errors import UsageError
from simple_dqn.options.command_options import WatchOptions
from simple_dqn.options.resolve import changed_options
from simple_dqn.storage.files import require_place
from simple_dqn.storage.statistics_file import read_csv

logger = logging.getLogger(__name__)


def announce(run: Run) -> None:
    """Log what is about to run, after all checks have passed."""
    options = run.config
    weights = f", from {options.run.load_weights}" if options.run.load_weights else ""
    logger.info(
        "%s: %d actions, network on %s in %s%s",
        run.game, len(run.environment.action_meanings), run.network.device,
        run.network.datatype, weights,
    )  # fmt: skip


def title(run: Run) -> str:
    """Return the title of a window that shows the run."""
    return f"{run.game} - Simple DQN"


def show_and_record(run: Run) -> None:
    """Attach the outputs of ``--display_screen``, ``--page`` and ``--record_...`` to a run.

    Raises:
        UsageError: there is no screen, a package is missing, or a recording exists already.
    """
    env = run.config.environment
    for option, place, inside in (
        ("record_screen_path", env.record_screen_path, len("000000000.png")),
        ("record_sound_filename", env.record_sound_filename, 0),
    ):
        if place:
            require_place(Path(place), option, inside)
        if place and Path(place).exists():
            raise UsageError(f"--{option} '{place}' exists: give another name")
    if env.display_screen:
        show_window(run)
    show_page(run)
    if env.record_screen_path or env.record_sound_filename:
        record_game(run)


def show_window(run: Run) -> None:
    """Show the first game in a window."""
    from simple_dqn.watch.displays import open_display
    from simple_dqn.watch.player import Player

    display = open_display("window", title(run))
    assert display is not None
    player = Player(run.agent, display, None, has_network=True)
    run.resources.callback(player.close)
    run.agent.callbacks.append(player)


def show_page(run: Run) -> None:
    """Show the run on a page, if requested.

    Raises:
        UsageError: the page cannot have its port, or an option has no effect without a page.
    """
    watch, default = run.config.watch, WatchOptions()
    if watch.page is None:
        for name in ("host", "open"):
            if getattr(watch, name) != getattr(default, name):
                raise UsageError(f"--{name} has no effect without --page: leave it out")
        return
    from simple_dqn.watch.browser.run_page import RunPage

    csv_file, name = Path(run.config.run.csv_file), Path(run.config.run.save_weights_prefix).name
    page = RunPage(
        f"{name} - Simple DQN", watch.host, watch.page, watch.open,
        statistics=run.statistics,
        epochs=run.config.run.epochs,
        phases=[name for name in ("train", "test") if getattr(run.config.run, f"{name}_steps")],
        preset=run.config.common.preset,
        changed=changed_options(run.config),
        pixel_aspect=run.environment.pixel_aspect,
        read_rows=lambda: read_csv(csv_file) if csv_file.exists() else [],
    )  # fmt: skip
    print(f"the run is at {page.server.url}", flush=True)
    run.resources.callback(page.close)
    run.agent.callbacks.append(page)


def record_game(run: Run) -> None:
    """Write the frames and the sound of the first game into files."""
    from simple_dqn.watch.recorder import Pictures, Sound

    env = run.config.environment
    listeners: list[Callable[[Environment], None]] = []
    if env.record_screen_path:
        listeners.append(Pictures(Path(env.record_screen_path), run.environment.pixel_aspect))
    if env.record_sound_filename:
        sound = Sound(Path(env.record_sound_filename), run.environment.sound_rate)
        run.resources.callback(sound.close)
        listeners.append(sound)
    for environment, _ in run.agent.all_lanes:
        environment.on_frame += tuple(listeners)
