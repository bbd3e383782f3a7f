"""compare: figures of hand-made statistics files, worked out by hand; what is said and refused."""

from __future__ import annotations

import csv
import json
import math
import os

import numpy as np
import pytest

from simple_dqn.analysis.comparison import compare
from simple_dqn.analysis.comparison_figure import figure_png
from simple_dqn.analysis.comparison_page import page_html
from simple_dqn.analysis.comparison_text import csv_of, text_of
from simple_dqn.analysis.study import read_published, read_study
from simple_dqn.errors import UsageError
from simple_dqn.main import main
from simple_dqn.statistics import COLUMNS


def write_run(path, tests, random=0.0, steps=1000, record=None):
    """Write the statistics of a run with these test scores, and a record of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [(0, "random", random, 0)]
    for epoch, score in enumerate(tests, 1):
        total = epoch * steps if steps else ""
        rows += [(epoch, "train", 0.0, total), (epoch, "test", score, total)]
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="0", lineterminator="\n")
        writer.writeheader()
        for epoch, phase, score, total in rows:
            writer.writerow(
                {
                    "epoch": epoch, "phase": phase, "average_reward": score,
                    "total_train_steps": total, "nr_games": 1,
                }
            )  # fmt: skip
    if record:
        game, seed, options = record
        entry = {
            "game": game, "config": {"random_seed": seed, "csv_file": str(path), **options},
            "command_line": ["simple-dqn", "train", game], "versions": {"torch": "2.13.0"},
        }  # fmt: skip
        path.with_suffix(".json").write_text(json.dumps({"runs": [entry]}))
    return path


def header_only(path):
    """Write the statistics of a run that is in its first phase."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(",".join(COLUMNS) + "\n")
    return path


def study(folder, options=None):
    """Two labels x two games x two seeds. Human-normalised: Pong from −20.7 to 14.6, ..."""
    scores = {
        ("pong", "plain", 1): [-20.7, -20.7], ("pong", "plain", 2): [14.6, -3.05],
        ("pong", "double", 1): [0.0, 14.6], ("pong", "double", 2): [0.0, 49.9],
        ("breakout", "plain", 1): [1.7, 1.7], ("breakout", "plain", 2): [30.5, 16.1],
        ("breakout", "double", 1): [3.0, 16.1], ("breakout", "double", 2): [4.0, 30.5],
    }  # fmt: skip
    for (game, label, seed), tests in scores.items():
        double = {"double_q": label == "double", **(options or {})}
        write_run(folder / f"{game}_{label}_{seed}.csv", tests, record=(game, seed, double))
    return folder


def test_figures_by_hand(tmp_path):
    """Normalised last scores: plain 0, .5 and 0, .5; double 1, 2 and .5, 1."""
    found = compare(read_study([study(tmp_path)]))
    assert found.labels == ["double", "plain"]
    assert found.games == ["breakout", "pong"]
    normalised = {(row.label, row.game): row.normalised for row in found.game_scores}
    assert {key: pytest.approx(value) for key, value in normalised.items()} == {
        ("double", "breakout"): [0.5, 1.0], ("plain", "breakout"): [0.0, 0.5],
        ("double", "pong"): [1.0, 2.0], ("plain", "pong"): [0.0, 0.5],
    }  # fmt: skip
    values = {
        label: {name: round(each.value, 9) for name, each in aggregates.items()}
        for label, aggregates in found.aggregates.items()
    }
    assert values == {
        "plain": {"IQM": 0.25, "median": 0.25, "mean": 0.25, "optimality gap": 0.75},
        "double": {"IQM": 1.0, "median": 1.125, "mean": 1.125, "optimality gap": 0.125},
    }
    # Breakout: .5 beats 0 and ties with .5; 1 beats both: 3.5 of 4. Pong: all of 4.
    ((first, second, games, value),) = found.improvements
    assert (first, second, games) == ("plain", "double", 2)
    assert value.value == pytest.approx(1 - (3.5 / 4 + 1) / 2)
    best = {(row.label, row.game): row.best.value for row in found.game_scores}
    assert best["plain", "pong"] == pytest.approx((-20.7 + 14.6) / 2)
    assert list(found.differing) == ["double_q"]
    assert found.differing["double_q"] == {"double": "true", "plain": "false"}
    steps, iqm, _, _ = found.curves["plain"]
    assert steps.tolist() == [1000, 2000]
    assert iqm == pytest.approx([0.5, 0.25])  # first tests: 0, 1, 0 and 1


def test_games_without_a_human_score_are_normalised_by_the_best_label(tmp_path):
    """0 is the mean of the random phases, 10; 1 the best label's mean, 60."""
    for label, scores in (("a", (20, 40)), ("b", (50, 70))):
        for seed, score in enumerate(scores, 1):
            path = tmp_path / f"CartPole-v1_{label}_{seed}.csv"
            write_run(path, [score], random=10, record=("CartPole-v1", seed, {"x": label}))
    found = compare(read_study([tmp_path]))
    assert [row.normalised for row in found.game_scores] == [
        pytest.approx([0.2, 0.6]), pytest.approx([0.8, 1.2]),
    ]  # fmt: skip
    assert "best label" in found.reference
    with pytest.raises(UsageError, match="no human score of CartPole-v1"):
        compare(read_study([tmp_path]), "human")


