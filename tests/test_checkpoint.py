"""Checkpoints: a resumed run is identical to an uninterrupted one."""

from __future__ import annotations

import copy
import csv
import errno
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from simple_dqn.agent import Callback
from simple_dqn.callbacks import writers
from simple_dqn.commands import epochs
from simple_dqn.commands.build import build
from simple_dqn.environments.games import find_game
from simple_dqn.main import main
from simple_dqn.options.resolve import resolve
from simple_dqn.replay_memory import ReplayMemory
from simple_dqn.statistics import TIME_COLUMNS
from simple_dqn.storage.checkpoint import Checkpoint, _without_arrays
from simple_dqn.storage.files import load_tensors, save_tensors
from simple_dqn.storage.run_state import load_run_state, run_state

SMALL = {
    "pong": {
        "replay_size": 400, "hidden_units": 16, "filters": 4, "validation_size": 10,
        "test_frame_cap": 160, "train_frequency": 4, "target_steps": 30, "batch_size": 8,
        "random_steps": 60, "train_steps": 150, "test_steps": 60,
        "exploration_decay_steps": 200,
    },
    "CartPole-v1": {
        "preset": "vector", "replay_size": 300, "random_steps": 50, "train_steps": 200,
        "test_steps": 100, "target_steps": 40,
    },
}  # fmt: skip
VARIANTS = {
    "plain": {},
    "lanes": {"num_envs": 4, "n_step": 3, "n_step_end": 1, "optimizer": "adam"},
    "prioritized": {"prioritized": True, "double_q": True, "learning_rate_schedule": "linear"},
    "rainbow": {"preset": "rainbow", "quantiles": 5, "num_envs": 2},
}


def start(name, variant):
    kind, game, rom = find_game(name, "auto")
    options = {"environment": kind, "random_seed": 3, **SMALL[name], **VARIANTS[variant]}
    return build(resolve(options), game, rom)


class Copies(Callback):
    """Copies the state of a run at the given rounds."""

    def __init__(self, run, wanted):
        self.run, self.wanted, self.states, self.total = run, wanted, {}, 0

    def on_round_end(self, agent):
        self.total += 1
        if self.total in self.wanted:
            self.states[self.total] = copy.deepcopy(state_of(self.run))


def state_of(run):
    memory = run.agent.memory
    slots = [
        memory.read(lane, max(memory.written[lane] - memory.slots, 0), memory.written[lane])
        for lane in range(memory.num_envs)
    ]
    whole = run_state(run.config, run.game, run.agent, run.statistics, None)
    return dict(whole, slots=slots)


class Loaded:
    """A checkpoint whose slots are already in the memory."""

    path = "test"

    def load_slots(self, memory, num_actions):
        pass


def restore(run, state):
    load_run_state(Loaded(), state, run.agent, run.statistics, None)


def play(run, phases):
    """Run the phases, the first from the agent's current step; return the rows."""
    rows = []
    run.statistics.on_row = (lambda row: rows.append(dict(row)),)
    for phase in phases:
        if phase == "random":
            run.agent.play_random(run.config.run.random_steps)
        elif phase == "train":
            run.agent.train(run.config.run.train_steps)
        else:
            run.agent.test(run.config.run.test_steps)
    return rows


