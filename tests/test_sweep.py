"""sweep: the runs of a study; and, marked ray, studies whose runs, command and nodes are killed."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from simple_dqn.commands.sweeps.plan import find_games, plan, require_effect
from simple_dqn.commands.sweeps.space import Domain, largest_run, read_space, trial_run
from simple_dqn.commands.sweeps.trial import RESUMED_FROM, run_trial
from simple_dqn.errors import UsageError
from simple_dqn.main import main
from simple_dqn.statistics import TIME_COLUMNS

TINY = (
    "--train_steps", "1200", "--test_steps", "1500", "--random_steps", "400", "--epochs", "4",
    "--replay_size", "2000", "--hidden_units", "32", "--filters", "4", "--checkpoint_every", "300",
)  # fmt: skip


def planned(names, given, grid, seeds):
    games, problems = find_games(names, given)
    return plan(games, given, grid, seeds), problems


def test_plan_by_hand():
    """2 games x 2 learning rates x 2 values of Double x 2 seeds, in this order."""
    grid = ["learning_rate=0.1,0.2", "--double-q=true,false"]
    runs, problems = planned(["pong", "CartPole-v1"], {"random_seed": 5}, grid, 2)
    assert problems == []
    assert [run.name for run in runs[:5]] == [
        "pong_learning_rate-0.1_double_q-True_5", "pong_learning_rate-0.1_double_q-True_6",
        "pong_learning_rate-0.1_double_q-False_5", "pong_learning_rate-0.1_double_q-False_6",
        "pong_learning_rate-0.2_double_q-True_5",
    ]  # fmt: skip
    assert len(runs) == 16
    assert len({run.name for run in runs}) == 16
    last = runs[-1]
    assert (last.game, last.given["random_seed"]) == ("CartPole-v1", 6)
    assert (last.given["learning_rate"], last.given["double_q"]) == (0.2, False)
    assert (last.given["preset"], runs[0].given["preset"]) == ("vector", "nature")


def test_plan_without_a_grid():
    runs, _ = planned(["pong"], {}, [], 3)
    assert [run.name for run in runs] == ["pong_1", "pong_2", "pong_3"]


def test_a_game_that_cannot_be_played_is_named_and_the_others_go_on():
    runs, problems = planned(["pong", "nosuch"], {}, [], 1)
    assert [run.name for run in runs] == ["pong_1"]
    assert len(problems) == 1
    assert problems[0].startswith("nosuch is left out: there is no ROM file 'nosuch'")


@pytest.mark.parametrize(
    ("games", "given", "grid", "message"),
    [
        (["pong", "Pong"], {}, [], "Pong is named twice, first as pong"),
        (["nosuch"], {}, [], "nosuch is left out"),
        (["pong"], {}, ["learning_rate="], "must be option=value,value"),
        (["pong"], {}, ["learning_rate"], "must be option=value,value"),
        (["pong"], {}, ["rate=1,2"], "have no option 'rate'"),
        (["pong"], {}, ["learning_rate=0.1,x"], "invalid float value: 'x'"),
        (["pong"], {}, ["learning_rate=0.1,50"], "--learning_rate must be from 0 to 10"),
        (["pong"], {}, ["random_seed=1,2"], "a sweep sets --random_seed itself"),
        (["pong"], {}, ["overwrite=true,false"], "have no option 'overwrite'"),
        (["pong"], {}, ["load_experience=a,b"], "have no option 'load_experience'"),
        (["pong"], {}, ["load_weights=a/b,a_b"], "would both be called pong_load_weights-a_b_1"),
        (["pong"], {}, ["double_q=true", "double_q=false"], "names double_q twice"),
        (["pong"], {"optimizer": "nosuch"}, [], "--optimizer must be one of"),
    ],
)
def test_a_study_that_no_run_could_take_is_refused(games, given, grid, message):
    with pytest.raises(UsageError, match=message):
        planned(games, given, grid, 2)


def test_memory_of_a_run_by_its_observations():
    """7,000 slots: screens of 84 x 84 bytes, vectors of 4 floats; 10 bytes more of each slot."""
    (pong, cart), _ = planned(["pong", "CartPole-v1"], {"replay_size": 7000}, [], 1)
    assert pong.memory - cart.memory == 7000 * (84 * 84 - 4 * 4)


def test_a_grid_of_presets():
    runs, _ = planned(["pong"], {}, ["preset=fast,nature"], 1)
    assert [run.given["preset"] for run in runs] == ["fast", "nature"]


def test_space_by_hand():
    texts = [
        "learning_rate=loguniform(1e-5,1e-3)", "--batch-size=randint(16, 64)",
        "double_q=choice(true,false,true)", "optimizer=choice(adam,rmsprop)",
    ]  # fmt: skip
    space = read_space(texts)
    assert space == {
        "learning_rate": Domain("loguniform", (1e-5, 1e-3)),
        "batch_size": Domain("randint", (16, 64)),
        "double_q": Domain("choice", (True, False)),
        "optimizer": Domain("choice", ("adam", "rmsprop")),
    }
    assert space["learning_rate"].rounded(0.000123456) == 0.000123
    assert space["learning_rate"].rounded(0.00099999) == 1e-3
    assert Domain("uniform", (0.12345, 1.0)).rounded(0.12346) == 0.12345
    assert space["batch_size"].rounded(33) == 33


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ("learning_rate", "must be option="),
        ("learning_rate=1e-5", "must be option=uniform"),
        ("learning_rate=normal(0,1)", "must be option=uniform"),
        ("rate=uniform(0,1)", "have no option 'rate'"),
        ("random_seed=randint(1,5)", "a sweep sets --random_seed itself"),
        ("learning_rate=uniform(1,x)", "invalid float value: 'x'"),
        ("learning_rate=uniform(0.1)", "uniform needs two numbers"),
        ("learning_rate=loguniform(0,0.1)", "loguniform needs bounds above 0"),
        ("learning_rate=uniform(0.2,0.1)", "the first bound must be below the second"),
        ("double_q=uniform(true,false)", "uniform needs two numbers"),
        ("learning_rate=randint(1,2)", "randint needs two whole numbers"),
        ("double_q=choice(true)", "choice needs at least two values"),
    ],
)
def test_a_search_of_something_else_is_refused(search, message):
    with pytest.raises(UsageError, match=message):
        read_space([search])


def test_the_bounds_of_a_search_are_tried():
    (pong,), _ = find_games(["pong"], {})
    space = read_space(["replay_size=randint(5000,90000)", "learning_rate=uniform(0.1,0.2)"])
    assert largest_run(pong, {"train_steps": 1000}, space).given["replay_size"] == 90000
    with pytest.raises(UsageError, match="--learning_rate must be from 0 to 10"):
        largest_run(pong, {}, read_space(["learning_rate=uniform(0.1,50)"]))
    longest = largest_run(pong, {}, read_space(["epochs=randint(2,20)"]))
    assert (longest.epochs, longest.tests) == (20, True)
    assert not largest_run(pong, {}, read_space(["test_steps=choice(100,0)"])).tests
    run = trial_run(pong, {"random_seed": 7}, 12, {"learning_rate": 0.15})
    assert (run.name, run.given["learning_rate"]) == ("pong_trial012_7", 0.15)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"trials": 3}, "--trials has no effect without --search"),
        ({"grace_epochs": 3}, "--grace_epochs has no effect without --search"),
        ({"random_seed": -1}, "--random_seed must be 0 or more"),
        ({"search": ("a=uniform(1,2)",), "seeds": 2}, "--seeds has no effect with --search"),
        ({"search": ("a=uniform(1,2)",), "grid": ("b=1",)}, "--grid has no effect with --search"),
    ],
)
def test_options_of_a_search_without_one_and_of_a_grid_with_one(given, message):
    with pytest.raises(UsageError, match=message):
        require_effect(given)


class HalfCheckpoint:
    """A storage whose copy of a checkpoint was interrupted: the file that is written last lacks."""

    def __init__(self, name: str) -> None:
        self.name, self.kept = name, {}

    def fetch(self, work: Path) -> bool:
        folder = work / f"snapshots/{self.name}.checkpoint"
        folder.mkdir(parents=True)
        (folder / "replay_1.safetensors").write_bytes(b"")
        return True

    def keep(self, work: Path) -> None:
        for path in (work / "results").glob("*.csv"):
            self.kept[path.name] = path.read_text()

    def read(self, name: str) -> str:
        return self.kept.get(name, "")

    def write(self, name: str, text: str) -> None:
        self.kept[name] = text


def test_a_checkpoint_that_was_copied_in_part_is_not_resumed(tmp_path):
    from simple_dqn.storage.checkpoint import RUN_FILE

    assert RESUMED_FROM == RUN_FILE
    storage, rows = HalfCheckpoint("CartPole-v1_1"), []
    arguments = ["--epochs", "1", "--train_steps", "50", "--random_steps", "10", "--test_steps=20"]
    run_trial("CartPole-v1_1", "CartPole-v1", arguments, [], 1, storage, str(tmp_path), rows.append)
    assert storage.kept["done"] == "finished"
    assert [row["phase"] for row in rows] == ["random", "train", "test"]


# --- marked ray -----------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def start(*arguments: str) -> subprocess.Popen:
    """Start a study in its own session, as a terminal would."""
    command = [sys.executable, "-m", "simple_dqn", "sweep", *arguments]
    return subprocess.Popen(command, start_new_session=True)


def wait_for(pattern: str, timeout: float = 60) -> list[int]:
    """Return the numbers of the processes with this command line, once there are any."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        found = subprocess.run(["pgrep", "-f", pattern], capture_output=True, text=True).stdout
        if found.split():
            return [int(number) for number in found.split()]
        time.sleep(0.2)
    raise TimeoutError(pattern)


