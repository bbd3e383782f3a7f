"""What a run writes: the board follows the CSV file, the best snapshot follows, names fit."""

from __future__ import annotations

import csv
import dataclasses
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from simple_dqn.callbacks.writers import CSVFile, TensorBoard
from simple_dqn.commands.resume import names_snapshot
from simple_dqn.commands.snapshots import open_test_csv
from simple_dqn.commands.watch import require_new_experience, require_new_video
from simple_dqn.environments.games import find_rom
from simple_dqn.errors import UsageError
from simple_dqn.main import main
from simple_dqn.options.definitions import Config
from simple_dqn.options.resolve import resolve
from simple_dqn.statistics import COLUMNS, PHASES
from simple_dqn.storage.checkpoint import LONGEST_NAME, Checkpoint, _name
from simple_dqn.storage.files import BESIDE, require_place, shortened
from simple_dqn.storage.run_files import require_places
from simple_dqn.storage.snapshot import load_snapshot

SMALL = [
    "--random_steps", "60", "--train_steps", "40", "--test_steps", "40", "--replay_size", "1000",
    "--hidden_units", "8", "--validation_size", "10", "--threads", "1", "--test_workers", "0",
]  # fmt: skip


def run(*arguments) -> None:
    assert main([str(a) for a in arguments]) == 0


def board(folder):
    """Return {tag: [(step, value)]} of a TensorBoard folder, in the order of the files."""
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    shown = events.EventAccumulator(str(folder), size_guidance={"scalars": 0})
    shown.Reload()
    return {tag: [(e.step, e.value) for e in shown.Scalars(tag)] for tag in shown.Tags()["scalars"]}


def table(path):
    """Return the same of a CSV file."""
    found = {}
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            for column in COLUMNS[2:]:
                value = float(row[column])
                if math.isfinite(value):
                    point = (int(row["total_train_steps"]), pytest.approx(value, rel=1e-6))
                    found.setdefault(f"{row['phase']}/{column}", []).append(point)
    return found


def row(epoch, phase="test"):
    value = epoch * 10.0 + PHASES.index(phase)
    return {
        **dict.fromkeys(COLUMNS, value),
        "epoch": epoch,
        "phase": phase,
        "total_train_steps": 100 * epoch,
    }


def write(csv_file, folder, prefix, epochs, **keep):
    """Begin or continue a run that writes test rows of these epochs."""
    shown, file = TensorBoard(str(folder), str(prefix)), CSVFile(csv_file, **keep)
    shown.begin(file.rows)
    for epoch in epochs:
        for output in (file, shown):
            output(row(epoch))


def test_the_board_holds_what_the_csv_holds(tmp_path):
    file, folder, prefix = tmp_path / "x.csv", tmp_path / "board", tmp_path / "x"
    write(file, folder, prefix, [0, 1, 2, 3])
    assert board(folder) == table(file)
    write(file, folder, prefix, [2, 3, 4], keep_before=(2, "train"))  # killed, and resumed earlier
    assert [step for step, _ in board(folder)["test/meanq"]] == [0, 100, 200, 300, 400]
    assert board(folder) == table(file)
    write(file, folder, prefix, [5], keep_before=(5, "train"))
    assert board(folder) == table(file)
    write(file, folder, prefix, [1, 2])  # --overwrite
    assert board(folder) == table(file)
    assert len(list(folder.iterdir())) == 1


def test_the_board_leaves_the_files_of_others_alone(tmp_path):
    folder = tmp_path / "board"
    for name in ("x", "y", "z/x"):
        write(tmp_path / f"{name}.csv", folder, tmp_path / name, [0, 1])
    foreign = [folder / "events.out.tfevents.1.host.2.3", folder / "notes.txt"]
    for path in foreign:
        path.write_bytes(b"")
    before = set(folder.iterdir())
    write(tmp_path / "x.csv", folder, tmp_path / "x", [1], keep_before=(1, "train"))
    after = set(folder.iterdir())
    assert len(before - after) == len(after - before) == 1
    assert set(foreign) < after
    assert len(board(folder)["test/meanq"]) == 6


def test_a_run_that_has_moved_with_its_board_is_the_same(tmp_path):
    place = tmp_path / "a"
    write(place / "r/x.csv", place / "board", place / "x", [0, 1])
    place.rename(tmp_path / "b")
    place = tmp_path / "b"
    write(place / "r/x.csv", place / "board", place / "x", [1, 2], keep_before=(1, "train"))
    assert board(place / "board") == table(place / "r/x.csv")


