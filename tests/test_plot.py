from __future__ import annotations

import dataclasses
import json
import logging
import struct
import threading
import time
import types
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from simple_dqn.analysis import plot as plot_module
from simple_dqn.analysis.curves import Run, describe_seeds, make_curve, make_labels, read_runs
from simple_dqn.analysis.legend import ignoring_missing_letters, shorten_all
from simple_dqn.analysis.plot import (
    COLORS,
    FEW_POINTS,
    PHASE_COLORS,
    TITLES,
    draw,
    parse_fields,
    plot,
    render,
)
from simple_dqn.errors import UsageError
from simple_dqn.options.command_options import PlotOptions
from simple_dqn.statistics import COLUMNS

SMALL = PlotOptions(figure_width=8, figure_height=5)
SCORES = [(-20.5, -20.0, 0.0), (-18.0, -16.0, 0.25), (-14.0, -15.0, 1.5)]  # train, test, meanq


def rows_of(scores=SCORES, random=-20.0, epoch_time=100.0):
    """Rows of a file, as text; an epoch is 250 steps and ends 100 s after the previous one."""

    def row(epoch, phase, **values):
        base = dict.fromkeys(COLUMNS, 7.0) | dict(
            epoch=epoch, phase=phase, total_train_steps=250 * epoch, meancost=0, meanq="nan"
        )
        return {k: str(v) for k, v in (base | values).items()}

    rows = [row(0, "random", average_reward=random, total_time=10, nr_games=3, steps=50)]
    for epoch, (train, test, q) in enumerate(scores, start=1):
        end = 10 + epoch_time * epoch
        rows.append(
            row(epoch, "train", average_reward=train, meanq=q, meancost=0.01 / 4**epoch,
                total_time=end - 20)
        )  # fmt: skip
        rows.append(row(epoch, "test", average_reward=test, meanq=q, total_time=end))
    return rows


def run(label, rows):
    """A run as ``read_runs`` returns it."""
    numbers = dict.fromkeys(COLUMNS[2:], float)
    return Run(label, pd.DataFrame(rows).astype({"epoch": int} | numbers))


def write(path: Path, rows, columns=COLUMNS, tail=""):
    lines = [",".join(columns)] + [",".join(row[c] for c in columns) for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines) + tail)
    return path


def lines(axes):
    """{(colour, line style, marker): [x, y]} of what was drawn."""
    found = {}
    for line in axes.get_lines():
        key = (line.get_color(), line.get_linestyle(), line.get_marker())
        found[key] = [np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()]
    return found


def visible(line):
    """The points of a line that are drawn."""
    return [(x, y) for x, y in zip(*line, strict=True) if y == y]


def legend(figure):
    return [text.get_text().strip() for text in figure.legends[0].get_texts()]


def test_default_panels_show_the_numbers_of_the_file(tmp_path):
    path = write(tmp_path / "pong.csv", rows_of())
    figure = draw(read_runs([path]), parse_fields(PlotOptions().fields), SMALL)
    score, meanq, games, cost = figure.axes
    assert [axes.get_title() for axes in figure.axes] == [
        "average score per game",
        "mean max Q of held-out states",
        "games per phase",
        "mean cost (½δ²) per sample",
    ]
    test, train = (PHASE_COLORS["test"], "-", "o"), (PHASE_COLORS["train"], "-", "o")
    level, point = (PHASE_COLORS["random"], ":", "None"), (PHASE_COLORS["random"], "None", "D")
    assert lines(score) == {
        test: [[1, 2, 3], [-20, -16, -15]],
        train: [[1, 2, 3], [-20.5, -18, -14]],
        level: [[0, 1], [-20, -20]],  # from the left edge to the right one
        point: [[0], [-20]],
    }
    # The random phase has no meanq yet.
    assert lines(meanq) == {q: [[1, 2, 3], [0, 0.25, 1.5]] for q in (test, train)}
    assert lines(games) == {
        test: [[1, 2, 3], [7, 7, 7]],
        train: [[1, 2, 3], [7, 7, 7]],
        point: [[0], [3]],  # over another number of steps: not a level to compare with
    }
    assert lines(cost) == {train: [[1, 2, 3], [0.01 / 4, 0.01 / 16, 0.01 / 64]]}
    assert (cost.get_yscale(), meanq.get_yscale()) == ("log", "linear")  # a ratio of 16
    assert {axes.get_xlabel() for axes in figure.axes} == {"epoch"}
    assert all(tick == round(tick) for tick in score.get_xticks())
    assert figure.legends[0].get_title().get_text() == "pong"
    assert legend(figure) == ["test", "train", "random"]


