"""Pictures of a scene: geometry and pixels worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from ale_py import Action

from simple_dqn.watch.layout import STATUS_HEIGHT, draw, ideal_size
from simple_dqn.watch.panel import BAR, CHOSEN, grid
from simple_dqn.watch.scene import BACKGROUND, QMeter, Scene, fit, resize

ACTIONS = list(Action.__members__.values())[:18]
RED = np.zeros((210, 160, 3), np.uint8)
RED[:, :, 0] = 200


def box(picture, colour):
    """(top, bottom, left, right) of the pixels of a colour."""
    rows, columns = np.nonzero((picture == colour).all(axis=-1))
    return rows.min(), rows.max() + 1, columns.min(), columns.max() + 1


def test_enlarge_repeats_pixels():
    screen = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    assert (resize(screen, 8, 21) == screen.repeat(4, axis=0).repeat(7, axis=1)).all()


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((840, 630 + STATUS_HEIGHT), (0, 630, 0, 840)),  # 160x210 pixels of 7:4 are 4:3
        ((1000, 630 + STATUS_HEIGHT), (0, 630, 80, 920)),
        ((840, 830 + STATUS_HEIGHT), (100, 730, 0, 840)),
    ],
)
def test_game_fills_the_window_and_keeps_its_aspect(size, expected):
    picture = draw(Scene(RED, 7 / 4), *size)
    assert picture.shape == (size[1], size[0], 3)
    assert box(picture, (200, 0, 0)) == expected


@pytest.mark.parametrize("size", [(160, 120), (161, 121), (300, 60), (2000, 300)])
def test_any_size_can_be_drawn(size):
    q = QMeter([str(a) for a in range(18)]).read(np.arange(18, dtype=np.float32), 3)
    state = np.full((4, 84, 84), 77, np.uint8)
    scene = Scene(RED, 7 / 4, "status", q, state, (("h", "help"),) * 15)
    assert draw(scene, *size).shape == (size[1], size[0], 3)


def test_bar_lengths_are_relative_to_the_recent_range():
    meter = QMeter(["NOOP", "FIRE", "LEFT"])
    meter.read(np.array([0, 1, 5], np.float32), 2)
    q = meter.read(np.array([1.25, 2.5, 5], np.float32), 1)
    assert (q.low, q.high) == (0, 5)
    assert q.lengths() == pytest.approx([0.25, 0.5, 1])
    for _ in range(60):  # older values no longer count
        q = meter.read(np.array([2, 3, 4], np.float32), 1)
    assert (q.low, q.high) == (2, 4)
    assert q.lengths() == pytest.approx([0.02, 0.5, 1])

    picture = draw(Scene(RED, 7 / 4, q_values=q), 1120, 700)
    assert box(picture, CHOSEN)[2] >= box(picture, (200, 0, 0))[3]  # nothing is covered
    _, _, left, half = box(picture, CHOSEN)
    _, _, _, full = box(picture, BAR)
    assert half - left == pytest.approx((full - left) / 2, abs=1)


STATE = np.arange(1, 5, dtype=np.uint8)[:, None, None] * np.full((84, 84), 50, np.uint8)
Q18 = QMeter([a.name for a in ACTIONS]).read(np.arange(18, dtype=np.float32), 3)
Q4 = QMeter(["NOOP", "FIRE", "RIGHT", "LEFT"]).read(np.array([1.41, 1.4, 1.43, 1.42]), 2)


def frames(picture):
    """The boxes of the four frames; texts have single pixels of the same greys."""
    boxes = []
    for grey in (50, 100, 150, 200):
        equal = (picture == grey).all(axis=-1)
        rows, columns = (np.flatnonzero(equal.sum(axis=axis) >= 30) for axis in (1, 0))
        boxes.append((rows.min(), rows.max() + 1, columns.min(), columns.max() + 1))
    return boxes


def test_the_panel_shows_what_the_network_sees_oldest_first():
    picture = draw(Scene(RED, 7 / 4, state=STATE), 1120, 700)
    boxes = frames(picture)
    tops, lefts = [b[0] for b in boxes], [b[2] for b in boxes]
    assert tops == sorted(set(tops))  # a column: 670 pixels for four of them
    assert len(set(lefts)) == 1
    ((height, width),) = {(b[1] - b[0], b[3] - b[2]) for b in boxes}
    assert height == width >= 150


def test_frames_keep_their_shape():
    state = np.stack([np.full((30, 60), grey, np.uint8) for grey in (50, 100, 150, 200)])
    for top, bottom, left, right in frames(draw(Scene(RED, 7 / 4, state=state), 1120, 700)):
        assert right - left == pytest.approx(2 * (bottom - top), abs=1)


@pytest.mark.parametrize("q", [Q4, Q18])
@pytest.mark.parametrize(
    ("size", "share"),
    [((840, 658), 0.72), ((1151, 658), 0.72), ((1920, 1080), 0.71), ((1600, 600), 0.5)],
)
def test_the_game_keeps_most_of_the_window_and_the_panel_has_the_rest(q, size, share):
    """All actions and frames are in the panel, which covers nothing of the game."""
    picture = draw(Scene(RED, 7 / 4, q_values=q, state=STATE), *size)
    _, _, left, right = box(picture, (200, 0, 0))
    assert right - left >= int(share * size[0]) - 40
    bars = box(picture, CHOSEN)
    assert bars[2] > right
    ((height, width),) = {(b[1] - b[0], b[3] - b[2]) for b in frames(picture)}
    assert height == width >= 70
    assert min(b[2] for b in frames(picture)) > right
    assert min(b[0] for b in frames(picture)) > bars[1]


def test_in_a_narrow_window_the_panel_is_below_the_game():
    picture = draw(Scene(RED, 7 / 4, q_values=Q4, state=STATE), 420, 700)
    top, bottom, left, right = box(picture, (200, 0, 0))
    assert (right - left, bottom - top) == (420, 315)  # the whole width
    assert box(picture, CHOSEN)[0] > bottom
    assert min(b[0] for b in frames(picture)) > bottom


def test_small_differences_of_large_values_are_visible():
    """However much all of them rise together."""
    meter = QMeter(["a", "b", "c"], 15)
    for level in range(100):
        q = meter.read(np.array([level + 0.25, level, level + 0.5]), 2)
    assert q.lengths() == pytest.approx([0.5, 0.02, 1])
    assert [q.text(action) for action in range(3)] == ["99.25", "99.00", "99.50"]


def test_bars_remember_seconds_not_steps():
    """At 30 steps a second 120 of them, in a slow game at least 10."""
    for rate, steps in ((30, 120), (15, 60), (4, 16), (0.5, 10)):
        meter = QMeter(["a", "b"], rate)
        meter.read(np.array([0.0, 8.0]), 0)
        lengths = [meter.read(np.array([1.0, 2.0]), 0).lengths()[0] for _ in range(steps)]
        assert lengths[:-1] == pytest.approx([7 / 8] * (steps - 1))
        assert lengths[-1] == 0.02


def test_values_that_are_equal_or_no_numbers_can_be_drawn():
    for values in ([1.0, 1.0], [np.nan, 1.0], [np.inf, 1.0]):
        q = QMeter(["a", "b"]).read(np.array(values, np.float32), 0)
        assert draw(Scene(RED, 1, q_values=q), 800, 600).shape == (600, 800, 3)
    assert QMeter(["a", "b"]).read(np.ones(2, np.float32), 0).lengths() == pytest.approx([1, 1])


@pytest.mark.parametrize(
    ("shape", "aspect", "expected"),
    [
        ((210, 160, 3), 7 / 4, (840, 658)),
        ((400, 600, 3), 1, (840, 588)),  # CartPole
        ((20, 400, 3), 1, (840, 348)),  # a corridor: there must be room for the keys
        ((8, 8, 3), 1, (630, 658)),
        ((900, 300, 3), 1, (480, 658)),
        ((3000, 4000, 3), 1, (840, 658)),
    ],
)
def test_a_window_has_the_shape_of_its_game(shape, aspect, expected):
    scene = Scene(np.zeros(shape, np.uint8), aspect)
    assert ideal_size(scene, (4000, 3000)) == expected
    wider = ideal_size(scene._replace(q_values=Q4), (4000, 3000))
    assert (wider[0] - expected[0], wider[1]) == (-(-expected[0] * 27 // 73), expected[1])
    assert ideal_size(scene._replace(q_values=Q4), (700, 500)) <= (700, 500)


@pytest.mark.parametrize("size", [(1000, 700), (210, 700), (300, 40)])
def test_a_picture_keeps_its_shape_wherever_it_is_put(size):
    for shape in ((20, 400, 3), (400, 20, 3), (3, 2, 3), (2000, 3000, 3)):
        picture = fit(np.full(shape, 200, np.uint8), size[1], size[0], 1)
        top, bottom, left, right = box(picture, (200,) * 3)
        assert (right - left) / shape[1] == pytest.approx((bottom - top) / shape[0], rel=0.5)
        assert bottom - top == size[1] or right - left == size[0]


def test_what_is_shrunk_loses_no_line():
    """A line of one pixel becomes fainter, but stays."""
    screen = np.zeros((1000, 1000, 3), np.uint8)
    screen[501] = 240
    small = resize(screen, 250, 250)
    assert small.sum() == pytest.approx(240 * 250 * 3 / 4, rel=0.01)


def test_the_keys_can_be_read_in_any_window():
    lines = tuple((f"key{i}", "what it does") for i in range(14))
    for size in ((840, 658), (658, 348), (480, 348), (1920, 1080)):
        with_help = draw(Scene(RED, 7 / 4, help=lines), *size)
        _, bottom, _, right = box(with_help, CHOSEN)
        assert bottom < size[1] - 20
        assert right < size[0] / 2


@pytest.mark.parametrize(
    ("count", "width", "height", "expected"),
    [(4, 100, 100, (2, 50)), (4, 100, 30, (4, 25)), (4, 30, 100, (1, 25)), (3, 90, 50, (3, 30)),
     (1, 10, 5, (1, 5)), (4, 10, 0, (1, 0))],
)  # fmt: skip
def test_largest_squares_that_fit(count, width, height, expected):
    assert grid(count, width, height) == expected


def test_vector_state_is_not_drawn():
    picture = draw(Scene(RED, 1, state=np.zeros((4, 8), np.float32)), 800, 600)
    assert (picture[:570, 540:] == BACKGROUND).all()


def test_status_is_drawn_below_the_game():
    size = (840, 630 + STATUS_HEIGHT)
    changed = draw(Scene(RED, 7 / 4, "you play · ε 0.05"), *size) != draw(Scene(RED, 7 / 4), *size)
    assert changed[630:].any()
    assert not changed[:630].any()