def wait_for_file(path: Path, timeout: float = 120) -> None:
    """Wait until a file exists."""
    end = time.monotonic() + timeout
    while not path.exists():
        assert time.monotonic() < end, path
        time.sleep(0.2)


def assert_as_undisturbed(label: str, games: list[str], seeds: int) -> None:
    """Compare rows without times, and last snapshots, with those of ``train``."""
    for game in games:
        for seed in range(1, seeds + 1):
            name = f"{game}_{seed}"
            arguments = ["train", game, str(seed), *TINY, "--random_seed", str(seed)]
            assert main([*arguments, "--threads", "1", "--test_workers", "0"]) == 0
            rows = []
            for path in (f"results/{name}.csv", f"results/{label}/{name}.csv"):
                with open(path) as file:
                    read = list(csv.DictReader(file))
                rows.append([{k: v for k, v in r.items() if k not in TIME_COLUMNS} for r in read])
            assert rows[0] == rows[1]
            last = [Path(f) / f"{name}_4.safetensors" for f in ("snapshots", f"snapshots/{label}")]
            assert last[0].read_bytes() == last[1].read_bytes()


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_killed_runs_and_a_killed_command_change_nothing(folder):
    arguments = ["pong", "breakout", "--label", "k", "--seeds", "3", *TINY]
    study = start(*arguments)
    wait_for_file(folder / "sweeps/k/pong_1/snapshots/pong_1.checkpoint/run.safetensors")
    for run in wait_for(r"simple_dqn (train|resume) .*pong_1"):
        os.kill(run, signal.SIGKILL)
    wait_for_file(folder / "sweeps/k/pong_2/done")
    study.kill()
    study.wait()
    assert not (folder / "results/k").exists()
    assert start(*arguments).wait(300) == 0
    assert_as_undisturbed("k", ["pong", "breakout"], 3)
    marks = {p: p.stat().st_mtime_ns for p in (folder / "results/k").iterdir()}
    assert start(*arguments).wait(60) == 0  # finished runs are not repeated
    assert marks == {p: p.stat().st_mtime_ns for p in (folder / "results/k").iterdir()}
    assert start(*arguments, "--learning_rate", "0.1").wait(60) == 2


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_lost_node_changes_nothing(folder):
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    try:
        node = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        study = start("pong", "--label", "c", "--seeds", "2", "--address", cluster.address, *TINY)
        for seed in (1, 2):  # one on each node
            wait_for_file(
                folder / f"sweeps/c/pong_{seed}/snapshots/pong_{seed}.checkpoint/run.safetensors"
            )
        cluster.remove_node(node, allow_graceful=False)
        assert study.wait(300) == 0
    finally:
        cluster.shutdown()
    assert_as_undisturbed("c", ["pong"], 2)