def test_long_lines_have_no_markers_and_flat_costs_no_log_scale(tmp_path):
    path = write(tmp_path / "a.csv", rows_of([(0, 0, 0)] * (FEW_POINTS + 1)))
    figure = draw(read_runs([path]), ["average_reward"], SMALL)
    assert {line.get_marker() for line in figure.axes[0].get_lines()} == {"", "D", "None"}
    path = write(tmp_path / "b.csv", rows_of(SCORES[:2]))  # costs of 1 : 4
    assert draw(read_runs([path]), ["meancost"], SMALL).axes[0].get_yscale() == "linear"


@pytest.mark.parametrize(
    ("x_axis", "epoch_time", "epochs", "label", "xs"),
    [
        ("total_train_steps", 100, 3, "training steps", [250, 500, 750]),
        ("total_train_steps", 100, 8, "training steps (thousands)", [0.25, 0.5, 0.75]),
        ("total_time", 100, 3, "time (minutes)", [110 / 60, 210 / 60, 310 / 60]),
        ("total_time", 20, 3, "time (seconds)", [30, 50, 70]),
        ("total_time", 3590, 3, "time (hours)", [1, 7190 / 3600, 10780 / 3600]),
    ],
)
def test_x_axis_units(tmp_path, x_axis, epoch_time, epochs, label, xs):
    rows = rows_of([(0, 0, 0)] * epochs, epoch_time=epoch_time)
    options = dataclasses.replace(SMALL, x_axis=x_axis)
    figure = draw(read_runs([write(tmp_path / "a.csv", rows)]), ["average_reward"], options)
    assert figure.axes[0].get_xlabel() == label
    drawn = lines(figure.axes[0])[PHASE_COLORS["test"], "-", "o"]
    assert drawn[0][:3] == pytest.approx(xs)


def test_seeds_become_a_mean_and_a_band(tmp_path):
    # Test scores 1 and 5, then 2 and nan, then 9 alone: the second seed is shorter.
    first = write(tmp_path / "pong_1.csv", rows_of([(0, 1, 0), (0, 2, 0), (0, 9, 0)], random=1))
    second = write(tmp_path / "pong_2.csv", rows_of([(0, 5, 0), (0, "nan", 0)], random=2))
    runs = read_runs([first, second])
    curve = make_curve(runs, "test", "average_reward", "epoch")
    assert [part.tolist() for part in curve[:4]] == [[1, 2, 3], [3, 2, 9], [2, 0, 0], [2, 1, 1]]
    assert curve.complete.tolist() == [True, False, False]
    figure = draw(runs, ["average_reward"], SMALL)
    drawn = lines(figure.axes[0])
    assert visible(drawn[PHASE_COLORS["test"], "-", "o"]) == [(1, 3)]
    assert visible(drawn[PHASE_COLORS["test"], "--", "o"]) == [(2, 2), (3, 9)]
    assert drawn[PHASE_COLORS["random"], "None", "D"] == [[0], [1.5]]
    assert not figure.axes[0].collections
    assert legend(figure) == [
        "mean ± std of 2 seeds, 1 after epoch 2", "test", "train", "random", "not all seeds",
    ]  # fmt: skip
    assert figure.legends[0].get_title().get_text() == "pong"


def test_the_band_reaches_from_one_seed_to_the_other(tmp_path):
    first = write(tmp_path / "pong_1.csv", rows_of([(0, 1, 0), (0, 2, 0), (0, 9, 0)]))
    second = write(tmp_path / "pong_2.csv", rows_of([(0, 5, 0), (0, 4, 0)]))
    (band,) = draw(read_runs([first, second]), ["average_reward"], SMALL).axes[0].collections
    corners = set(map(tuple, band.get_paths()[0].vertices.tolist()))
    assert corners == {(1, 1), (1, 5), (2, 2), (2, 4)}  # the train scores do not differ


