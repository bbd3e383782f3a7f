"""The commands that show a game: play and record."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from simple_dqn.build import (
    Run,
    announce,
    build,
    find_game,
    find_snapshots_game,
    go_on,
    show_and_record,
    title,
)
from simple_dqn.config import PLAY_DEFAULTS
from simple_dqn.errors import UsageError
from simple_dqn.experience import save_experience
from simple_dqn.files import require_writable
from simple_dqn.resolve import resolve
from simple_dqn.snapshot import load_snapshot
from simple_dqn.watch.display import open_display, signals_unwind
from simple_dqn.watch.player import NewGame, Player, Quit
from simple_dqn.watch.recorder import Film, Gif, Video, unfinished
from simple_dqn.watch.sound import open_speaker

Given = dict[str, Any]  # the options that the user gave

EXPERIENCE_SIZE = 100_000  # slots kept of what is played: nearly two hours of an Atari game


def play(what: str, given: Given) -> None:
    """Show a snapshot playing, or let a person play; leaving it early is no error."""
    snapshot = load_snapshot(Path(what)) if Path(what).suffix == ".safetensors" else None
    given["num_envs"] = 1
    if snapshot:
        game, rom = find_snapshots_game(snapshot, given.get("environment", ""))
    else:
        given["environment"], game, rom = find_game(what, given.get("environment", "auto"))
    if rom and given.get("display") != "none":
        given = {**PLAY_DEFAULTS, **given}
    if given.get("save_experience"):
        given = {**given, "replay_size": EXPERIENCE_SIZE}
    config = resolve(given, snapshot.config if snapshot else None)
    lines: list[str] = []  # what is said at the end
    shown = config.watch.display != "none"
    experience = Path(config.watch.save_experience)
    if config.watch.save_experience:
        if experience.exists() and not config.run.overwrite:
            raise UsageError(f"'{experience}' exists: give another name, or --overwrite")
        require_writable(experience.parent, "save_experience")
    with build(config, game, rom, bool(config.watch.save_experience), shown) as run:
        if config.watch.save_experience:
            run.resources.callback(keep_experience, experience, run, lines)
        if snapshot:
            go_on(run, snapshot)
        display = open_display(config.watch.display, title(run))
        if display is None and not snapshot:
            raise UsageError("without a snapshot you play yourself: that needs a --display")
        if display is None and not config.watch.games:
            raise UsageError("--games 0 ends with Esc, so it needs a --display")
        player = None
        if display is not None:
            rate = run.environment.sound_rate if config.watch.sound else 0
            player = Player(run.agent, display, open_speaker(rate), has_network=bool(snapshot))
            run.resources.callback(player.close)
            run.agent.callbacks[:] = [run.statistics, player]  # no live line, no log lines
            run.statistics.on_row = ()

        def tell(score: float, early: str = "") -> None:
            who = " and ".join(sorted(player.players)) if player else "the network"
            number = len(lines) + 1
            lines.append(f"{game}, game {number}: score {score:g} by {who}{early}")

        run.statistics.on_row += (lambda row: tell(row["average_reward"]),)
        try:
            while not config.watch.games or len(lines) < config.watch.games:
                with contextlib.suppress(NewGame):
                    run.agent.play(1)
        except (Quit, KeyboardInterrupt):
            if player and not player.over:
                tell(player.score, early=", left early")
    for line in lines:
        print(line)


def keep_experience(path: Path, run: Run, lines: list[str]) -> None:
    """Write what was played to be learnt from, however the game ended."""
    assert run.agent.memory is not None
    played = run.agent.memory.experience()
    steps = len(played.starts) - int(played.starts.sum())
    if not steps:
        lines.append(f"nothing was played, so there is no {path}")
        return
    save_experience(path, played, run.config, run.game, run.environment)
    full = ", the latest" if run.agent.memory.filled.max() == EXPERIENCE_SIZE else ""
    lines.append(f"{path}: {steps} steps{full}, for train.sh --load_experience")


def record(path: Path, given: Given) -> None:
    """Film one whole game of a snapshot, every emulator frame of it, with its sound."""
    snapshot = load_snapshot(path)
    game, rom = find_snapshots_game(snapshot, given.get("environment", ""))
    config = resolve({**given, "num_envs": 1}, snapshot.config)
    target = Path(config.watch.video_file or f"videos/{path.stem}.mp4")
    if target.suffix != ".mp4":
        raise UsageError(f"--video_file '{target}' is no name for a video: let it end in .mp4")
    for file in (target, target.with_suffix(".gif"))[: 1 + config.watch.gif]:
        if file.is_dir():
            raise UsageError(f"'{file}' is a folder: give another --video_file")
        if file.exists() and not config.run.overwrite:
            raise UsageError(f"'{file}' exists: give another --video_file, or --overwrite")
    require_writable(target.parent, "video_file")
    with build(config, game, rom, with_memory=False, shown=True) as run:
        go_on(run, snapshot)
        show_and_record(run)
        environment = run.environment
        names = environment.action_meanings if config.watch.q_values else None
        film = Film(config.watch.video_scale, environment.pixel_aspect, names)
        run.agent.callbacks.append(film)
        announce(run)
        rate = environment.frames_per_second
        with signals_unwind(), contextlib.ExitStack() as files:
            if config.watch.gif:  # closed after the video, which is the harder one to lose
                temporary = files.enter_context(unfinished(target.with_suffix(".gif")))
                small = Film(2, environment.pixel_aspect, None)
                gif = files.enter_context(contextlib.closing(Gif(temporary, rate, small)))
                environment.on_frame += (gif,)
            temporary = files.enter_context(unfinished(target))
            video = Video(temporary, rate, environment.sound_rate, film)
            environment.on_frame += (files.enter_context(contextlib.closing(video)),)
            run.agent.play(1)
        score, seconds = run.statistics.row["average_reward"], video.frames / rate
        print(f"{target}: {video.frames} frames, {seconds:.1f} s, score {score:g}")
