from __future__ import annotations

import csv
import math
import re
import sys

import numpy as np
import pytest

from simple_dqn.analysis.curves import read_table
from simple_dqn.callbacks.writers import CSVFile, TensorBoard
from simple_dqn.errors import UsageError
from simple_dqn.statistics import COLUMNS, Statistics
from simple_dqn.storage.statistics_file import read_csv

from .conftest import TapeEnvironment
from .test_agent import make

ORIGINAL = (
    "epoch,phase,steps,nr_games,average_reward,min_game_reward,max_game_reward,"
    "last_exploration_rate,total_train_steps,replay_memory_count,meanq,meancost,weight_updates,"
    "total_time,epoch_time,steps_per_second"
)


def run(environment, rows, **kwargs):
    statistics = Statistics(10, on_row=(lambda row: rows.append(row.copy()),))
    agent, *_ = make(environment, callbacks=[statistics], **kwargs)
    return agent, statistics


def test_row_by_hand():
    # Lane 0: games of 3 steps score 1+2+3 = 6; lane 1: games of 4 steps score 10.
    rows = []
    agent, statistics = run(TapeEnvironment(lengths=(3, 4)), rows, exploration_rate_test=0.125)
    agent.play_random(20)  # 10 rounds: 3 games of 6 and 2 of 10, and two unfinished ones
    statistics.epoch = 4
    agent.train(16)  # 8 rounds: 2 games of each
    agent.test(steps=6)  # 3 rounds: one game
    random, train, test = rows
    assert list(random) == list(COLUMNS)
    expected = {
        "epoch": 0, "phase": "random", "steps": 20, "nr_games": 5,
        "average_reward": (3 * 6 + 2 * 10) / 5, "min_game_reward": 6, "max_game_reward": 10,
        "last_exploration_rate": 1, "total_train_steps": 0, "replay_memory_count": 20,
        "meanq": 2, "weight_updates": 0,
        "std_game_reward": math.sqrt((3 * 1.6**2 + 2 * 2.4**2) / 5), "mean_game_steps": 17 / 5,
    }  # fmt: skip
    assert {k: random[k] for k in expected} == pytest.approx(expected)
    expected = {
        "epoch": 4, "phase": "train", "steps": 16, "nr_games": 4, "average_reward": 8,
        "last_exploration_rate": 1, "total_train_steps": 16,
        "replay_memory_count": 36, "weight_updates": 4,
    }  # fmt: skip
    assert {k: train[k] for k in expected} == pytest.approx(expected)
    assert (test["phase"], test["nr_games"], test["average_reward"]) == ("test", 1, 6)
    assert test["last_exploration_rate"] == 0.125
    assert test["steps_per_second"] == pytest.approx(6 / test["epoch_time"])
    assert test["total_time"] >= train["epoch_time"] + test["epoch_time"]


def test_life_loss_does_not_end_a_game():
    rows = []
    agent, _ = run(TapeEnvironment(lengths=(3,), lives=2), rows)
    agent.play_random(12)
    assert rows[0]["nr_games"] == 2
    assert rows[0]["average_reward"] == 12
    assert rows[0]["mean_game_steps"] == 6


def test_truncated_games_count_and_zero_games_give_nan():
    rows = []
    agent, _ = run(TapeEnvironment(lengths=(3,), truncates=True), rows)
    agent.test(steps=7)
    agent.test(steps=2)
    assert (rows[0]["nr_games"], rows[0]["average_reward"]) == (2, 6)
    assert rows[1]["nr_games"] == 0
    assert math.isnan(rows[1]["average_reward"])


def test_idle_lanes_are_not_counted():
    rows = []
    agent, _ = run(TapeEnvironment(lengths=(3, 50)), rows)
    agent.test(games=2)
    assert rows[0]["steps"] == 53
    assert rows[0]["nr_games"] == 2
    assert rows[0]["average_reward"] == (6 + 1275) / 2
    agent.test(games=1)
    assert (rows[1]["steps"], rows[1]["nr_games"], rows[1]["average_reward"]) == (3, 1, 6)


def test_held_out_states_stay_the_same():
    agent, statistics = run(TapeEnvironment(), [])
    agent.play_random(50)
    states = statistics.validation_states
    assert states.shape == (10, 2)
    agent.train(50)
    assert statistics.validation_states is states


def row(epoch, phase="test", total_time=1.5):
    return {**dict.fromkeys(COLUMNS, 0.5), "epoch": epoch, "phase": phase, "total_time": total_time}


def test_csv_has_the_original_columns_first_and_writes_rows_at_once(tmp_path):
    path = tmp_path / "new" / "pong.csv"
    file = CSVFile(path)
    assert path.read_text().startswith(ORIGINAL + ",")
    file(row(0, "random"))
    with open(path, newline="") as f:
        assert [r["phase"] for r in csv.DictReader(f)] == ["random"]


def test_csv_continues_after_an_epoch_and_loses_nothing(tmp_path):
    path = tmp_path / "pong.csv"
    file = CSVFile(path)
    for r in (row(0), row(1, total_time=7), row(2, total_time=9)):
        file(r)
    whole = path.read_bytes()
    again = CSVFile(path, keep_before=(3, "train"))
    assert again.backup is None
    assert again.total_time == 9
    assert path.read_bytes() == whole
    earlier = CSVFile(path, keep_before=(2, "train"))
    assert earlier.total_time == 7
    assert earlier.backup.read_bytes() == whole
    earlier(row(2, "train"))
    assert [(r["epoch"], r["phase"]) for r in read_csv(path)] == [
        ("0", "test"), ("1", "test"), ("2", "train"),
    ]  # fmt: skip
    assert CSVFile(path, keep_before=(1, "train")).backup.name == "pong.csv.bak2"
    assert CSVFile(tmp_path / "none.csv", keep_before=(6, "train")).total_time == 0