def test_where_every_run_rises_no_line_falls():
    """The case of the issue: 3, 3, 5 then 4, 5, 6, as some of the seeds have ended."""
    runs = [
        run("a", rows_of([(0, score, 0) for score in scores]))
        for scores in ((1, 2, 3, 4, 5, 6), (2, 3, 4), (4, 5, 6, 6.5))
    ]
    curve = make_curve(runs, "test", "average_reward", "epoch")
    assert curve.mean.tolist() == [7 / 3, 10 / 3, 13 / 3, 5.25, 5, 6]
    assert curve.seeds.tolist() == [3, 3, 3, 2, 1, 1]
    axes = draw(runs, ["average_reward"], SMALL).axes[0]
    for line in axes.get_lines():
        y = np.asarray(line.get_ydata())
        assert not (np.diff(y) < 0).any()  # nan, a gap, is no step downwards
    dashed = lines(axes)[PHASE_COLORS["test"], "--", "o"]
    assert visible(dashed) == [(4, 5.25), (5, 5), (6, 6)]
    assert describe_seeds(runs) == "mean ± std of 3 seeds, 2 after epoch 3, 1 after epoch 4"
    more = [*runs, run("a", rows_of([(0, 1, 0)]))]
    assert describe_seeds(more) == "mean ± std of 4 seeds, fewer after epoch 1"
    assert describe_seeds(runs[:1]) == ""


def test_a_seed_without_a_value_or_a_phase_leaves_the_mean(tmp_path):
    """No game ended in an epoch of one seed; another was never tested; a third lacks a column."""
    rows = [rows_of([(0, s, 0), (0, s + 2, 0), (0, s + 4, 0)]) for s in (0, 10, 20)]
    rows[1][4]["average_reward"] = "nan"  # the test of epoch 2
    no_test = [row for row in rows[2] if row["phase"] != "test"]
    curve = make_curve([run("a", rows[0]), run("a", rows[1])], "test", "average_reward", "epoch")
    assert curve.mean.tolist() == [5, 2, 9]
    assert curve.complete.tolist() == [True, False, True]
    for x_axis in ("total_time", "total_train_steps"):  # nothing is made up for the missing one
        along = make_curve([run("a", rows[0]), run("a", rows[1])], "test", "average_reward", x_axis)
        assert along.mean.tolist() == [5, 2, 9]
    without = [run("a", rows[0]), run("a", no_test)]
    figure = draw(without, ["average_reward"], SMALL)
    styles = {style for color, style, _ in lines(figure.axes[0]) if color == PHASE_COLORS["test"]}
    assert styles == {"--"}
    assert legend(figure)[-1] == "not all seeds"
    old = write(tmp_path / "pong_1.csv", rows[0], columns=COLUMNS[:16])
    new = write(tmp_path / "pong_2.csv", rows[0])
    curve = make_curve(read_runs([old, new]), "test", "mean_game_steps", "epoch")
    assert (curve.seeds.tolist(), curve.runs) == ([1, 1, 1], 2)


def test_the_level_of_random_play_weighs_all_seeds_alike():
    """Along time two of them have ended their random phase at the same moment."""
    runs = [run("a", rows_of(random=score)) for score in (0, 3, 30)]
    runs[2].table.loc[0, "total_time"] = 40
    axes = draw(runs, ["average_reward"], dataclasses.replace(SMALL, x_axis="total_time")).axes[0]
    drawn = lines(axes)
    assert drawn[PHASE_COLORS["random"], "None", "D"] == [[20 / 60], [11]]


def test_a_point_of_its_own_is_seen_without_markers():
    rows = rows_of([(0, n, 0) for n in range(FEW_POINTS + 5)])
    gap = [dict(row) for row in rows]
    for row in gap:
        row["average_reward"] = "nan" if row["epoch"] == "9" else row["average_reward"]
    axes = draw([run("a", rows), run("a", gap)], ["average_reward"], SMALL).axes[0]
    assert lines(axes)[PHASE_COLORS["test"], "None", "."] == [[9], [8]]


