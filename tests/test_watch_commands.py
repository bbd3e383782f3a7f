"""play, record, plot and visualize as a user calls them, on a real game and a small network."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

from simple_dqn.commands import watch as commands
from simple_dqn.main import main
from tests.test_end_to_end import SMALL, refuse

SNAPSHOT = "snapshots/breakout_1.safetensors"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a short training run of Breakout."""
    folder = tmp_path_factory.mktemp("trained")
    here = os.getcwd()
    os.chdir(folder)
    try:
        assert main(["train", "breakout", *SMALL, "--epochs", "1", "--random_seed", "1"]) == 0
    finally:
        os.chdir(here)
    return folder


@pytest.fixture
def in_trained(trained, monkeypatch):
    monkeypatch.chdir(trained)
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setenv("SDL_AUDIODRIVER", "dummy")
    return trained


def test_play_without_a_display_prints_the_scores(in_trained, capsys):
    assert main(["play", SNAPSHOT, "--display", "none", "--games", "2", "--random_seed", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": score ")[0] for line in lines] == [
        "breakout, game 1", "breakout, game 2",
    ]  # fmt: skip
    assert all(line.endswith(" by the network") for line in lines)


def test_window_opens_and_can_be_closed(in_trained, capsys, monkeypatch):
    pygame = pytest.importorskip("pygame")
    scenes = []

    def close():
        while len(scenes) < 60:  # up to 30 of them before the first action
            time.sleep(0.01)
        pygame.event.post(pygame.event.Event(pygame.QUIT))

    from simple_dqn.watch.window import Window

    monkeypatch.setattr(Window, "draw", lambda self, scene: scenes.append(scene))
    thread = threading.Thread(target=close)
    thread.start()
    assert main(["play", SNAPSHOT]) == 0
    thread.join()
    assert scenes[-1].screen.shape == (210, 160, 3)
    assert scenes[-1].status.startswith("the network plays, ε 0.05 · score 0 · lives 5")
    assert not pygame.display.get_init()
    assert not pygame.mixer.get_init()


@pytest.mark.parametrize("raised", [KeyboardInterrupt, commands.Quit])
def test_leaving_play_early_is_not_an_error(in_trained, monkeypatch, raised):
    def leave(*_):
        raise raised

    monkeypatch.setattr(commands.Player, "on_act", leave)
    assert main(["play", "breakout"]) == 0


def test_restarted_game_is_not_counted(in_trained, monkeypatch, capsys):
    starts = []

    def on_act(self, agent, actions):
        if not starts or starts[-1] != agent.environment.restarts:
            starts.append(agent.environment.restarts)
            if len(starts) < 3:
                raise commands.NewGame

    from simple_dqn.environments.atari import ALEEnvironment

    restart = ALEEnvironment.restart

    def counted(self, lanes=None):
        self.restarts = getattr(self, "restarts", 0) + 1
        return restart(self, lanes)

    monkeypatch.setattr(ALEEnvironment, "restart", counted)
    monkeypatch.setattr(commands.Player, "on_act", on_act)
    monkeypatch.setattr(commands.Player, "on_frame", lambda *_: None)
    monkeypatch.setattr(commands.Player, "on_phase_end", lambda *_: None)
    assert main(["play", SNAPSHOT, "--random_seed", "1"]) == 0
    assert starts == [1, 2, 3]
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_record_saves_a_whole_game(in_trained, capsys):
    av = pytest.importorskip("av")
    arguments = ["record", SNAPSHOT, "--test_frame_cap", "200", "--random_seed", "1", "--gif",
                 "--q_values", "--video_scale", "1", "--record_screen_path", "frames",
                 "--record_sound_filename", "sound.wav"]  # fmt: skip
    assert main(arguments) == 0
    out = capsys.readouterr().out
    frames = len(os.listdir("frames"))  # one per emulator frame
    assert 200 <= frames < 240
    assert out.startswith(f"videos/breakout_1.mp4: {frames} frames, {frames / 60:.1f} s, score")
    with av.open("videos/breakout_1.mp4") as container:
        assert sum(1 for _ in container.decode(video=0)) == frames
    assert os.path.getsize("sound.wav") == pytest.approx(512 * frames, abs=100)
    assert sorted(os.listdir("videos")) == ["breakout_1.gif", "breakout_1.mp4"]
    refuse(capsys, ["record", SNAPSHOT], "'videos/breakout_1.mp4' exists: give another")
    refuse(capsys, ["record", SNAPSHOT, "--video_file", "videos"], "it must end in .mp4")
    refuse(capsys, ["record", SNAPSHOT, "--video_file", "a.avi"], "it must end in .mp4")


def test_interrupted_recording_leaves_no_video(in_trained, monkeypatch, capsys):
    pytest.importorskip("av")
    from simple_dqn.watch.film import Film

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Film, "on_act", interrupted)
    assert main(["record", SNAPSHOT, "--video_file", "new/a.mp4"]) == 130
    assert os.listdir("new") == []


