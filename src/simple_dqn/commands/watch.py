"""The commands that show a game: play and record."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from simple_dqn.commands.build import Run, build
from simple_dqn.commands.show import announce, show_and_record, title
from simple_dqn.commands.snapshots import (
    ONE_GAME,
    find_snapshots_game,
    load_snapshot_into,
    snapshot_config,
    snapshot_run,
)
from simple_dqn.environments.games import find_game
from simple_dqn.errors import UsageError
from simple_dqn.options.definitions import SAVED_PLAY, Config
from simple_dqn.options.option import short_text
from simple_dqn.options.presets import PLAY_DEFAULTS
from simple_dqn.options.resolve import resolve
from simple_dqn.storage.experience_file import save_experience
from simple_dqn.storage.files import require_place
from simple_dqn.storage.minari_dataset import is_dataset, require_new_dataset
from simple_dqn.storage.snapshot import Snapshot, load_snapshot
from simple_dqn.watch.displays import open_display
from simple_dqn.watch.film import GIF_ROOM, Delayed, Film
from simple_dqn.watch.gif import Gif
from simple_dqn.watch.interface import signals_unwind
from simple_dqn.watch.player import NewGame, Player, Quit
from simple_dqn.watch.recorder import Video, unfinished
from simple_dqn.watch.scene import QMeter

Given = dict[str, Any]  # the options that the user gave


def play(what: str, given: Given) -> None:
    """Show a snapshot playing, or let the user play; leaving early is not an error."""
    snapshot = load_snapshot(Path(what)) if Path(what).suffix == ".safetensors" else None
    given |= ONE_GAME
    if snapshot:
        game, rom = find_snapshots_game(snapshot, given.get("environment", ""))
    else:
        given["environment"], game, rom = find_game(what, given.get("environment", "auto"))
    if not given.get("save_experience"):
        for name in SAVED_PLAY:
            if name in given:
                raise UsageError(f"--{name} has no effect without --save_experience: leave it out")
    defaults = dict(PLAY_DEFAULTS)
    if not rom or given.get("display") == "none":
        del defaults["test_frame_cap"]
    config = resolve({**defaults, **given}, snapshot.config if snapshot else None)
    lines: list[str] = []  # printed at the end
    keeping = require_new_experience(config)
    shown = config.watch.display != "none"
    try:
        with (
            signals_unwind() if keeping else contextlib.nullcontext(),
            build(config, game, rom, with_memory=keeping, with_tests=False, shown=shown) as run,
        ):
            play_games(run, snapshot, lines)
    finally:
        for line in lines:
            print(line)


def require_new_experience(config: Config) -> bool:
    """Return whether experience will be saved.

    Raises:
        UsageError: the file cannot be written, or exists.
    """
    name = config.watch.save_experience
    if not name:
        return False
    if is_dataset(name):
        require_new_dataset(name, config.run.overwrite)
        return True
    path = Path(name)
    if path.suffix == ".safetensors":
        raise UsageError(f"--save_experience '{path}' is a snapshot's name: use .experience")
    require_place(path, "save_experience")
    if path.is_dir():
        raise UsageError(f"--save_experience '{path}' is a folder: add a file's name")
    if path.exists() and not config.run.overwrite:
        raise UsageError(f"'{path}' exists: give another name, or --overwrite")
    return True


def play_games(run: Run, snapshot: Snapshot | None, lines: list[str]) -> None:
    """Play and show the games of ``play``; ``lines`` collects what is printed at the end."""
    config = run.config
    if snapshot:
        load_snapshot_into(run, snapshot)
    watch = config.watch
    display = open_display(watch.display, title(run), watch.host, watch.port, watch.open)
    if display is None and not snapshot:
        raise UsageError("without a snapshot you play yourself: that needs a --display")
    if display is None and not config.watch.games:
        raise UsageError("--games 0 ends with Esc, so it needs a --display")
    if config.watch.save_experience:  # after the display has been closed
        run.resources.callback(keep_experience, run, lines)
    player = None
    if display is not None:
        rate = run.environment.sound_rate if config.watch.sound else 0
        speaker = display.open_speaker(rate)
        player = Player(run.agent, display, speaker, has_network=bool(snapshot), game=run.game)
        run.resources.callback(player.close)
        run.agent.callbacks[:] = [run.statistics, player]  # no live line, no log lines
        run.statistics.on_row = ()

    def report(score: float, early: str = "") -> None:
        who = " and ".join(sorted(player.players)) or "no one" if player else "the network"
        number = len(lines) + 1
        lines.append(f"{run.game}, game {number}: score {short_text(score)} by {who}{early}")
        if display is not None:
            display.say(lines[-1])

    run.statistics.on_row += (lambda row: report(row["average_reward"]),)
    try:
        while not config.watch.games or len(lines) < config.watch.games:
            with contextlib.suppress(NewGame):
                run.agent.play(1)
    except (Quit, KeyboardInterrupt):
        if player and not player.over:
            report(player.score, early=", left early")


def keep_experience(run: Run, lines: list[str]) -> None:
    """Save the games as experience, even if they ended early."""
    assert run.agent.memory is not None
    path, played = run.config.watch.save_experience, run.agent.memory.experience()
    steps = len(played.starts) - int(played.starts.sum())
    if not steps:
        lines.append(f"nothing was played, so {path} was not written")
        return
    save_experience(path, played, run.config, run.game, run.environment)
    full = ", the latest" if run.agent.memory.filled.max() == run.agent.memory.slots else ""
    lines.append(f"{path}: {steps} steps{full}, for train.sh --load_experience")


def record(snapshot: Snapshot, given: Given) -> None:
    """Record a whole game of a snapshot: every picture, and the sound."""
    config = snapshot_config(snapshot, given)
    target = Path(config.watch.video_file or f"videos/{snapshot.path.stem}.mp4")
    require_new_video(config, target)
    chosen = given.get("environment", "")
    with snapshot_run(snapshot, config, chosen, with_tests=False, shown=True) as run:
        show_and_record(run)
        environment = run.environment
        rate, aspect = environment.frames_per_second, environment.pixel_aspect
        meter = QMeter(environment.action_meanings, rate / environment.frame_skip)
        film = Film(config.watch.video_scale, aspect, meter if config.watch.q_values else None)
        delayed = Delayed([])  # where a step is one picture
        run.agent.callbacks += [film, delayed]
        announce(run)
        with signals_unwind(), contextlib.ExitStack() as files:
            if config.watch.gif:  # closed after the video, which is more important to save
                temporary = files.enter_context(unfinished(target.with_suffix(".gif")))
                gif = Gif(
                    temporary, rate, environment.is_console, Film(0, aspect, None, GIF_ROOM)
                )  # fmt: skip
                environment.on_frame += (files.enter_context(contextlib.closing(gif)),)
            temporary = files.enter_context(unfinished(target))
            video = Video(temporary, rate, environment.sound_rate, film)
            files.enter_context(contextlib.closing(video))
            if config.watch.q_values and environment.frame_skip == 1:
                delayed.recorders.append(video)
                environment.on_frame += (delayed,)
            else:
                environment.on_frame += (video,)
            run.agent.play(1)
        score, seconds = run.statistics.row["average_reward"], video.frames / rate
        unit = "frames" if environment.is_console else "pictures"
        print(f"{target}: {video.frames} {unit}, {seconds:.1f} s, score {short_text(score)}")


def require_new_video(config: Config, target: Path) -> None:
    """Raise UsageError unless the video, and the GIF if there is one, can be written."""
    if target.suffix != ".mp4":
        raise UsageError(f"--video_file '{target}' is not the name of a video: it must end in .mp4")
    require_place(target, "video_file")
    for file in (target, target.with_suffix(".gif"))[: 1 + config.watch.gif]:
        if file.is_dir():
            raise UsageError(f"'{file}' is a folder: give another --video_file")
        if file.exists() and not config.run.overwrite:
            raise UsageError(f"'{file}' exists: give another --video_file, or --overwrite")