def test_along_time_seeds_are_interpolated():
    # One climbs 0 → 10 from 110 s to 210 s, the other 0 → 20 from 160 s to 310 s.
    one = run("a", rows_of([(0, 0, 0), (0, 10, 0)]))
    other = run("a", rows_of([(0, 0, 0), (0, 20, 0)], epoch_time=150))
    curve = make_curve([one, other], "test", "average_reward", "total_time")
    assert curve.x.tolist() == [110, 160, 210, 310]
    at_210 = 20 * (210 - 160) / 150
    assert curve.mean == pytest.approx([0, (5 + 0) / 2, (10 + at_210) / 2, 20])
    assert curve.std == pytest.approx([0, 2.5, (10 - at_210) / 2, 0])
    assert curve.complete.tolist() == [False, True, True, False]  # before and behind the other


def test_labels_have_colours_and_phases_have_styles(tmp_path):
    paths = [
        write(tmp_path / "pong.csv", rows_of()),
        write(tmp_path / "breakout_seed1.csv", rows_of([(1, 2, 0)], random=1)),
        write(tmp_path / "breakout_seed2.csv", rows_of([(3, 4, 0)], random=1)),
    ]
    figure = draw(read_runs(paths), ["average_reward"], SMALL)
    assert legend(figure) == [
        "pong", "breakout (mean ± std of 2 seeds)", "test", "train", "random",
    ]  # fmt: skip
    widths = {
        (line.get_color(), line.get_linewidth()): np.asarray(line.get_ydata()).tolist()
        for line in figure.axes[0].get_lines()
        if line.get_marker() == "o"
    }
    assert widths == {
        (COLORS[0], 2.0): [-20, -16, -15],
        (COLORS[0], 1.1): [-20.5, -18, -14],
        (COLORS[1], 2.0): [3],
        (COLORS[1], 1.1): [2],
    }


def test_more_labels_than_colours_still_differ():
    runs = [run(f"run{i}x", rows_of()) for i in range(len(COLORS) + 3)]
    axes = draw(runs, ["average_reward"], SMALL).axes[0]
    assert len({str(line.get_color()) for line in axes.get_lines()}) == len(runs)


@pytest.mark.parametrize(
    ("paths", "labels"),
    [
        (["r/pong.csv"], ["pong"]),
        (["r/pong_1.csv"], ["pong_1"]),
        (["r/pong_1.csv", "r/breakout_1.csv"], ["pong_1", "breakout_1"]),
        (["pong_1.csv", "pong-seed2.csv", "pong_s3.csv", "pong_run4.csv"], ["pong"] * 4),
        (["pong.csv", "pong_2.csv"], ["pong", "pong"]),
        (["CartPole-v0.csv", "CartPole-v1.csv"], ["CartPole-v0", "CartPole-v1"]),
        (["a/pong.csv", "b/pong.csv"], ["a/pong", "b/pong"]),
        (["a/pong_1.csv", "a/pong_2.csv", "b/pong_1.csv"], ["a/pong", "a/pong", "b/pong_1"]),
        (["x/r/pong.csv", "y/r/pong.csv"], ["x/r/pong", "y/r/pong"]),
        (["pong.csv", "pong.txt"], ["pong.csv", "pong.txt"]),
        (["pong_0.1.csv", "pong_0.2.csv"], ["pong_0.1", "pong_0.2"]),
    ],
)
def test_make_labels(paths, labels):
    assert make_labels([Path(p) for p in paths]) == labels


def test_labels_are_escaped_and_none_is_hidden(tmp_path):
    paths = [write(tmp_path / name, rows_of()) for name in ("_a.csv", "b$x_{$.csv")]
    figure = draw(read_runs(paths), ["average_reward"], SMALL)
    render(figure, ".svg", 80)
    assert legend(figure)[:2] == ["_a", r"b\$x_{\$"]