def test_plot_and_visualize_write_next_to_the_results(in_trained):
    pytest.importorskip("matplotlib")
    pytest.importorskip("bokeh")
    assert main(["plot", "results/breakout.csv", "--fields", "meancost,steps_per_second"]) == 0
    assert main(["visualize", SNAPSHOT, "--test_frame_cap", "400", "--random_seed", "1"]) == 0
    assert os.path.getsize("results/breakout.png") > 10_000
    assert os.path.getsize("results/breakout_1.html") > 100_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["play", "nosuch.safetensors"], "there is no file 'nosuch.safetensors'"),
        (["play", "breakuot"], "did you mean breakout"),
        (["play", "breakout", "--display", "none"], "needs a --display"),
        (["play", SNAPSHOT, "--display", "none", "--games", "0"], "ends with Esc"),
        (["play", SNAPSHOT, "--display", "terminal"], "needs a terminal"),
        (["play", SNAPSHOT, "--display", "tv"], "--display must be one of auto, window"),
        (["record", "results/breakout.csv"], "is not a Simple DQN snapshot"),
        (["visualize", SNAPSHOT, "--visualization_filters", "0"], "be from 1 to 64 filters, not 0"),
        (["visualize", SNAPSHOT, "--visualization_file", "results"], "is a folder"),
        (["visualize", SNAPSHOT, "--visualization_file", SNAPSHOT], "name must end in .html"),
        (["plot", "nosuch.csv"], "there is no file 'nosuch.csv'"),
        (["plot", "results/breakout.json"], "is not a statistics file"),
        (["plot"], "are required: CSVS"),
        (["plot", "."], "there is no file '.'"),
        (["play", SNAPSHOT, "--environment", "gym"], "was trained with --environment ale"),
        (["play", SNAPSHOT, "--display", "none", "--sound", "true"], "no effect with --display"),
        (["train", "pong", "--play_games", "1", "--display_screen"], "play.sh shows its games"),
        (["record", SNAPSHOT, "--video_file", "d.mp4", "--overwrite"], "'d.mp4' is a folder"),
    ],
)
def test_bad_input_is_reported_in_one_line(in_trained, capsys, arguments, message):
    os.makedirs("d.mp4", exist_ok=True)
    refuse(capsys, arguments, message)


def test_a_window_needs_a_screen_and_a_terminal_display_a_terminal(in_trained, capsys, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    refuse(capsys, ["play", SNAPSHOT, "--display", "window"], "there is no screen here")
    refuse(capsys, ["play", SNAPSHOT, "--display", "terminal"], "needs a terminal as input")


def test_missing_package_is_named(in_trained, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pygame", None)
    monkeypatch.delitem(sys.modules, "simple_dqn.watch.window", raising=False)
    refuse(capsys, ["play", SNAPSHOT], "-m pip install pygame-ce")


def test_displaying_and_recording_a_test(in_trained, capsys):
    pytest.importorskip("pygame")
    arguments = ["test", SNAPSHOT, "--test_steps", "30", "--random_seed", "1"]
    assert main(arguments) == 0
    plain = capsys.readouterr().out
    assert main([*arguments, "--display_screen", "--record_screen_path", "of_test"]) == 0
    assert capsys.readouterr().out == plain  # watching changes nothing
    assert 121 <= len(os.listdir("of_test")) <= 160


def test_gymnasium_game_can_be_played_and_recorded(in_tmp, capsys, monkeypatch):
    av = pytest.importorskip("av")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    small = ["--random_steps", "50", "--train_steps", "20", "--test_steps", "0", "--epochs", "1",
             "--replay_size", "1000", "--hidden_units", "8", "--validation_size", "5"]  # fmt: skip
    assert main(["train", "CartPole-v1", *small]) == 0
    snapshot = "snapshots/CartPole-v1_1.safetensors"
    assert main(["record", snapshot, "--random_seed", "1"]) == 0
    with av.open("videos/CartPole-v1_1.mp4") as container:
        assert container.streams.video[0].average_rate == 50
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert f"{len(frames)} pictures" in capsys.readouterr().out
    assert frames[0].shape == (800, 1200, 3)
    assert main(["play", snapshot, "--display", "none"]) == 0
    refuse(capsys, ["visualize", snapshot], "no convolutional layer")


def test_play_imports_only_what_it_needs(in_trained):
    code = (
        "import sys; from simple_dqn.main import main\n"
        f"assert main(['play', {SNAPSHOT!r}, '--display', 'none', '--test_frame_cap', '40']) == 0\n"
        "bad = 'pygame av blessed matplotlib bokeh captum PIL'.split()\n"
        "print([m for m in bad if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.splitlines()[-1] == "[]", result.stderr


def test_game_left_early_is_reported_with_its_score(in_trained, monkeypatch, capsys):
    steps = []

    def on_act(self, agent, actions):
        steps.append(1)
        if len(steps) == 5:
            raise commands.Quit

    monkeypatch.setattr(commands.Player, "on_act", on_act)
    monkeypatch.setattr(commands.Player, "on_frame", lambda *_: None)
    assert main(["play", SNAPSHOT]) == 0
    assert capsys.readouterr().out.endswith("breakout, game 1: score 0 by no one, left early\n")


def test_score_counts_even_if_the_final_pause_is_cut_short(in_trained, monkeypatch, capsys):
    def leave(*_):
        raise commands.Quit

    monkeypatch.setattr(commands.Player, "on_frame", lambda *_: None)
    monkeypatch.setattr(commands.Player, "on_phase_end", leave)
    assert main(["play", SNAPSHOT, "--random_seed", "1", "--test_frame_cap", "100"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line == "breakout, game 1: score 0 by the network"


def test_run_interrupted_before_its_first_row_leaves_nothing(in_tmp, monkeypatch, capsys):
    from simple_dqn.commands import build

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    play_random = build.Agent.play_random
    monkeypatch.setattr(build.Agent, "play_random", interrupted)
    assert main(["train", "pong", *SMALL]) == 130
    assert capsys.readouterr().err.endswith("interrupted; this run left no files\n")
    assert os.listdir("results") == []
    monkeypatch.setattr(build.Agent, "play_random", play_random)
    assert main(["train", "pong", *SMALL, "--epochs", "0"]) == 0
    refuse(capsys, ["train", "pong", *SMALL], "'results/pong.csv' exists")