def test_half_written_last_line_is_ignored(tmp_path):
    path = tmp_path / "pong.csv"
    file = CSVFile(path)
    file(row(0))
    file(row(1))
    path.write_bytes(path.read_bytes()[:-20])
    assert [r["epoch"] for r in read_csv(path)] == ["0"]


HEADER = ORIGINAL.encode() + b"\n"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"a,b\n1,2\n",
        b"\xff\xfe\x00",
        HEADER + b"x,test\n",
        HEADER + b"1,test" + b",abc" * 14 + b"\n",
        HEADER + "²,test".encode() + b",1" * 14 + b"\n",
        HEADER + b"1,test," + b"9" * 200_000 + b"\n",
    ],
    ids=["empty", "other columns", "binary", "short", "words", "digits", "long"],
)
def test_foreign_csv_is_refused_and_unchanged(tmp_path, content):
    path = tmp_path / "pong.csv"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"pong\.csv"):
        CSVFile(path, keep_before=(2, "train"))
    assert path.read_bytes() == content


def numbers(path):
    return [(r["epoch"], r["phase"], float(r["meanq"])) for r in read_csv(path)]


SPREADSHEETS = {
    "byte order mark": lambda text: "\ufeff".encode() + text.encode(),
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
    "CR": lambda text: text.replace("\n", "\r").encode(),
    "Excel": lambda text: ("\ufeff" + text.replace("\n", "\r\n")).encode(),
    "quotes": lambda text: re.sub(r"[^,\n]+", r'"\g<0>"', text).encode(),
    "semicolons": lambda text: text.replace(",", ";").encode(),
    "decimal commas": lambda text: (
        "\ufeff" + text.replace(",", ";").replace(".", ",").replace("\n", "\r\n")
    ).encode(),
    "UTF-16 and tabs": lambda text: text.replace(",", "\t").replace("\n", "\r\n").encode("utf-16"),
    "empty rows and columns": lambda text: (
        text.replace("\n", ",,\r\n").encode() + b"," * len(COLUMNS) + b"\r\n\r\n"
    ),
}


@pytest.mark.parametrize("how", SPREADSHEETS)
def test_what_a_spreadsheet_has_saved_is_read_and_continued(tmp_path, how):
    path = tmp_path / "pong.csv"
    file = CSVFile(path)
    for epoch, meanq in enumerate((0.25, 1e-3, float("nan"))):
        file({**row(epoch, total_time=10.5 + epoch), "meanq": meanq})
    own, table = path.read_bytes(), read_table(path)
    saved = SPREADSHEETS[how](own.decode())
    path.write_bytes(saved)
    assert [r[:2] for r in numbers(path)] == [("0", "test"), ("1", "test"), ("2", "test")]
    assert [r[2] for r in numbers(path)][:2] == [0.25, 1e-3]
    assert read_table(path).equals(table)
    again = CSVFile(path, keep_before=(2, "test"), drop_others=True)  # as a resumed run does
    assert again.total_time == 11.5
    assert path.read_bytes() == own[: own.index(b"\n2,") + 1]


@pytest.mark.parametrize("how", sorted(SPREADSHEETS.keys() - {"UTF-16 and tabs"}))
def test_a_run_continues_while_a_spreadsheet_saves_its_rows(tmp_path, how):
    path = tmp_path / "pong.csv"
    file = CSVFile(path)
    file(row(0))
    text = path.read_text().rstrip("\n")  # some editors take the last end of line away
    path.write_bytes(SPREADSHEETS[how](text))
    file(row(1, "train"))
    assert numbers(path) == [("0", "test", 0.5), ("1", "train", 0.5)]
    path.unlink()
    file(row(2))
    assert numbers(path) == [("2", "test", 0.5)]


def test_the_originals_own_files_can_be_read(tmp_path):
    path = tmp_path / "pong.csv"
    path.write_text(ORIGINAL + "\n" + "0,random" + ",1" * 14 + "\n")
    assert read_csv(path)[0]["phase"] == "random"


def test_tensorboard_mirrors_the_rows(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    board = TensorBoard(str(tmp_path), "x")
    board({**row(1), "total_train_steps": 250, "average_reward": float("nan")})
    board({**row(2), "total_train_steps": 500, "average_reward": 7.5})
    events = accumulator.EventAccumulator(str(tmp_path))
    events.Reload()
    scores = events.Scalars("test/average_reward")
    assert [(e.step, e.value) for e in scores] == [(500, 7.5)]
    assert [e.step for e in events.Scalars("test/meanq")] == [250, 500]


def test_missing_tensorboard_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match="-m pip install tensorboard"):
        TensorBoard("x", "x")


def test_score_statistics_match_numpy():
    rows = []
    agent, statistics = run(TapeEnvironment(lengths=(1, 2, 3, 4)), rows)
    agent.play_random(400)
    scores = np.array(statistics.game_rewards)
    assert rows[0]["std_game_reward"] == pytest.approx(scores.std())
    assert rows[0]["nr_games"] == 100 + 50 + 33 + 25