def test_all_and_only_existing_columns_can_be_plotted(tmp_path):
    assert set(TITLES) == set(COLUMNS) - {"epoch", "phase"}
    runs = read_runs([write(tmp_path / "a.csv", rows_of())])
    figure = draw(runs, list(TITLES), PlotOptions())
    assert [axes.get_title() for axes in figure.axes] == list(TITLES.values())
    assert all(axes.get_lines() for axes in figure.axes)
    assert parse_fields(" meanq, nr_games,,meanq ") == ["meanq", "nr_games"]
    with pytest.raises(UsageError, match=r"no column 'mean_q' .*\(did you mean meanq\?"):
        parse_fields("average_reward,mean_q")
    for text in ("", " , ", "epoch", "phase"):
        with pytest.raises(UsageError, match="choose steps, nr_games, average_reward"):
            parse_fields(text)


def test_file_with_16_columns_lacks_the_newer_ones(tmp_path):
    old = write(tmp_path / "old.csv", rows_of(), columns=COLUMNS[:16])
    new = write(tmp_path / "new.csv", rows_of())
    assert draw(read_runs([old]), list(COLUMNS[2:16]), PlotOptions()).axes
    with pytest.raises(UsageError, match="no file has the column mean_game_steps"):
        draw(read_runs([old]), ["meanq", "mean_game_steps"], SMALL)
    figure = draw(read_runs([old, new]), ["mean_game_steps"], SMALL)
    assert {line.get_color() for line in figure.axes[0].get_lines()} == {COLORS[1]}


def test_empty_cells_and_infinite_values_are_skipped(tmp_path):
    """As a resumed run writes the rows of an older file; meanq diverges in the last epoch."""
    rows = rows_of([(0, 1, 0), (0, 2, 0), (0, 3, "inf")])
    for row in rows[:3]:
        row["mean_game_steps"] = ""
    (run,) = read_runs([write(tmp_path / "a.csv", rows)])
    assert make_curve([run], "test", "mean_game_steps", "epoch").x.tolist() == [2, 3]
    assert make_curve([run], "test", "meanq", "epoch").x.tolist() == [1, 2]
    assert make_curve([run], "test", "epoch", "epoch").mean.tolist() == [1, 2, 3]


def test_run_with_only_the_random_phase(tmp_path):
    path = write(tmp_path / "a.csv", rows_of([]))
    figure = draw(read_runs([path]), ["average_reward", "meancost"], SMALL)
    score, cost = figure.axes
    assert len(score.get_lines()) == 2
    assert [text.get_text() for text in cost.texts] == ["no value yet"]
    assert legend(figure) == ["random"]
    render(figure, ".png", 80)


def test_half_written_line_is_ignored(tmp_path):
    rows = rows_of()
    for tail in ("4", "4,train,250,1", ",".join(rows[-1].values())):
        path = write(tmp_path / "a.csv", rows, tail=tail)
        assert len(read_runs([path])[0].table) == 7


def test_png_size_and_default_path(tmp_path, caplog):
    path = write(tmp_path / "pong_x.csv", rows_of())
    before = path.read_bytes()
    caplog.set_level(logging.INFO, "simple_dqn")
    plot([path, path], PlotOptions(dpi=50))
    data = (tmp_path / "pong_x.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (800, 450)
    assert caplog.messages == [f"plotted {tmp_path / 'pong_x.png'}"]
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pong_x.csv", "pong_x.png"]


def test_svg_and_pdf_are_valid_and_reproducible(tmp_path):
    path = write(tmp_path / "pong.csv", rows_of())
    for name in ("new/a.svg", "new/b.svg", "new/a.PDF", "new/b.PDF"):
        plot([path], dataclasses.replace(SMALL, png_file=str(tmp_path / name)))
    svg, pdf = (tmp_path / "new/a.svg").read_bytes(), (tmp_path / "new/a.PDF").read_bytes()
    assert svg == (tmp_path / "new/b.svg").read_bytes()
    assert pdf == (tmp_path / "new/b.PDF").read_bytes()
    root = ET.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert (root.get("width"), root.get("height")) == ("576pt", "360pt")  # 8 x 5 inches
    assert pdf.startswith(b"%PDF-")
    assert pdf.rstrip().endswith(b"%%EOF")
    assert b"/CreationDate" not in pdf


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(png_file="a.gif"), "ends in .png, .svg or .pdf"),
        (dict(png_file="figure"), "ends in .png, .svg or .pdf"),
        (dict(png_file="folder.png"), "is a folder"),
        (dict(png_file="./link.png"), "would replace the statistics"),
        (dict(fields="reward"), "did you mean"),
        (dict(dpi=1200, figure_width=100.0), "120000 x 10800 pixels are too many"),
        (dict(figure_width=1.0, figure_height=1.0), "panels do not fit"),
    ],
)
def test_bad_options_write_nothing(in_tmp, options, message):
    path = write(Path("pong.csv"), rows_of())
    Path("folder.png").mkdir()
    Path("link.png").symlink_to("pong.csv")
    before = sorted(Path().rglob("*"))
    with pytest.raises(UsageError, match=message):
        plot([path], PlotOptions(**options))
    assert sorted(Path().rglob("*")) == before