@pytest.mark.ray
def test_no_one_at_the_address(folder, capsys):
    began = time.monotonic()
    assert main(["sweep", "pong", "--address", "127.0.0.1:1", *TINY]) == 2
    assert time.monotonic() - began < 30
    assert "no one answers there" in capsys.readouterr().err


@pytest.mark.ray
@pytest.mark.parametrize("asked", [("--cpus_per_run", "1000"), ("--replay_size", "100000000")])
def test_a_run_that_no_node_has_room_for(folder, capsys, asked):
    assert main(["sweep", "pong", *TINY, *asked]) == 2
    assert "which no node has" in capsys.readouterr().err
    assert not list(folder.rglob("command.json"))  # so that another try may have other options


@pytest.mark.ray
@pytest.mark.parametrize("storage", ["/proc/none", "nosuch://bucket"])
def test_storage_that_cannot_be_written(folder, capsys, storage):
    assert main(["sweep", "pong", "--storage", storage, *TINY]) == 2
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.ray
@pytest.mark.timeout(300)
def test_interrupted_study_keeps_its_files_and_continues(folder):
    arguments = ["pong", "--label", "i", "--seeds", "1", *TINY]
    study = start(*arguments)
    kept = folder / "sweeps/i/pong_1"
    wait_for_file(kept / "snapshots/pong_1.checkpoint/run.safetensors")
    os.killpg(study.pid, signal.SIGINT)
    assert study.wait(60) == 130
    assert (kept / "command.json").exists()
    assert (kept / "snapshots/pong_1.checkpoint/run.safetensors").exists()
    assert start(*arguments).wait(200) == 0
    assert_as_undisturbed("i", ["pong"], 1)


