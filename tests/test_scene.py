"""Pictures of a scene: geometry and pixels worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from simple_dqn.watch.scene import (
    BACKGROUND,
    BAR,
    CHOSEN,
    STATUS_HEIGHT,
    QMeter,
    Scene,
    draw,
    enlarge,
    grid,
)

RED = np.zeros((210, 160, 3), np.uint8)
RED[:, :, 0] = 200


def box(picture, colour):
    """(top, bottom, left, right) of the pixels of a colour."""
    rows, columns = np.nonzero((picture == colour).all(axis=-1))
    return rows.min(), rows.max() + 1, columns.min(), columns.max() + 1


def test_enlarge_repeats_pixels():
    screen = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    assert (enlarge(screen, 8, 21) == screen.repeat(4, axis=0).repeat(7, axis=1)).all()


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
    assert box(picture, (200, 0, 0))[3] <= 1120 - 280  # the panel does not cover the game
    _, _, left, half = box(picture, CHOSEN)
    _, _, _, full = box(picture, BAR)
    assert half - left == pytest.approx((full - left) / 2, abs=1)


def test_panel_shows_the_state_oldest_screen_first():
    state = np.arange(1, 5, dtype=np.uint8)[:, None, None] * np.full((84, 84), 50, np.uint8)
    panel = draw(Scene(RED, 7 / 4, state=state), 1120, 700)[:, 1120 - 280 :]
    boxes = [box(panel, (grey,) * 3) for grey in (50, 100, 150, 200)]
    tops, lefts = [b[0] for b in boxes], [b[2] for b in boxes]
    assert tops == sorted(set(tops))  # a column: 660 pixels for four of them
    assert len(set(lefts)) == 1
    assert {(b[1] - b[0], b[3] - b[2]) for b in boxes} == {(155, 155)}


def test_state_fits_below_the_values_of_18_actions():
    state = np.arange(1, 5, dtype=np.uint8)[:, None, None] * np.full((84, 84), 50, np.uint8)
    q = QMeter([f"ACTION{a}" for a in range(18)]).read(np.arange(18, dtype=np.float32), 3)
    panel = draw(Scene(RED, 7 / 4, q_values=q, state=state), 840, 658)[:, 560:]
    below = panel[18 * 22 + 10 :]
    boxes = [box(below, (grey,) * 3) for grey in (50, 100, 150, 200)]
    ((height, width),) = {(b[1] - b[0], b[3] - b[2]) for b in boxes}
    assert height == width >= 85


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