def test_bad_files_are_named(in_tmp):
    good = write(Path("good.csv"), rows_of())
    write(Path("text.csv"), [dict(epoch="1")], columns=("epoch",))
    damaged = rows_of()
    damaged[2]["meanq"] = "1.2.3"
    write(Path("damaged.csv"), damaged)
    early = rows_of()
    early[1]["phase"] = "training"
    write(Path("phase.csv"), early)
    write(Path("short.csv"), rows_of()).write_text(Path("short.csv").read_text() + "4,train,250\n")
    write(Path("empty.csv"), [])
    for name, message in {
        "missing.csv": "there is no file 'missing.csv'",
        ".": "there is no file",
        "text.csv": "'text.csv' is not a statistics file",
        "damaged.csv": r"'damaged.csv' is damaged \(epoch 1: .*'1.2.3'\)",
        "phase.csv": r"'phase.csv' is damaged \(no phase 'training'\)",
        "short.csv": r"'short.csv' is damaged \(could not convert",
    }.items():
        for follow in (False, True):  # follow does not wait for an invalid file
            with pytest.raises(UsageError, match=message):
                plot([good, Path(name)], PlotOptions(png_file="a.png", follow=follow))
    with pytest.raises(UsageError, match="wait for the first phase to end"):
        plot([Path("empty.csv")], SMALL)
    assert not list(Path().glob("*.png"))
    plot([Path("empty.csv"), good], dataclasses.replace(SMALL, fields="meanq"))
    assert Path("empty.png").exists()


def test_follow_waits_redraws_and_survives_a_replaced_file(tmp_path, monkeypatch):
    """What is drawn while rows are added, one is half written, and the file disappears."""
    path, figure = tmp_path / "pong.csv", tmp_path / "pong.png"
    rows = rows_of()
    drawn, stop, failures = [], threading.Event(), []
    real_draw, real_sleep = plot_module.draw, time.sleep

    def recording_draw(runs, fields, options):
        drawn.append(len(runs[0].table))
        return real_draw(runs, fields, options)

    def sleep(seconds):
        assert seconds == 0.01
        if stop.is_set():
            raise KeyboardInterrupt
        real_sleep(seconds)

    def follow():
        try:
            plot([path], dataclasses.replace(SMALL, follow=True, fields="meanq"), interval=0.01)
        except BaseException as error:
            failures.append(error)

    def wait_until(what):
        limit = time.monotonic() + 20
        while not what() and not failures and time.monotonic() < limit:
            real_sleep(0.01)
        assert what(), failures

    monkeypatch.setattr(plot_module, "draw", recording_draw)
    monkeypatch.setattr(plot_module, "time", types.SimpleNamespace(sleep=sleep))
    write(path, [])
    thread = threading.Thread(target=follow)
    thread.start()
    try:
        real_sleep(0.1)
        assert not drawn  # no row yet
        write(path, rows[:1])
        wait_until(figure.exists)
        assert drawn == [1]
        old = figure.read_bytes()
        write(path, rows[:3])
        wait_until(lambda: figure.read_bytes() != old)
        write(path, rows[:3], tail="2,train,5")
        path.rename(tmp_path / "away")
        real_sleep(0.1)
        assert drawn[-1] == 3
        write(path, rows)
        wait_until(lambda: drawn[-1] == 7)
    finally:
        stop.set()
        thread.join(20)
    assert not failures
    assert not thread.is_alive()
    assert drawn[0] == 1
    assert sorted(set(drawn)) == [1, 3, 7]