def comparable(state):
    """Return a state without its times, with arrays as lists."""
    if isinstance(state, dict):
        return {k: comparable(v) for k, v in state.items() if not k.endswith("seconds")}
    if isinstance(state, list | tuple):
        return [comparable(value) for value in state]
    return state.tolist() if isinstance(state, np.ndarray | torch.Tensor) else state


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", SMALL)
def test_run_resumes_from_its_state(name, variant):
    """From the middle of each phase; the state at the end is the same."""
    phases = ["random", "train", "test"]
    with start(name, variant) as run:
        lanes = run.config.environment.num_envs
        options = run.config.run
        random, train = -(-options.random_steps // lanes), -(-options.train_steps // lanes)
        moments = [random // 2, random, random + train // 3, random + train, random + train + 20]
        copies = Copies(run, moments)
        run.agent.callbacks.append(copies)
        rows = play(run, phases)
        final_state = comparable(state_of(run))
    assert len(copies.states) == len(moments)
    for state in copies.states.values():
        with start(name, variant) as other:
            memory = other.agent.memory
            for lane, slots in enumerate(state["slots"]):
                begin = max(state["memory"]["written"][lane] - memory.slots, 0)
                memory.write(lane, begin, slots)
            restore(other, copy.deepcopy(state))
            left = phases[phases.index(state["agent"]["phase"]) :]
            others = play(other, left)
            assert comparable(state_of(other)) == final_state
        for ours, theirs in zip(rows[-len(left) :], others, strict=True):
            times = ("total_time", "epoch_time", "steps_per_second")
            assert str({k: v for k, v in ours.items() if k not in times}) == str(
                {k: v for k, v in theirs.items() if k not in times}
            )


# --- on disk -------------------------------------------------------------------------------------

RUN = [
    "--random_steps", "80", "--train_steps", "160", "--test_steps", "60", "--epochs", "2",
    "--replay_size", "200", "--screen_width", "36", "--screen_height", "36", "--filters", "4",
    "--hidden_units", "16", "--target_steps", "50", "--validation_size", "20",
    "--backend", "cpu", "--threads", "1", "--random_seed", "5", "--checkpoint_every", "30",
]  # fmt: skip


class Killed(BaseException):
    """Never caught, like SIGKILL, but it leaves the test running to inspect the files."""


class KillAt(Callback):
    """Kills the run at a round, counted over the whole run."""

    def __init__(self, round_number):
        self.left = round_number

    def on_round_end(self, agent):
        self.left -= 1
        if not self.left:
            raise Killed


def results(label):
    """Return (rows without times, bytes of the last snapshot) of a run."""
    with open(f"results/pong_{label}.csv", newline="") as file:
        rows = [
            {k: v for k, v in row.items() if k not in TIME_COLUMNS} for row in csv.DictReader(file)
        ]
    return rows, Path(f"snapshots/pong_{label}_2.safetensors").read_bytes()


@pytest.mark.parametrize("more", [[], ["--num_envs", "4", "--prioritized"]], ids=["one", "lanes"])
def test_killed_run_resumes_to_the_same_results(in_tmp, monkeypatch, more):
    """Killed at several rounds, even before the resumed run's first checkpoint."""
    assert main(["train", "pong", "whole", *RUN, *more]) == 0
    run_epochs, kills = epochs.run_epochs, iter([47, 3, 61, 1, 90, 37, 10**6])

    def killed(run, *args):
        run.agent.callbacks.insert(0, KillAt(next(kills)))
        run_epochs(run, *args)

    monkeypatch.setattr(epochs, "run_epochs", killed)
    command = ["train", "pong", "killed", *RUN, *more]
    while True:
        try:
            assert main(command) == 0
            break
        except Killed:
            command = ["resume", "pong_killed"]
    assert results("killed") == results("whole")
    files = os.listdir("snapshots/pong_killed.checkpoint")
    # The 200 slots are in a few files, even after some twenty checkpoints.
    assert 2 <= len(files) <= 12
    assert not list(Path().rglob("*.lock"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_finishes_the_step_and_loses_nothing(in_tmp, capsys, monkeypatch, number):
    assert main(["train", "pong", "whole", *RUN]) == 0
    run_epochs = epochs.run_epochs

    class Signals(Callback):
        rounds = 0

        def on_step(self, agent, step):
            self.rounds += 1
            if self.rounds == 123:
                os.kill(os.getpid(), number)

    def signalled(run, *args):
        run.agent.callbacks.insert(0, Signals())
        run_epochs(run, *args)

    monkeypatch.setattr(epochs, "run_epochs", signalled)
    assert main(["train", "pong", "left", *RUN, "--checkpoint_every", "60m"]) == 128 + number
    assert capsys.readouterr().err.endswith("interrupted; resume.sh pong_left resumes it\n")
    monkeypatch.undo()
    os.chdir(in_tmp)
    assert main(["resume", "pong_left"]) == 0
    assert "resuming exactly, in epoch 1 train after 43 steps" in capsys.readouterr().err
    assert results("left") == results("whole")


def test_replay_memory_is_written_incrementally(tmp_path):
    """Only new slots are written, overwritten chunks are dropped, and everything is restored."""
    rng = np.random.default_rng(0)

    def memory():
        return ReplayMemory(
            300, 3, 2, (4, 4), np.uint8, discount_rate=0.9, n_step=1, min_reward=-1, max_reward=1,
            history_padding="zero", rng=np.random.default_rng(1),
        )  # fmt: skip

    ours, checkpoint = memory(), Checkpoint(tmp_path / "x.checkpoint")
    ours.restart(None, rng.integers(256, size=(3, 4, 4), dtype=np.uint8))
    before = {}
    for _turn in range(40):
        for _ in range(int(rng.integers(1, 30))):
            ours.add(
                rng.integers(3, size=3), rng.random(3).astype(np.float32),
                rng.integers(256, size=(3, 4, 4), dtype=np.uint8), rng.random(3) < 0.1,
            )  # fmt: skip
            lanes = np.flatnonzero(rng.random(3) < 0.2)
            ours.restart(lanes, rng.integers(256, size=(len(lanes), 4, 4), dtype=np.uint8))
        checkpoint.save(dict(memory=ours.state_dict()), ours)
        files = {p.name: p.read_bytes() for p in checkpoint.folder.iterdir()}
        del files["run.safetensors"]
        new = files.keys() - before.keys()
        assert len(new) == 1
        assert all(files[name] == before[name] for name in files.keys() - new)
        assert len(files) <= 110  # of 300 slots, a few at a time
        before = files

        theirs, again = memory(), Checkpoint(checkpoint.folder)
        state = again.load()
        again.load_slots(theirs, 3)
        theirs.load_state_dict(state["memory"])
        for lane in range(3):
            begin, end = ours.written[lane] - ours.filled[lane], ours.written[lane]
            for a, b in zip(
                ours.read(lane, begin, end), theirs.read(lane, begin, end), strict=True
            ):
                np.testing.assert_array_equal(a, b)
        assert theirs.start_count == int(theirs.starts.sum()) == ours.start_count


def make_checkpoint(tmp_path):
    """Return a small memory and its checkpoint."""
    memory = ReplayMemory(
        50, 1, 1, (4, 4), np.uint8, discount_rate=0.9, n_step=1, min_reward=-1, max_reward=1,
        history_padding="zero", rng=np.random.default_rng(1),
    )  # fmt: skip
    memory.restart(None, np.zeros((1, 4, 4), np.uint8))
    return memory, Checkpoint(tmp_path / "x.checkpoint")


def add_steps(memory, steps):
    one, none = np.ones((1, 4, 4), np.uint8), np.zeros(1, bool)
    for _ in range(steps):
        memory.add(np.zeros(1, int), np.zeros(1, np.float32), one, none)


def test_checkpoint_with_missing_files_is_rewritten_in_full(tmp_path, caplog):
    memory, checkpoint = make_checkpoint(tmp_path)
    for pattern in ("*", "replay_*"):
        add_steps(memory, 20)
        checkpoint.save({}, memory)
        for path in checkpoint.folder.glob(pattern):
            path.unlink()
        add_steps(memory, 3)
        caplog.clear()
        checkpoint.save(dict(memory=memory.state_dict()), memory)
        assert "has lost files: writing it again from scratch" in caplog.text
        theirs, again = make_checkpoint(tmp_path)
        state = again.load()
        again.load_slots(theirs, 1)
        theirs.load_state_dict(state["memory"])
        assert theirs.filled == memory.filled
        np.testing.assert_array_equal(theirs.read(0, 0, 20).screens, memory.read(0, 0, 20).screens)


def test_checkpoint_removes_only_its_own_files(tmp_path):
    memory, checkpoint = make_checkpoint(tmp_path)
    (checkpoint.folder / "folder").mkdir(parents=True)
    (checkpoint.folder / "mine.txt").write_text("precious")
    (checkpoint.folder / ".run.safetensors.77.tmp").write_text("of a crash")
    checkpoint.save({}, memory)
    names = {"folder", "mine.txt", "run.safetensors", "replay_1.safetensors"}
    assert set(os.listdir(checkpoint.folder)) == names
    checkpoint.remove()
    assert set(os.listdir(checkpoint.folder)) == {"folder", "mine.txt"}
    (checkpoint.folder / "mine.txt").unlink()
    (checkpoint.folder / "folder").rmdir()
    checkpoint.save({}, memory)
    checkpoint.remove()
    assert not checkpoint.folder.exists()


def test_killed_run_resumed_from_a_snapshot_has_no_duplicate_rows(in_tmp, monkeypatch):
    assert main(["train", "pong", "x", *RUN]) == 0
    shutil.rmtree("snapshots/pong_x.checkpoint")
    run_epochs = epochs.run_epochs

    def killed(run, *args):
        rounds = run.config.run.random_steps + run.config.run.train_steps + 20  # in the test
        run.agent.callbacks.insert(0, KillAt(rounds))
        run_epochs(run, *args)

    monkeypatch.setattr(epochs, "run_epochs", killed)
    with pytest.raises(Killed):
        main(["resume", "snapshots/pong_x_1.safetensors", "--checkpoint_every", "30"])
    monkeypatch.undo()
    os.chdir(in_tmp)
    assert main(["resume", "pong_x"]) == 0
    phases = [(row["epoch"], row["phase"]) for row in results("x")[0]]
    assert phases == [
        ("0", "random"), ("1", "train"), ("1", "test"), ("2", "train"), ("2", "test"),
    ]  # fmt: skip


def test_run_that_fails_at_its_last_row_can_be_resumed(in_tmp, monkeypatch, capsys):
    games = ["--test_frame_cap", "80"]  # of 20 steps, so that some games end
    assert main(["train", "pong", "whole", *RUN, *games]) == 0
    write = writers.CSVFile.__call__

    def full(self, row):
        if (row["epoch"], row["phase"]) == (2, "test"):
            raise OSError(errno.ENOSPC, "No space left on device", "results/pong_x.csv")
        write(self, row)

    monkeypatch.setattr(writers.CSVFile, "__call__", full)
    assert main(["train", "pong", "x", *RUN, *games]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.endswith(
        "No space left on device 'results/pong_x.csv'; resume.sh pong_x resumes it"
    )
    monkeypatch.undo()
    os.chdir(in_tmp)
    assert main(["resume", "pong_x"]) == 0
    assert results("x") == results("whole")
    assert Path("snapshots/pong_x_best.safetensors").exists()
    assert main(["resume", "pong_x"]) == 2
    assert "nothing is left to do" in capsys.readouterr().err


def test_resume_keeps_options_or_asks_for_them_again(in_tmp, capsys):
    assert main(["train", "pong", "x", *RUN, "--epochs", "1", "--csv_file", "own.csv",
                 "--stop_at", "-100", "--test_frame_cap", "80"]) == 0  # fmt: skip
    assert main(["resume", "pong_x", "--epochs", "3"]) == 2
    assert "this run had --csv_file own.csv: give it again" in capsys.readouterr().err
    assert main(["resume", "pong_x", "--epochs", "3", "--csv_file", "own.csv"]) == 2
    assert "it has reached --stop_at -100; give a higher one" in capsys.readouterr().err
    with open("own.csv", newline="") as file:
        # It ends where the uninterrupted run would have ended.
        assert [row["epoch"] for row in csv.DictReader(file)] == ["0", "1", "1"]
    assert not Path("results").exists()


def test_fork_under_another_name_leaves_the_run_unchanged(in_tmp, capsys):
    assert main(["train", "pong", "x", *RUN, "--epochs", "1"]) == 0
    folder = Path("snapshots/pong_x.checkpoint")
    before = {path: path.read_bytes() for path in [*folder.iterdir(), Path("results/pong_x.csv")]}
    fork = ["--save_weights_prefix", "snapshots/fork"]
    assert main(["resume", "pong_x", "--epochs", "2", *fork]) == 0
    assert before == {path: path.read_bytes() for path in before}
    assert set(before) == {*folder.iterdir(), Path("results/pong_x.csv")}
    assert main(["resume", "fork", "--epochs", "3"]) == 0
    assert main(["resume", "pong_x", "--epochs", "2", *fork]) == 2  # now it belongs to another run
    assert "'results/fork.csv' exists" in capsys.readouterr().err
    same = ["--save_weights_prefix", str(folder.with_suffix("").resolve())]
    csv_file = ["--csv_file", "results/pong_x.csv"]
    assert main(["resume", "pong_x", "--epochs", "2", *same, *csv_file]) == 0


def test_training_state_without_a_snapshot_is_skipped(in_tmp, capsys):
    assert main(["train", "pong", "x", *RUN, "--no_checkpoint"]) == 0
    Path("snapshots/pong_x_2.safetensors").rename("elsewhere")  # killed between the two
    assert main(["resume", "pong_x"]) == 0
    assert "snapshots/pong_x_2.resume is now" in capsys.readouterr().err


class Counts(Callback):
    """A custom callback with a state."""

    rounds = 0

    def on_round_end(self, agent):
        self.rounds += 1

    def on_phase_end(self, agent):
        Path("rounds").write_text(str(self.rounds))

    def state_dict(self):
        return {"rounds": self.rounds}

    def load_state_dict(self, state, agent):
        self.rounds = state["rounds"]


def test_custom_callback_resumes(in_tmp):
    custom = ["--callback", f"{__name__}:Counts"]
    assert main(["train", "pong", "x", *RUN, *custom]) == 0
    whole = Path("rounds").read_text()
    assert main(["train", "pong", "y", *RUN, *custom, "--epochs", "1"]) == 0
    assert Path("rounds").read_text() != whole
    assert main(["resume", "pong_y", *custom, "--epochs", "2"]) == 0
    assert Path("rounds").read_text() == whole


def test_custom_callback_sees_every_round_once(in_tmp, monkeypatch):
    """Including the round at which a checkpoint was written in the middle of a phase."""
    custom = ["--callback", f"{__name__}:Counts"]
    assert main(["train", "pong", "whole", *RUN, *custom]) == 0
    whole = Path("rounds").read_text()
    run_epochs = epochs.run_epochs

    def killed(run, *args):
        run.agent.callbacks.insert(0, KillAt(130))
        run_epochs(run, *args)

    monkeypatch.setattr(epochs, "run_epochs", killed)
    with pytest.raises(Killed):
        main(["train", "pong", "x", *RUN, *custom])
    monkeypatch.undo()
    os.chdir(in_tmp)
    assert main(["resume", "pong_x", *custom]) == 0
    assert Path("rounds").read_text() == whole


def test_failed_save_frees_its_disk_space(tmp_path, monkeypatch):
    memory, checkpoint = make_checkpoint(tmp_path)
    add_steps(memory, 10)
    checkpoint.save(dict(memory=memory.state_dict()), memory)
    before = {path: path.read_bytes() for path in checkpoint.folder.iterdir()}
    add_steps(memory, 20)

    def full(path, *args):
        if path == checkpoint.path:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return save_tensors(path, *args)

    monkeypatch.setattr("simple_dqn.storage.checkpoint.save_tensors", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(dict(memory=memory.state_dict()), memory)
    assert before == {path: path.read_bytes() for path in checkpoint.folder.iterdir()}


def test_missing_last_snapshot_is_written_on_resume(in_tmp, capsys):
    """Without test phases the last checkpoint and row are written before the last snapshot."""
    assert main(["train", "pong", "x", *RUN, "--test_steps", "0"]) == 0
    path = Path("snapshots/pong_x_2.safetensors")
    expected = path.read_bytes()
    path.unlink()
    assert main(["resume", "pong_x"]) == 0
    assert path.read_bytes() == expected
    assert [row["phase"] for row in results("x")[0]] == ["random", "train", "train"]
    assert main(["resume", "pong_x"]) == 2


def test_missing_rows_do_not_lose_the_best_snapshot(in_tmp, capsys):
    games = ["--test_frame_cap", "80"]
    assert main(["train", "pong", "x", *RUN, *games]) == 0
    best = Path("snapshots/pong_x_best.safetensors")
    before = best.read_bytes()
    shutil.rmtree("results")
    assert main(["resume", "pong_x", "--epochs", "3"]) == 0
    assert (
        "there is no results/pong_x.csv to continue: starting a new one" in capsys.readouterr().err
    )
    assert best.with_name(f"{best.name}.bak").read_bytes() == before


@pytest.mark.parametrize(
    ("option", "line"),
    [
        (["--epochs", "1"], "the run is in epoch 2 already"),
        (["--load_experience", "a.experience"], "the checkpoint holds the whole replay memory"),
    ],
)
def test_options_that_conflict_with_the_checkpoint_are_refused(in_tmp, capsys, option, line):
    assert main(["train", "pong", "x", *RUN]) == 0
    rows = Path("results/pong_x.csv").read_bytes()
    assert main(["resume", "pong_x", *option]) == 2
    assert line in capsys.readouterr().err
    assert Path("results/pong_x.csv").read_bytes() == rows


def test_reached_stop_at_can_be_raised(in_tmp, capsys):
    games = ["--test_frame_cap", "80"]
    assert main(["train", "pong", "whole", *RUN, *games]) == 0
    assert main(["train", "pong", "x", *RUN, *games, "--stop_at", "-100"]) == 0
    assert len(results("whole")[0]) > len(Path("results/pong_x.csv").read_text().splitlines()) - 1
    assert main(["resume", "pong_x", "--stop_at", "100"]) == 0
    assert "resuming exactly" in capsys.readouterr().err
    assert results("x") == results("whole")


def test_third_party_checkpoint_cannot_name_code_or_files(in_tmp, capsys):
    assert main(["train", "pong", "x", *RUN, "--epochs", "1"]) == 0
    Path("precious").write_text("precious")
    checkpoint = Checkpoint(Path("snapshots/pong_x.checkpoint"))
    state = checkpoint.load()
    state["config"] |= {"callback": "evil:X", "tensorboard": "board", "record_screen_path": "p"}
    tensors = {}
    tree = _without_arrays(state, "", tensors)
    save_tensors(checkpoint.path, "checkpoint", tensors, dict(tree=tree))
    assert main(["resume", "pong_x", "--epochs", "2"]) == 0
    assert not Path("board").exists()
    assert not Path("p").exists()

    snapshot = Path("snapshots/pong_x_1.safetensors")
    weights, metadata = load_tensors(snapshot, "snapshot")
    metadata["config"] |= {
        "callback": "evil:X", "csv_file": "precious", "overwrite": True,
        "save_experience": "precious", "video_file": "precious",
    }  # fmt: skip
    save_tensors(snapshot, "snapshot", weights, metadata)
    capsys.readouterr()
    assert main(["test", str(snapshot), "--test_steps", "40"]) == 0
    assert Path("precious").read_text() == "precious"


HOSTILE = {
    "negative": ("agent", "rounds", -1),
    "huge": ("agent", "total_train_steps", 10**400),
    "no games": ("agent", "lengths", []),
    "no number": ("agent", "rounds", 1.5),
    "lanes": ("statistics", "scores", np.zeros(7)),
    "states": ("statistics", "validation_states", np.zeros((5, 4, 4, 4), np.uint8)),
    "no states": ("statistics", "validation_states", np.zeros((0, 4, 36, 36), np.uint8)),
    "no end of states": ("statistics", "validation_states", np.zeros((10**12, 0), np.uint8)),
    "steps": ("statistics", "steps", -3),
    "epoch": ("statistics", "epoch", -3),
    "updates": ("network", "weight_updates", None),
    "complex": ("network", "weights", {"layers.0.bias": torch.zeros(4, dtype=torch.complex64)}),
    "generator": ("agent", "generator", {"bit_generator": "MT19937"}),
    "chunks": (None, "chunks", [{"number": -1}]),
    "lanes of slots": (None, "chunks", [
        dict(number=1, checksum="", begins=[0, 0], ends=[1, 1])
    ]),
}  # fmt: skip


@pytest.mark.parametrize("what", ["run", "replay"])
def test_damaged_checkpoint_names_a_fallback_that_resumes(in_tmp, capsys, what):
    assert main(["train", "pong", "x", *RUN, "--epochs", "1"]) == 0
    folder = Path("snapshots/pong_x.checkpoint")
    file = next(folder.glob(f"{what}*"))
    damaged = bytearray(file.read_bytes())
    damaged[-1] ^= 1
    file.write_bytes(damaged)
    Path("snapshots/pong_x_1.resume").write_bytes(b"")
    snapshot = "snapshots/pong_x_1.safetensors"
    for advice in (f"to resume from {snapshot}", "to continue with a new optimiser"):
        capsys.readouterr()
        assert main(["resume", "pong_x", "--epochs", "2"]) == 2
        line = capsys.readouterr().err.splitlines()[-1]
        place = re.search(rf"damaged \(.*\); move (\S+) away {advice}$", line)[1]
        place = "snapshots/pong_x_1.resume" if place == "it" else place
        Path(place).rename(in_tmp / Path(place).name)
    assert main(["resume", "pong_x", "--epochs", "2"]) == 0


def test_damaged_checkpoint_without_a_snapshot_suggests_a_restart(in_tmp, capsys):
    assert main(["train", "pong", "x", *RUN, "--epochs", "1"]) == 0
    Path("snapshots/pong_x.checkpoint/run.safetensors").write_bytes(b"")
    Path("snapshots/pong_x_1.safetensors").unlink()
    assert main(["resume", "pong_x"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.endswith(
        "; move snapshots/pong_x.checkpoint away to restart with train.sh --overwrite"
    )


@pytest.mark.parametrize("case", HOSTILE)
def test_tampered_checkpoint_is_refused(in_tmp, capsys, case):
    """Its checksum is valid: anyone can compute one."""
    part, name, value = HOSTILE[case]
    command = ["train", "pong", "x", *RUN, "--epochs", "1"]
    assert main(command) == 0
    checkpoint = Checkpoint(Path("snapshots/pong_x.checkpoint"))
    state = checkpoint.load()
    (state[part] if part else state)[name] = value
    tensors = {}
    tree = _without_arrays(state, "", tensors)
    save_tensors(checkpoint.path, "checkpoint", tensors, dict(tree=tree))
    capsys.readouterr()
    assert main(["resume", "pong_x", "--epochs", "2"]) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("simple-dqn:")]
    assert "pong_x.checkpoint" in line


def test_second_run_of_the_same_name_is_refused(in_tmp, capsys):
    Path("snapshots").mkdir()
    Path("snapshots/pong_x.lock").write_text("123")  # of a dead process: it holds no lock
    script = "import sys; from simple_dqn.main import main; sys.exit(main(sys.argv[1:]))"
    with subprocess.Popen(
        [sys.executable, "-c", script, "train", "pong", "x", *RUN, "--epochs", "99999"],
        stderr=subprocess.PIPE, text=True,
    ) as first:  # fmt: skip
        assert first.stderr is not None
        assert "statistics go to" in first.stderr.readline()
        assert main(["train", "pong", "x", *RUN, "--overwrite"]) == 2
        err = capsys.readouterr().err
        assert f"process {first.pid} is already writing snapshots/pong_x_..." in err
        assert err.count("\n") == 1
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert main(["train", "pong", "x", *RUN, "--overwrite"]) == 0


def test_no_checkpoint_writes_none(in_tmp):
    assert main(["train", "pong", *RUN, "--no_checkpoint", "--epochs", "1"]) == 0
    assert not Path("snapshots/pong.checkpoint").exists()


@pytest.mark.parametrize("text", ["0", "10x", "-1", "1.5", "m", "", "1e3", "٣m"])
def test_invalid_checkpoint_intervals(in_tmp, capsys, text):
    assert main(["train", "pong", f"--checkpoint_every={text}"]) == 2
    assert "--checkpoint_every must be minutes as 10m" in capsys.readouterr().err


@pytest.mark.parametrize("ends", [["--epochs", "1"], ["--stop_at", "-100"]], ids=["end", "score"])
def test_finished_epoch_keeps_its_row_when_more_follow(in_tmp, capsys, ends):
    """To the byte, with its times, also if later tests are longer."""
    games = ["--test_frame_cap", "80"]
    assert main(["train", "pong", "whole", *RUN, *games]) == 0
    assert main(["train", "pong", "x", *RUN, *games, *ends]) == 0
    before = Path("results/pong_x.csv").read_bytes()
    shutil.copytree(".", "../longer", dirs_exist_ok=True)
    capsys.readouterr()
    more = ["--epochs", "2", "--stop_at", "1e9"]
    assert main(["resume", "pong_x", *more]) == 0
    assert "resuming exactly, after epoch 1" in capsys.readouterr().err
    assert Path("results/pong_x.csv").read_bytes().startswith(before)
    assert results("x") == results("whole")

    os.chdir("../longer")
    assert main(["resume", "pong_x", *more, "--test_steps", "120"]) == 0
    err = capsys.readouterr().err
    assert "resuming with other options than before (--test_steps), after epoch 1" in err
    assert Path("results/pong_x.csv").read_bytes().startswith(before)
    assert Path("snapshots/pong_x_1.safetensors").exists()
    assert [row["steps"] for row in results("x")[0]] == ["80", "160", "60", "160", "120"]


def test_option_that_does_not_fit_the_checkpoint_is_named(in_tmp, capsys):
    assert main(["train", "pong", "x", *RUN, "--epochs", "1"]) == 0
    capsys.readouterr()
    assert main(["resume", "pong_x", "--epochs", "2", "--filters", "8"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "network.weights.layers.0" in line
    assert "; leave out --filters, or move snapshots/pong_x.checkpoint away" in line
