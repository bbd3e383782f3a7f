"""Training, testing and resuming on a real ROM at a small scale, and user errors."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from simple_dqn.agent import Agent
from simple_dqn.callbacks.progress import Progress
from simple_dqn.commands import build
from simple_dqn.commands import resume as resuming
from simple_dqn.main import main
from simple_dqn.statistics import TIME_COLUMNS

# Small screens make a small network: a whole run takes a second or two.
SMALL = [
    "--random_steps", "60", "--train_steps", "120", "--test_steps", "40", "--epochs", "2",
    "--replay_size", "1000", "--screen_width", "36", "--screen_height", "36",
    "--hidden_units", "16", "--target_steps", "50", "--validation_size", "20",
    "--backend", "cpu", "--threads", "1", "--no_checkpoint",  # see tests/test_checkpoint.py
]  # fmt: skip


def rows(path="results/pong.csv"):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def without_times(path):
    return [{k: v for k, v in row.items() if k not in TIME_COLUMNS} for row in rows(path)]


def run(*arguments) -> None:
    assert main([str(a) for a in arguments]) == 0


@pytest.fixture
def trained(in_tmp) -> Path:
    run("train", "roms/pong.bin", *SMALL, "--random_seed", 5)
    return in_tmp


def test_train_writes_rows_snapshots_and_configuration(trained):
    assert [(r["epoch"], r["phase"], r["steps"]) for r in rows()] == [
        ("0", "random", "60"), ("1", "train", "120"), ("1", "test", "40"),
        ("2", "train", "120"), ("2", "test", "40"),
    ]  # fmt: skip
    last = rows()[-1]
    assert last["total_train_steps"] == "240"
    assert last["weight_updates"] == "60"
    assert last["replay_memory_count"] == "300"
    assert float(rows()[3]["meancost"]) > 0
    assert math.isfinite(float(last["meanq"]))
    assert sorted(os.listdir("snapshots")) == [
        "pong_1.resume", "pong_1.safetensors", "pong_2.resume", "pong_2.safetensors",
    ]  # fmt: skip
    (record,) = json.loads(Path("results/pong.json").read_text())["runs"]
    assert record["config"]["train_steps"] == 120
    assert record["config"]["random_seed"] == 5
    assert record["config"]["environment"] == "ale"
    assert record["command_line"][:3] == ["simple-dqn", "train", "roms/pong.bin"]
    assert record["versions"]["torch"]
    assert sorted(os.listdir("results")) == ["pong.csv", "pong.json"]  # and no temporary files


@pytest.mark.parametrize("more", [[], ["--num_envs", "3"], ["--preset", "simple_dqn"]])
def test_same_seed_gives_the_same_csv_and_snapshots(in_tmp, more):
    for label in ("one", "two"):
        run("train", "pong", label, *SMALL, "--random_seed", 3, *more)
    assert without_times("results/pong_one.csv") == without_times("results/pong_two.csv")
    for epoch in (1, 2):
        for ending in ("safetensors", "resume"):
            one, two = (Path(f"snapshots/pong_{x}_{epoch}.{ending}") for x in ("one", "two"))
            assert one.read_bytes() == two.read_bytes()
    run("train", "pong", "three", *SMALL, "--random_seed", 4, *more)
    assert without_times("results/pong_three.csv") != without_times("results/pong_one.csv")


def test_record_stores_the_drawn_seed(in_tmp):
    run("train", "pong", *SMALL, "--epochs", 1)
    seed = json.loads(Path("results/pong.json").read_text())["runs"][0]["config"]["random_seed"]
    assert seed >= 0
    run("train", "pong", "again", *SMALL, "--epochs", 1, "--random_seed", seed)
    assert without_times("results/pong.csv") == without_times("results/pong_again.csv")


def test_resume_continues_with_the_right_counters(trained, monkeypatch):
    built = []
    real = build.build
    monkeypatch.setattr(resuming, "build", lambda *a, **k: built.append(real(*a, **k)) or built[-1])
    loaded = {}
    real_load = build.DeepQNetwork.load_training_state
    monkeypatch.setattr(
        build.DeepQNetwork,
        "load_training_state",
        lambda self, state: (loaded.update(state), real_load(self, state)),
    )
    before, old_csv = rows(), Path("results/pong.csv").read_bytes()
    old_two = Path("snapshots/pong_2.safetensors").read_bytes()
    run("resume", "snapshots/pong_1.safetensors", "--epochs", 3)

    assert [(r["epoch"], r["phase"]) for r in rows()] == [
        ("0", "random"), ("1", "train"), ("1", "test"), ("2", "train"), ("2", "test"),
        ("3", "train"), ("3", "test"),
    ]  # fmt: skip
    assert rows()[:3] == before[:3]
    two, three = rows()[3], rows()[5]
    assert (two["total_train_steps"], three["total_train_steps"]) == ("240", "360")
    assert (two["weight_updates"], three["weight_updates"]) == ("60", "90")
    assert float(two["last_exploration_rate"]) == pytest.approx(1 - 0.9 * 239 / 1e6)
    assert float(two["total_time"]) > float(before[2]["total_time"])
    assert set(loaded) >= {"target.layers.0.weight", "optimizer.0.square_avg"}
    # The first run's files beyond epoch 1 are set aside, not lost.
    assert Path("results/pong.csv.bak").read_bytes() == old_csv
    assert Path("snapshots/pong_2.safetensors.bak").read_bytes() == old_two
    assert Path("snapshots/pong_3.safetensors").exists()
    records = json.loads(Path("results/pong.json").read_text())["runs"]
    assert [r["command_line"][1] for r in records] == ["train", "resume"]
    assert built[0].agent.total_train_steps == 360


def test_resume_without_a_training_state_warns(trained, capsys):
    Path("snapshots/pong_2.resume").unlink()
    run("resume", "snapshots/pong_2.safetensors", "--epochs", 3)
    err = capsys.readouterr().err
    assert "there is no snapshots/pong_2.resume: the optimiser state is reset" in err
    assert "refilling the memory with 60 steps at the current ε" in err
    assert len(rows()) == 7


def test_test_prints_scores_and_protocol(trained, capsys):
    capsys.readouterr()
    run("test", "snapshots/pong_2.safetensors", "--test_games", 2, "--random_seed", 1)
    out = capsys.readouterr().out
    assert "2 games in" in out
    assert "(standard deviation), minimum" in out
    assert (
        "protocol: ε 0.05, 1 to 30 no-op frames at the start, cut off after 18000 frames, "
        "frame skip 4, sticky actions 0, seed 1" in out
    )
    run("test", "snapshots/pong_2.safetensors", "--test_games", 2, "--random_seed", 1)
    assert capsys.readouterr().out == out
    run("test", "snapshots/pong_2.safetensors", "--test_steps", 50, "--csv_file", "test.csv")
    assert "no game ended" in capsys.readouterr().out
    assert [(r["epoch"], r["phase"], r["steps"]) for r in rows("test.csv")] == [("2", "test", "50")]
    assert main(["test", "snapshots/pong_2.safetensors", "--csv_file", "test.csv"]) == 2


def test_the_row_of_a_test_replaces_only_statistics(trained, capsys, monkeypatch):
    snapshot, done = "snapshots/pong_2.safetensors", Path("test.csv")
    before = Path(snapshot).read_bytes()
    refuse(
        capsys,
        ["test", snapshot, "--csv_file", snapshot, "--overwrite", "--test_steps", 10],
        "is not a statistics file",
    )
    assert Path(snapshot).read_bytes() == before
    arguments = ["test", snapshot, "--csv_file", "test.csv", "--overwrite", "--test_steps", "50"]
    with monkeypatch.context() as patch:
        patch.setattr(Agent, "test", interrupt)
        assert main(arguments) == 130
    assert not done.exists()
    run(*arguments)
    before = done.read_bytes()
    monkeypatch.setattr(Agent, "test", interrupt)
    assert main(arguments) == 130
    assert done.read_bytes() == before


def interrupt(*_, **__):
    raise KeyboardInterrupt


def test_load_weights_and_play_games(trained, capsys):
    snapshot = "snapshots/pong_2.safetensors"
    run("train", "pong", "--load_weights", snapshot, "--play_games", 1, *SMALL[8:])
    assert "play: " in capsys.readouterr().err
    assert sorted(os.listdir("results")) == ["pong.csv", "pong.json"]
    play = ["train", "pong", "--play_games", 1, "--csv_file", "play.csv", *SMALL[8:]]
    run(*play)
    assert [r["phase"] for r in rows("play.csv")] == ["play"]
    assert main([str(a) for a in play]) == 2
    run("train", "pong", "warm", *SMALL, "--load_weights", snapshot, "--train_steps", 0)
    assert rows("results/pong_warm.csv")[-1]["phase"] == "test"


def test_second_run_never_overwrites_the_first(trained, capsys):
    before = Path("results/pong.csv").read_bytes()
    assert main(["train", "pong", *SMALL]) == 2
    assert (
        "'results/pong.csv' exists: give this run another label, resume it with resume.sh"
        in capsys.readouterr().err
    )
    Path("results/pong.csv").rename("elsewhere.csv")
    assert main(["train", "pong", *SMALL]) == 2  # its snapshots are still there
    Path("elsewhere.csv").rename("results/pong.csv")
    assert Path("results/pong.csv").read_bytes() == before
    shutil.copy("snapshots/pong_2.safetensors", "snapshots/pong_kept_best.safetensors")
    capsys.readouterr()
    assert main(["train", "pong", "kept", *SMALL]) == 2
    assert "'snapshots/pong_kept_best.safetensors' exists" in capsys.readouterr().err
    run("train", "pong", *SMALL, "--overwrite", "--epochs", 1)
    assert len(rows()) == 3
    assert not Path("snapshots/pong_2.safetensors").exists()


def test_gymnasium_games_train_and_test(in_tmp, capsys):
    small = ["--random_steps", 50, "--train_steps", 100, "--test_steps", 60, "--epochs", 1,
             "--replay_size", 1000, "--hidden_units", 16, "--validation_size", 10]  # fmt: skip
    run("train", "CartPole-v1", *small, "--num_envs", 2)
    assert [r["phase"] for r in rows("results/CartPole-v1.csv")] == ["random", "train", "test"]
    run("test", "snapshots/CartPole-v1_1.safetensors", "--test_games", 3)
    assert "CartPole-v1" in capsys.readouterr().out
    run("train", "ALE/Pong-v5", "x", *small, "--environment", "gym")
    assert Path("snapshots/ALE-Pong-v5_x_1.safetensors").exists()


@pytest.mark.parametrize("phase", ["random", "train", "test"])
def test_profile_commands(in_tmp, capsys, phase):
    steps = {"random": [], "train": ["--train_steps", 50], "test": ["--test_steps", 50]}[phase]
    run(f"profile_{phase}", "pong", "--random_steps", 60, *steps, *SMALL[8:16])
    assert "tottime" in capsys.readouterr().out
    assert Path(f"results/pong_{phase}.prof").exists()


def test_many_options_together(in_tmp):
    run(
        "train", "breakout", *SMALL, "--batch_norm", "--datatype", "bfloat16", "--optimizer",
        "adam", "--num_envs", 3, "--game_mode", 4, "--repeat_action_probability", 0.25,
        "--target_steps", 0, "--minimal_action_set", "false", "--tensorboard", "runs",
    )  # fmt: skip
    weights = load_file("snapshots/breakout_2.safetensors")
    assert weights[
        "layers.11.weight" if "layers.11.weight" in weights else "layers.13.weight"
    ].shape
    assert os.listdir("runs")


# --- bad input: one line on stderr, status 2, nothing on disk touched ---------------------------


def refuse(capsys, arguments, message) -> None:
    capsys.readouterr()
    assert main([str(a) for a in arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("simple-dqn: ")
    assert message in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "roms/nosuch.bin"], "there is no ROM file 'roms/nosuch.bin' and no game"),
        (["train", "breakuot"], "did you mean breakout"),
        (["train", "text.bin"], "is not an Atari 2600 ROM"),
        (["train", "CartPole"], "is not a Gymnasium id: did you mean CartPole-v0 or CartPole-v1?"),
        (["train", "CartPole-v9"], "did you mean CartPole-v0 or CartPole-v1?"),
        (["train", "pong", "--label", "x"], "label is a positional argument, without --"),
        (["train", ":x"], "cannot be made by Gymnasium"),
        (["train", "joust"], "joust is for two players only"),
        (["train", "two\nlines"], "there is no ROM file 'two lines'"),
        (["train", "pong", "--save_weights_prefix", "weights/"], "weights/' is a folder"),
        (["train", "pong", "--csv_file", "."], "--csv_file '.' is a folder"),
        (["train", "pong", "--record_sound_filename", "text.bin"], "'text.bin' exists"),
        (["train", "NoSuch-v7", "--environment", "gym"], "cannot be made by Gymnasium"),
        (["train", "Pendulum-v1"], "DQN needs a Discrete one"),
        (["train", "pong", "--discount_rate", "2"], "--discount_rate must be from 0 to 1, not 2"),
        (
            ["train", "pong", "--replay_size", "100000000000"],
            "GB of memory is available; --replay_size",
        ),
        (["train", "pong", "--csv_file", "text.bin/x.csv"], "cannot write into the folder"),
        (["train", "pong", "--save_weights_prefix", "/proc/x/y"], "cannot write into the folder"),
        (["train", "pong", "a/b"], "the label 'a/b' may only contain"),
        (["train", "pong", "--load_weights", "text.bin"], "is not a Simple DQN snapshot"),
        (["train", "pong", "--screen_width", "20"], "too small for the network"),
        (["train", "pong", "--game_mode", "77"], "--game_mode of pong must be one of 0, 1"),
        (["train", "CartPole-v1", "--frame_skip", "2"], "has no effect with --environment gym"),
        (["resume", "text.bin"], "there is no run 'text.bin'"),
        (["resume", "./text.bin"], "is not a Simple DQN snapshot"),
        (["test", "missing.safetensors"], "there is no file 'missing.safetensors'"),
        (["test", "text.bin"], "is not a Simple DQN snapshot"),
    ],
)
def test_bad_input_changes_nothing_on_disk(in_tmp, capsys, arguments, message):
    Path("text.bin").write_text("neither a ROM nor a snapshot")
    refuse(capsys, arguments, message)
    left = {p.name for p in in_tmp.rglob("*") if p.is_file()}
    assert left == {"text.bin"}


def test_snapshot_with_other_actions_is_refused(trained, capsys):
    snapshot = "snapshots/pong_1.safetensors"
    refuse(capsys, ["test", snapshot, "--game", "breakout"], "was trained on pong with the actions")
    refuse(capsys, ["test", snapshot, "--minimal_action_set", "false"], "with the actions NOOP")
    refuse(capsys, ["test", snapshot, "--screen_width", 40], "sees observations (36, 36) uint8")
    load = ["train", "breakout", "--load_weights", snapshot, *SMALL]
    refuse(capsys, load, "was trained on pong with the actions")
    load = ["train", "pong", "new", "--load_weights", snapshot, *SMALL, "--hidden_units", 8]
    refuse(capsys, load, "weights are of another network")
    assert not Path("results/pong_new.csv").exists()


def test_resume_refuses_files_of_another_run(trained, capsys):
    run("train", "pong", "other", *SMALL, "--random_seed", 6)
    Path("elsewhere").mkdir()
    for ending in ("safetensors", "resume"):
        one = Path(f"snapshots/pong_other_1.{ending}")
        Path(f"elsewhere/pong_1.{ending}").write_bytes(one.read_bytes())
    resume = ["resume", "elsewhere/pong_1.safetensors", "--epochs", 3]
    refuse(capsys, resume, "'results/pong.csv' has the results of another run")
    Path("snapshots/pong_1.resume").write_bytes(Path("snapshots/pong_other_1.resume").read_bytes())
    resume = ["resume", "snapshots/pong_1.safetensors", "--epochs", 3]
    refuse(capsys, resume, "does not belong to")


@pytest.mark.parametrize(
    "changes", [["--optimizer", "adam"], ["--rmsprop_centered", "false"], ["--target_steps", 0]]
)
def test_resume_with_another_optimiser_or_without_target_network(trained, capsys, changes):
    run("resume", "snapshots/pong_2.safetensors", "--epochs", 3, "--train_steps", 0, *changes)
    text = "another optimiser: the optimiser state is reset"
    assert (text in capsys.readouterr().err) == (changes[0] != "--target_steps")
    # There were no updates, so the tested network is still the snapshot's.
    assert float(rows()[-1]["weight_updates"]) == 60
    run("resume", "snapshots/pong_2.safetensors", "--epochs", 4, *changes)
    assert Path("snapshots/pong_4.safetensors").exists()


def test_overwrite_removes_nothing_before_the_run_can_start(trained, capsys):
    before = {p: p.read_bytes() for p in trained.rglob("*") if p.is_file()}
    refuse(capsys, ["train", "pong", *SMALL, "--overwrite", "--game_mode", 99], "--game_mode")
    Path("file").touch()
    again = ["train", "pong", *SMALL, "--overwrite", "--tensorboard", "file/x"]
    refuse(capsys, again, "")
    Path("file").unlink()
    assert {p: p.read_bytes() for p in trained.rglob("*") if p.is_file()} == before


def test_snapshot_finds_its_game_despite_a_folder_of_that_name(trained, capsys):
    Path("pong").mkdir()
    run("test", "snapshots/pong_2.safetensors", "--test_steps", 20)


def test_runs_without_git_or_unicode(tmp_path):
    code = (
        "import os; os.environ['PATH'] = ''\n"
        "from simple_dqn.main import main\n"
        f"assert main(['train', 'pong', *{SMALL!r}]) == 0\n"
        "assert main(['test', 'snapshots/pong_1.safetensors', '--test_steps', '20']) == 0"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True
    )
    assert result.returncode == 0, result.stderr
    assert b"protocol: ?" in result.stdout


def test_resume_with_nothing_left_to_do(trained, capsys):
    refuse(capsys, ["resume", "snapshots/pong_2.safetensors"], "nothing is left to do")
    assert len(rows()) == 5


def test_resume_refuses_a_truncated_state_before_changing_files(trained, capsys):
    state = Path("snapshots/pong_1.resume")
    state.write_bytes(state.read_bytes()[:1000])
    before = {p: p.read_bytes() for p in trained.rglob("*") if p.is_file()}
    refuse(capsys, ["resume", "snapshots/pong_1.safetensors", "--epochs", 3], "pong_1.resume")
    Path("results/pong.csv").write_text("not ours\n")
    state.unlink()
    refuse(capsys, ["resume", "snapshots/pong_1.safetensors", "--epochs", 3], "results/pong.csv")
    Path("results/pong.csv").write_bytes(before[trained / "results/pong.csv"])
    del before[trained / state]
    assert {p: p.read_bytes() for p in trained.rglob("*") if p.is_file()} == before


def test_interrupted_training_says_how_to_resume(trained, capsys, monkeypatch):
    def interrupted(self, *arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(build.Agent, "test", interrupted)
    assert main(["train", "pong", "x", *SMALL]) == 130
    line = "simple-dqn: interrupted; resume.sh snapshots/pong_x_1.safetensors resumes it"
    assert capsys.readouterr().err.splitlines()[-1] == line
    monkeypatch.setattr(build.Agent, "train", interrupted)
    assert main(["train", "pong", "y", *SMALL]) == 130
    assert capsys.readouterr().err.endswith("interrupted; there is no snapshot of this run yet\n")
    assert main(["resume", "snapshots/pong_2.safetensors", "--epochs", "3"]) == 130
    assert capsys.readouterr().err.endswith("resume.sh snapshots/pong_2.safetensors resumes it\n")


def test_resume_finds_a_run_in_the_current_folder(in_tmp, capsys, monkeypatch):
    """Without subfolders; half-written leftovers are removed."""
    here = ["--save_weights_prefix", "mine", "--csv_file", "mine.csv", "--random_seed", 1]
    test = build.Agent.test

    def interrupted(self, *arguments):
        raise KeyboardInterrupt

    run("train", "pong", *SMALL[:-1], *here)  # with checkpoints
    leftovers = [".mine_2.resume.77.tmp", ".mine.csv.77.tmp", ".mine.json.77.tmp"]
    for name in leftovers:
        Path(name).write_text("half")
    Path(".mine_too.csv.77.tmp").write_text("another's")
    monkeypatch.setattr(build.Agent, "test", interrupted)
    assert main(["resume", "./mine", "--csv_file", "mine.csv", "--epochs", "3"]) == 130
    assert capsys.readouterr().err.endswith("interrupted; resume.sh ./mine.checkpoint resumes it\n")
    assert not any(map(os.path.exists, leftovers))
    assert os.path.exists(".mine_too.csv.77.tmp")
    monkeypatch.setattr(build.Agent, "test", test)
    again = ["resume", "./mine.checkpoint", "--csv_file", "mine.csv", "--epochs", "3"]
    assert main(again) == 0
    assert not os.path.exists("snapshots")


def test_non_finite_weights_are_not_saved(in_tmp, capsys, monkeypatch):
    """Even if the last update of the epoch spoils them, which no loss has shown yet."""
    train = build.Agent.train

    def diverge(self, *arguments):
        train(self, *arguments)
        if self.total_train_steps > int(SMALL[SMALL.index("--train_steps") + 1]):
            next(self.network.network.parameters()).data[0] = math.inf

    monkeypatch.setattr(build.Agent, "train", diverge)
    assert main(["train", "pong", *map(str, SMALL), "--no_checkpoint"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "the last good snapshot is snapshots/pong_1.safetensors" in line
    assert not Path("snapshots/pong_2.safetensors").exists()


def test_no_window_without_a_screen(in_tmp, capsys, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    refuse(capsys, ["train", "pong", "--display_screen"], "there is no screen here")
    assert not os.path.exists("results/pong.csv")


def test_missing_gpu_is_refused(in_tmp, capsys):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    refuse(capsys, ["train", "pong", "--backend", "gpu"], "there is no CUDA GPU")


# --- terminal output and imports -----------------------------------------------------------------


def test_closed_pipe_is_not_an_error(tmp_path):
    command = f"{sys.executable} -m simple_dqn --help | true; echo ${{PIPESTATUS[0]}}"
    for _ in range(3):
        result = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
        assert result.stderr == ""


def test_progress_on_a_terminal_and_in_a_log(trained, capsys, monkeypatch):
    from simple_dqn.callbacks import progress

    monkeypatch.setattr(progress, "LIVE_INTERVAL", 0.0)
    monkeypatch.setattr(progress, "LOG_INTERVAL", 0.0)
    for live in (True, False):
        monkeypatch.setattr(
            "simple_dqn.commands.build.Progress", lambda stats, live=live: Progress(stats, live)
        )
        capsys.readouterr()
        run("test", "snapshots/pong_2.safetensors", "--test_steps", 30)
        err = capsys.readouterr().err
        if live:
            assert "epoch 2 test" in err
            assert "ε 0.050, no game yet" in err
            assert "%|" in err
            # The line is closed before the phase's result is logged.
            assert " left" not in err.split(" epoch 2 test: 30 steps")[0][-20:]
        else:
            assert "epoch 2 test: 15 of 30 steps" in err
            assert "left" in err


def test_training_imports_no_window_plot_or_browser_package(tmp_path):
    code = (
        "import sys; from simple_dqn.main import main\n"
        f"assert main(['train', 'pong', *{SMALL!r}]) == 0\n"
        "bad = 'pygame av blessed matplotlib bokeh captum tensorboard PIL'.split()\n"
        "print([m for m in bad if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert result.stdout.splitlines()[-1] == "[]"


def test_best_snapshot_is_kept_and_stop_at_ends_the_run(in_tmp, monkeypatch):
    scores = iter([3.0, 7.0, 7.0, 5.0, 9.0])

    def row(self, agent, made=build.Statistics.on_phase_end):
        testing = agent.phase == "test"
        games = ([next(scores)], [1], [0]) if testing else ([], [], [])
        self.game_rewards, self.game_steps, self.game_numbers = games
        self._keep = lambda numbers, steps: None  # keep the scores set above
        made(self, agent)

    monkeypatch.setattr(build.Statistics, "on_phase_end", row)
    best = Path("snapshots/pong_best.safetensors")
    epoch = "snapshots/pong_{}.safetensors".format
    run("train", "pong", *SMALL, "--epochs", 1, "--random_seed", 1)
    assert best.read_bytes() == Path(epoch(1)).read_bytes()
    run("resume", epoch(1), "--epochs", 4, "--no_checkpoint")  # 7, 7, 5: the later of equal scores
    assert best.read_bytes() == Path(epoch(3)).read_bytes()
    run("resume", epoch(4), "--epochs", 20, "--stop_at", 8)
    assert [r["epoch"] for r in rows() if r["phase"] == "test"] == ["1", "2", "3", "4", "5"]
    assert best.read_bytes() == Path(epoch(5)).read_bytes()
    monkeypatch.undo()
    os.chdir(in_tmp)
    run("test", best, "--test_steps", 20)
    run("resume", best, "--epochs", 6, "--stop_at", 10)
    assert os.path.exists(epoch(6))


VARIANTS = {
    "double": ["--double_q"],
    "dueling": ["--dueling"],
    "prioritized": ["--prioritized"],
    "n_step": ["--n_step", "3"],
    "quantiles": ["--quantiles", "5"],
    "noisy": ["--noisy", "--exploration_rate_start", "0", "--exploration_rate_end", "0"],
    "rainbow": ["--preset", "rainbow"],
    "deep": ["--hidden_layers", "3", "--optimizer", "sgd", "--learning_rate", "0.001"],
    "all": ["--double_q", "--dueling", "--prioritized", "--n_step", "3", "--quantiles", "5",
            "--batch_norm", "--noisy", "--hidden_layers", "2", "--num_envs", "2",
            "--preset", "simple_dqn"],
}  # fmt: skip


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_variants_train_resume_and_test(in_tmp, options, capsys):
    run("train", "pong", *SMALL, *options, "--random_seed", 1)
    assert float(rows()[3]["meancost"]) > 0
    assert rows()[-1]["weight_updates"] == "60"
    first = without_times("results/pong.csv")
    run("train", "pong", *SMALL, *options, "--random_seed", 1, "--overwrite")
    assert without_times("results/pong.csv") == first  # the same seed, the same run
    run("resume", "snapshots/pong_2.safetensors", "--epochs", 3)
    assert rows()[-1]["weight_updates"] == "90"
    run("test", "snapshots/pong_3.safetensors", "--test_steps", 20)


def results_of(name):
    """Return the rows without times, and the last snapshot's weights as bytes."""
    content = [{k: v for k, v in row.items() if k not in TIME_COLUMNS} for row in rows(name)]
    weights = load_file(f"snapshots/{Path(name).stem}_2.safetensors")
    return content, {name: tensor.numpy().tobytes() for name, tensor in weights.items()}