def test_interrupt_ends_follow_and_aborts_a_plot(tmp_path, monkeypatch):
    path = write(tmp_path / "pong.csv", rows_of())

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(plot_module, "draw", interrupted)
    plot([path], dataclasses.replace(SMALL, follow=True))  # Ctrl-C is how to stop it
    with pytest.raises(KeyboardInterrupt):
        plot([path], SMALL)


def test_numbers_of_other_options_are_not_seeds(tmp_path):
    """According to the records, pong_4 and pong_8 are --num_envs 4 and 8; the others are seeds."""

    def record(name, **config):
        text = json.dumps({"runs": [{"config": {"csv_file": name, **config}}]})
        (tmp_path / f"{name}.json").write_text(text)
        return tmp_path / f"{name}.csv"

    lanes = [record(f"pong_{n}", num_envs=n, random_seed=1) for n in (4, 8)]
    assert make_labels(lanes) == ["pong_4", "pong_8"]
    seeds = [record(f"seaquest_{s}", num_envs=4, random_seed=s) for s in (1, 2)]
    assert make_labels([*seeds, tmp_path / "seaquest_3.csv"]) == ["seaquest"] * 3
    (tmp_path / "seaquest_2.json").write_text("[]")
    assert make_labels(seeds) == ["seaquest"] * 2


def boxes(figure):
    """Render; return the size of the picture and what the legend's texts and title cover."""
    render(figure, ".png", int(figure.dpi))
    (legend,) = figure.legends
    parts = [*legend.get_texts(), legend.get_title()]
    renderer = FigureCanvasAgg(figure).get_renderer()
    with ignoring_missing_letters():
        return figure.bbox, [p.get_window_extent(renderer) for p in parts if p.get_text()]


NAMES = {
    "one long": ["x" * 225],
    "two long": ["x" * 225, "y" * 225],
    "long seeds": [f"{'x' * 200}_{seed}" for seed in range(5)],
    "wide letters": ["W" * 120, "長" * 80],
    "sixty": [f"run{i}x" for i in range(60)],
    "sixty long": [f"{'a' * 100}{i:02}{'b' * 100}" for i in range(60)],
    "three hundred": [f"{'name' * 9}_{i}x" for i in range(300)],
    "ends of lines": ["a\nb", "c\td"],
}


@pytest.mark.parametrize("size", [(16, 9), (6, 5)])
@pytest.mark.parametrize("names", NAMES)
def test_the_legend_is_in_the_picture(names, size):
    runs = [run(name, rows_of(SCORES[:1])) for name in NAMES[names]]
    if names == "long seeds":
        runs = [r._replace(label="x" * 200) for r in runs]
    options = PlotOptions(figure_width=size[0], figure_height=size[1])
    figure = draw(runs, ["average_reward"], options)
    picture, texts = boxes(figure)
    for box in texts:
        assert picture.x0 <= box.x0 < box.x1 <= picture.x1
        assert picture.y0 <= box.y0 < box.y1 <= picture.y1
    panel = figure.axes[0].get_window_extent()
    assert min(box.y0 for box in texts) > panel.y1
    assert panel.height > picture.height / 3
    shown = legend(figure)
    assert {"test", "train", "random"} <= set(shown)
    labels = [text for text in shown if text not in ("test", "train", "random")]
    left_out = [int(text.split()[1]) for text in labels if text.startswith("and ")]
    if len(runs) > 5:
        assert len(labels) - len(left_out) + sum(left_out) == len(runs)
        assert len(set(labels)) == len(labels)
        assert names != "three hundred" or left_out
        assert names == "three hundred" or size == (6, 5) or not left_out


def test_labels_that_differ_in_their_middle_are_told_apart():
    names = [f"{'a' * 50}{i}{'b' * 50}" for i in (1, 2)]
    assert shorten_all(names, 20) == ["…1…", "…2…"]
    assert shorten_all(["abc", "abd"], 20) == ["abc", "abd"]
    assert shorten_all([f"{'a' * 50}_{i}" for i in (1, 2)], 10) == ["aaaaa…aa_1", "aaaaa…aa_2"]