def test_runs_are_not_counted_twice(tmp_path, caplog):
    study(tmp_path / "results")
    copy = tmp_path / "results" / "pong_plain_seed1.csv"
    write_run(copy, [5.0], record=("pong", 1, {"double_q": False}))
    runs = read_study([tmp_path / "results", tmp_path / "results" / "pong_plain_1.csv"])
    assert len(runs) == 8
    assert "pong_plain_seed1.csv is left out: the same game and seed as" in caplog.text


def test_runs_that_differ_in_more_than_the_seed_are_not_pooled(tmp_path, caplog):
    for seed, rate in ((1, 0.1), (2, 0.1), (3, 0.2)):
        path = tmp_path / f"pong_x_{seed}.csv"
        write_run(path, [1.0], record=("pong", seed, {"learning_rate": rate}))
    labels = [run.label for run in read_study([tmp_path])]
    assert labels == ["x (learning_rate=0.1)"] * 2 + ["x (learning_rate=0.2)"]
    assert "runs of 'x' differ in more than the seed" in caplog.text


def test_protocols_that_differ_are_said(tmp_path):
    options = {"exploration_rate_test": 0.01, "random_starts": 30}
    text = text_of(compare(read_study([study(tmp_path, options)])))
    assert "--exploration_rate_test 0.01 instead of 0.05" in text
    assert "--random_starts" not in text
    assert "fewer than 3 runs" in text
    assert "published: random -20.7, human 14.6, nature_dqn 18.9" in text


def test_outputs(tmp_path, capsys, monkeypatch):
    """The command writes all three; a second time it reads its own CSV file in the folder past."""
    monkeypatch.chdir(tmp_path)
    study(tmp_path / "results")
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "pong_plain_1_2.mp4").touch()
    for _ in range(2):
        assert main(["compare", "results"]) == 0
    assert "plain over double" in capsys.readouterr().out
    with open("results/comparison.csv") as file:
        rows = list(csv.DictReader(file))
    assert {row["measure"] for row in rows} >= {"last", "best", "normalised", "IQM"}
    png = (tmp_path / "results" / "comparison.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    html = (tmp_path / "results" / "comparison.html").read_text()
    assert '<a href="../videos/pong_plain_1_2.mp4">' in html
    assert "<script src" not in html  # it needs no network


def test_page_and_figure_escape_labels_and_take_one_run(tmp_path):
    write_run(tmp_path / "pong_<b>&.csv", [3.0])
    found = compare(read_study([tmp_path]))
    assert "&lt;b&gt;&amp;" in page_html(found, "<i>", tmp_path)
    assert figure_png(found).startswith(b"\x89PNG")
    assert np.isnan(found.aggregates["<b>&"]["IQM"].low)
    assert csv_of(found).startswith("label,game,measure,value,low,high,runs,steps\n")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: None, "there is no file or folder 'results'"),
        (lambda f: f.mkdir(), "there is no statistics file (*.csv) in the folder 'results'"),
        (lambda f: (f.mkdir(), (f / "x.csv").write_text("a,b\n1,2\n")), "'results/x.csv' is not"),
        (lambda f: write_run(f / "pong.csv", []), "no run with a test"),
        (lambda f: header_only(f / "pong.csv"), "no run with a test"),
        (lambda f: write_run(f / "pong.csv", [1.0], steps=""), "a test without its score or"),
        (lambda f: write_run(f / "pong.csv", [1.0], steps=math.inf), "a test without its score"),
        (lambda f: write_run(f / "Own.csv", [1.0], random=math.nan), "has a random phase in which"),
        (
            lambda f: (study(f), (f / "comparison.png").write_text("mine\n")),
            "'results/comparison.png' is not of a comparison",
        ),
        (
            lambda f: (study(f), (f / "pong_plain_1.csv").write_text("epoch,phase\n")),
            "'results/pong_plain_1.csv' is not",
        ),
        (
            lambda f: (study(f), (f / "comparison.csv").write_text("mine\n")),
            "'results/comparison.csv' is not",
        ),
    ],
)
def test_bad_input_is_one_line(make, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "results")
    assert main(["compare", "results"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in error
    assert not (tmp_path / "results" / "comparison.html").exists()


def test_a_run_in_its_first_phase_is_left_out(tmp_path, caplog):
    header_only(study(tmp_path) / "pong_new.csv")
    assert len(read_study([tmp_path])) == 8
    assert "pong_new.csv is left out" in caplog.text


def test_names_that_are_no_text_and_no_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = os.fsdecode(b"\xff")
    write_run(tmp_path / folder / "pong_1.csv", [1.0])
    assert main(["compare", folder, "--comparison_file", f"{folder}/c"]) == 0
    assert "\ufffd" in capsys.readouterr().out
    for name in ("", "results/"):
        assert main(["compare", folder, "--comparison_file", name]) == 2
        assert "has no name of a file" in capsys.readouterr().err


def test_published_scores():
    """Spot checks against the papers' tables; every column says its source and protocol."""
    scores, protocols = read_published()
    assert len(scores) == 57
    assert scores.loc["breakout"].tolist() == [1.7, 30.5, 401.2, 375, 417.5, 338]
    assert scores.loc["pong", "rainbow"] == 20.9
    assert scores.loc["montezuma_revenge", "human"] == 4753.3
    counts = scores.notna().sum().to_dict()
    assert counts == {
        "random": 57, "human": 57, "nature_dqn": 49, "double_dqn": 49, "rainbow": 54,
        "simple_dqn": 4,
    }  # fmt: skip
    assert list(protocols) == list(scores.columns)
    assert all("|" in note for note in protocols.values())