@pytest.mark.ray
@pytest.mark.timeout(300)
def test_an_interrupted_search_continues_with_other_trials(folder):
    """The best of the trials has the score that ``train`` gives it; no point is tried twice."""
    arguments = [
        "CartPole-v1", "--label", "s", "--search", "learning_rate=loguniform(1e-5,1e-2)",
        "target_steps=choice(50,200)", "--epochs", "4", "--train_steps", "1000",
        "--test_steps", "500", "--random_steps", "200", "--trials",
    ]  # fmt: skip
    study = start(*arguments, "6")
    wait_for_file(folder / "sweeps/s/CartPole-v1_trial003_1/results/CartPole-v1_trial003_1.csv")
    os.killpg(study.pid, signal.SIGINT)
    assert study.wait(60) == 130
    assert start(*arguments, "8").wait(200) == 0
    lines = (folder / "results/s/CartPole-v1_search.txt").read_text().splitlines()
    trials = [line.split() for line in lines[1 : lines.index("")]]
    assert sorted(t[0] for t in trials) == [f"CartPole-v1_trial{k:03d}_1" for k in range(1, 9)]
    assert len({tuple(t[5:]) for t in trials}) == 8
    assert {t[1] for t in trials} == {"finished", "stopped"}
    _, state, epochs, last, _, rate, target = trials[0]
    assert (state, epochs) == ("finished", "4")
    own = ["--learning_rate", rate, "--target_steps", target, "--random_seed", "1"]
    end = ["--threads", "1", "--test_workers", "0", *arguments[6:-1]]
    assert main(["train", "CartPole-v1", "best", *own, *end]) == 0
    with open("results/CartPole-v1_best.csv") as file:
        rows = list(csv.DictReader(file))
    assert f"{float(rows[-1]['average_reward']):.2f}" == last
    assert f"--learning_rate={rate} --target_steps={target}" in lines[-1]
    assert start(*arguments, "8", "--discount_rate", "0.9").wait(60) == 2