def test_record_reproduces_its_run(in_tmp, capsys):
    assert main(["train", "pong", *SMALL, "--double_q"]) == 0  # its seed is drawn
    assert main(["train", "again", "--from", "results/pong.json"]) == 0
    assert "may differ from the record" not in capsys.readouterr().err
    assert results_of("results/pong_again.csv") == results_of("results/pong.csv")

    record = json.loads(Path("results/pong_again.json").read_text())
    record["runs"][0]["versions"]["torch"] = "1.13.0"
    record["runs"][0]["rom"] = "0" * 64
    Path("sent.json").write_text(json.dumps(record))
    assert main(["train", "third", "--from", "sent.json", "--epochs", "1"]) == 0
    err = capsys.readouterr().err
    assert "the results may differ from the record: torch was 1.13.0 and is" in err
    assert "the results may differ from the record: rom was 000000" in err
    assert len(rows("results/pong_third.csv")) == 3  # random, train, test


def test_records_that_cannot_be_reproduced_are_refused(in_tmp, capsys):
    config = {"environment": "ale", "random_seed": 1}
    record = {"game": "pong", "command_line": ["simple-dqn", "train", "pong"], "config": config}

    def refused(content, expected, *options):
        Path("r.json").write_text(content if isinstance(content, str) else json.dumps(content))
        assert main(["train", "x", "--from", "r.json", *options]) == 2
        *warnings, line = capsys.readouterr().err.splitlines()
        assert expected in line
        assert all("the results may differ from the record" in warning for warning in warnings)

    def changed(**options):
        return {"runs": [{**record, "config": {**record["config"], **options}}]}

    assert main(["train", "--from", "nothing.json"]) == 2
    assert "there is no file 'nothing.json'" in capsys.readouterr().err
    for damaged in ("", "{", "[]", "{}", '{"runs": []}', '{"runs": [{"game": 1}]}', "[" * 100_000):
        refused(damaged, "'r.json' is not the record of a run, or is damaged")
    refused(changed(callback="evil:Callback"), "runs the code of evil:Callback")
    refused(changed(environment="evil:Env"), "runs the code of evil:Env")
    evil = changed(environment="auto")
    evil["runs"][0]["game"] = "evil:Foo-v0"
    refused(evil, "--environment gym allows importing the module evil")
    refused({"runs": [{**record, "command_line": ["simple-dqn", "resume"]}]}, "begins with resume")
    refused(changed(gamma=1), "gamma")
    refused(changed(batch_size="many"), "batch_size")
    refused(changed(batch_size=-1), "batch_size")
    refused({"runs": [{**record, "game": "no_such_game"}]}, "no_such_game")
    assert main(["train", "pong", "x", "--from", "r.json"]) == 2
    assert "--from determines the game: give at most a label" in capsys.readouterr().err
    assert not Path("results").exists()
    refused(changed(hidden_units=65536, hidden_layers=16), "training this network takes")
    assert os.listdir("results") == os.listdir("snapshots") == []