def test_rows_of_an_older_file_and_of_a_spreadsheet_are_shown(tmp_path):
    old = [c for c in COLUMNS if c not in ("std_game_reward", "mean_game_steps")]
    text = ";".join(old) + "\r\n" + ";".join(str(row(1)[c]).replace(".", ",") for c in old) + "\r\n"
    (tmp_path / "x.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    write(tmp_path / "x.csv", tmp_path / "b", tmp_path / "x", [2], keep_before=(2, "train"))
    shown = board(tmp_path / "b")
    assert shown["test/meanq"] == [(100, 12), (200, 22)]
    assert [step for step, _ in shown["test/mean_game_steps"]] == [200]


def test_a_real_run_and_its_board_after_each_way_to_continue(in_tmp):
    pytest.importorskip("tensorboard")
    train = ["train", "CartPole-v1", *SMALL, "--tensorboard", "board", "--random_seed", 1]
    table_file = "results/CartPole-v1.csv"
    run(*train, "--epochs", 3)
    assert board("board") == table(table_file)
    resume = ["resume", "snapshots/CartPole-v1_1.safetensors", "--tensorboard", "board"]
    run(*resume, "--epochs", 4)
    assert [step for step, _ in board("board")["train/meanq"]] == [40, 80, 120, 160]
    assert board("board") == table(table_file)
    run(*train, "--epochs", 1, "--overwrite")
    assert board("board") == table(table_file)

    command = [sys.executable, "-m", "simple_dqn", *map(str, train), "--overwrite"]
    command += ["--epochs", "9999", "--checkpoint_every", "150"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        limit = time.monotonic() + 60
        while not Path("snapshots/CartPole-v1_9.safetensors").exists():
            assert time.monotonic() < limit
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    epoch = Checkpoint(Path("snapshots/CartPole-v1.checkpoint")).load()["statistics"]["epoch"]
    run("resume", "CartPole-v1", "--epochs", epoch + 3, "--tensorboard", "board")
    steps = [step for step, _ in board("board")["train/meanq"]]
    assert steps == [40 * (n + 1) for n in range(epoch + 3)]
    assert board("board") == table(table_file)


def test_a_run_without_a_row_leaves_no_events(in_tmp, monkeypatch):
    pytest.importorskip("tensorboard")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("simple_dqn.agent.Agent.play_random", interrupted)
    assert main(["train", "CartPole-v1", *SMALL, "--tensorboard", "board"]) == 130
    assert os.listdir("board") == os.listdir("results") == []


def test_the_best_snapshot_is_one_of_the_run_that_is_continued(in_tmp, capsys):
    """Going back to epoch 1 gives up epoch 3, which was the best."""
    run("train", "CartPole-v1", *SMALL, "--epochs", 3, "--random_seed", 1)
    file, best = Path("results/CartPole-v1.csv"), Path("snapshots/CartPole-v1_best.safetensors")
    lines = [line.split(",") for line in file.read_text().splitlines()]
    for line in lines[1:]:
        line[COLUMNS.index("average_reward")] = line[0]
    file.write_text("".join(",".join(line) + "\n" for line in lines))
    best.write_bytes(Path("snapshots/CartPole-v1_3.safetensors").read_bytes())
    run("resume", "snapshots/CartPole-v1_1.safetensors", "--epochs", 2, "--test_steps", 0)
    assert load_snapshot(best).epoch == 1
    assert load_snapshot(Path(f"{best}.bak")).epoch == 3
    assert f"{best} is now {best}.bak" in capsys.readouterr().err


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("letter", ["x", "é", "長"])
def test_the_longest_label_that_starts_also_ends(in_tmp, capsys, letter):
    """What a run writes is tried, not computed: the longest accepted label trains and resumes."""
    most = os.pathconf(".", "PC_NAME_MAX")
    for length in range(most // len(letter.encode()), 0, -1):
        config = resolve(
            {
                "csv_file": f"results/CartPole-v1_{letter * length}.csv",
                "save_weights_prefix": f"snapshots/CartPole-v1_{letter * length}",
            }
        )
        try:
            require_places(config)
        except UsageError:
            continue
        break
    label = letter * length
    assert len(label.encode()) > most - 70
    command = ["train", "CartPole-v1", label, *SMALL, "--epochs", "1"]
    run(*command, "--checkpoint_every", 50)
    run("resume", f"CartPole-v1_{label}", "--epochs", 2)
    run("resume", f"snapshots/CartPole-v1_{label}_1.safetensors", "--epochs", 2)
    before = set(Path().rglob("*"))
    capsys.readouterr()
    command[2] += letter
    assert main(command) == 2
    err = capsys.readouterr().err
    assert "too long for the names of all files that are going to be written" in err
    assert "give a shorter label or --" in err
    assert len(err) < 300
    assert set(Path().rglob("*")) == before


def test_a_label_of_225_letters_is_refused_at_once(in_tmp, capsys, monkeypatch):
    monkeypatch.setattr("simple_dqn.agent.Agent.play_random", lambda *_: pytest.fail("it plays"))
    for length in (225, 250, 300, 5000):
        assert main(["train", "CartPole-v1", "a" * length, *SMALL]) == 2
        err = capsys.readouterr().err
        assert "too long" in err
        assert err.count("\n") == 1
    assert list(Path().iterdir()) == []


def long_name(ending, excess=0):
    most = os.pathconf(".", "PC_NAME_MAX")
    return "n" * (most - BESIDE - len(ending) + excess) + ending


def config(group, **values):
    whole = Config()
    return dataclasses.replace(
        whole, **{group: dataclasses.replace(getattr(whole, group), **values)}
    )


@pytest.mark.parametrize("excess", [0, 1])
def test_other_names_are_checked_before_the_work(in_tmp, excess):
    def check(option, function, *arguments):
        if not excess:
            function(*arguments)
            return
        with pytest.raises(UsageError, match=f"is 1 byte too long .* shorter --{option}"):
            function(*arguments)

    name = long_name(".experience", excess)
    check("save_experience", require_new_experience, config("watch", save_experience=name))
    name = long_name(".mp4", excess)
    check("video_file", require_new_video, config("watch", video_file=name), Path(name))
    check("csv_file", open_test_csv, config("run", csv_file=long_name(".csv", excess)))
    check("png_file", require_place, Path(long_name(".png", excess)), "png_file")


def test_paths_may_be_too_long_though_their_names_are_not(in_tmp, monkeypatch):
    monkeypatch.setattr(
        os, "pathconf", lambda _, what: {"PC_NAME_MAX": 50, "PC_PATH_MAX": 60}[what]
    )
    require_place(Path("a/b/c"), "csv_file")
    with pytest.raises(UsageError, match="csv_file"):
        require_place(Path("a" * 46 + "/c"), "csv_file")
    require_place(Path("pictures"), "record_screen_path", inside=50)
    with pytest.raises(UsageError, match="'pictures' is 1 byte too long"):
        require_place(Path("pictures"), "record_screen_path", inside=51)
    monkeypatch.setattr(os, "pathconf", lambda *_: -1)
    require_place(Path("a" * 46 + "/c"), "csv_file", inside=10_000)


def test_what_is_no_file_is_not_replaced(in_tmp):
    os.mkfifo("pipe.mp4")
    with pytest.raises(UsageError, match=r"'pipe\.mp4' is not a file: give another --video_file"):
        require_new_video(config("watch", video_file="pipe.mp4"), Path("pipe.mp4"))
    overwrite = dataclasses.replace(
        config("watch", save_experience="/dev/null"),
        run=dataclasses.replace(Config().run, overwrite=True),
    )
    with pytest.raises(UsageError, match="not a file"):
        require_new_experience(overwrite)
    with pytest.raises(UsageError, match="not a file"):
        require_place(Path("/dev/null"), "png_file")
    assert Path("/dev/null").is_char_device()


def test_the_longest_names_are_the_longest():
    assert len(f".{_name(999_999_999)}.4194304.tmp") <= LONGEST_NAME
    assert len(".x.4194304.tmp") - 1 <= BESIDE
    assert max(map(len, ("x.lock", "x.bak123", "x.checkpoint"))) - 1 <= BESIDE


def test_names_are_shortened_in_the_middle():
    assert shortened("abcdefghij", 10) == "abcdefghij"
    assert shortened("abcdefghijk", 10) == "abcde…hijk"
    assert shortened("abcdefghijk", 3) == "a…k"


# --- which run is meant ---------------------------------------------------------------------------


def test_a_file_called_as_the_run_is_no_snapshot(in_tmp, capsys):
    run("train", "CartPole-v1", "x", *SMALL, "--epochs", 1, "--random_seed", 1)
    name = "CartPole-v1_x"
    Path(name).write_text("a log file")
    run("resume", name, "--epochs", 2)
    Path(name).unlink()
    Path(name).mkdir()
    run("resume", f"{name}/", "--epochs", 3)
    Path(f"snapshots/{name}").write_text("another log file")
    run("resume", f"snapshots/{name}", "--epochs", 4)
    Path("CartPole-v1").touch()
    capsys.readouterr()
    assert main(["resume", "CartPole-v1"]) == 2
    assert "there is no run 'CartPole-v1'" in capsys.readouterr().err
    copy = Path("snapshots/copy")
    copy.write_bytes(Path(f"snapshots/{name}_1.safetensors").read_bytes())
    assert names_snapshot("snapshots/copy")
    assert names_snapshot("nothing.safetensors")
    assert not names_snapshot("snapshots/none")


def test_a_run_named_where_a_snapshot_belongs_points_at_its_last_one(in_tmp, capsys):
    run("train", "CartPole-v1", "x", *SMALL, "--epochs", 2, "--random_seed", 1)
    for name in ("CartPole-v1_x", "snapshots/CartPole-v1_x"):
        for command in ("test", "record", "visualize"):
            assert main([command, name]) == 2
            err = capsys.readouterr().err
            assert f"'{name}' is a run, not a snapshot" in err
            assert err.endswith("its last one is snapshots/CartPole-v1_x_2.safetensors\n")
    assert main(["test", "snapshots/CartPole-v1_y"]) == 2
    assert "there is no file 'snapshots/CartPole-v1_y'" in capsys.readouterr().err


def test_a_file_called_as_the_game_is_no_rom(in_tmp):
    before = find_rom("pong")
    Path("pong").write_text("a log file")
    assert find_rom("pong") == before
    with pytest.raises(UsageError):
        find_rom("./pong")


@pytest.mark.parametrize("label", ["x.safetensors", "x.checkpoint"])
def test_a_label_that_looks_like_a_file_is_refused(in_tmp, capsys, label):
    assert main(["train", "CartPole-v1", label]) == 2
    assert "looks like a file of a run" in capsys.readouterr().err
