"""What environments draw becomes RGB, with the colours worked out by hand."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

from simple_dqn.environments.gymnasium_games import GymEnvironment
from simple_dqn.environments.pictures import as_picture
from simple_dqn.errors import UsageError

GREY = np.array([[0, 51, 102, 5, 6], [153, 204, 255, 8, 9]], np.uint8)  # 2x5 pixels
RGB = np.stack([GREY, GREY[::-1], np.full_like(GREY, 7)], axis=2)


@pytest.mark.parametrize(
    ("drawn", "expected"),
    [
        (RGB, RGB),
        (GREY, GREY[:, :, None]),
        (GREY[:, :, None], GREY[:, :, None]),
        (np.dstack([RGB, np.full_like(GREY, 255)]), RGB),
        (np.dstack([RGB, np.zeros_like(GREY)]), 0 * RGB),  # nothing of it can be seen
        (RGB / 255, RGB),
        ((RGB / 255).astype(np.float16), RGB),
        (RGB.astype(np.float32), RGB),
        (RGB.astype(np.int64), RGB),
        (GREY > 100, np.where(GREY > 100, 255, 0)[:, :, None]),
        (np.moveaxis(RGB, 2, 0), RGB),
        (RGB[None], RGB),
        (RGB.tolist(), RGB),
        (list(RGB), RGB),  # its rows
        ([0 * RGB, RGB], RGB),  # the newest of several
        ([np.zeros((5, 9)), np.ones((5, 9))], np.full((5, 9, 1), 255)),
        (RGB[:, ::-1], RGB[:, ::-1]),
        (np.array([[1.00001, -0.00001]]), [[[255], [0]]]),
        (np.zeros((4, 2)), np.zeros((4, 2, 1))),
    ],
)
def test_what_is_clearly_a_picture_becomes_one(drawn, expected):
    picture = as_picture(drawn, "Some-v0")
    assert picture.dtype == np.uint8
    assert picture.flags.c_contiguous
    assert picture.shape == (*np.shape(expected)[:2], 3)
    assert (picture == expected).all()


def test_half_opacity_is_half_the_colour():
    drawn = np.full((1, 1, 4), (200, 100, 50, 51), np.uint8)  # a fifth
    assert as_picture(drawn, "Some-v0").tolist() == [[[40, 20, 10]]]


def test_a_picture_of_pillow_shows_its_colours_not_the_numbers_of_its_palette():
    image = pytest.importorskip("PIL.Image").fromarray(RGB)
    for drawn in (image, image.quantize(256), [image]):
        assert (as_picture(drawn, "Some-v0") == RGB).all()


def test_a_picture_is_the_callers_to_keep():
    drawn = RGB.copy()
    picture = as_picture(drawn, "Some-v0")
    drawn[:] = 9
    assert (picture == RGB).all()
    picture[:] = 8
    assert (drawn == 9).all()


@pytest.mark.parametrize(
    ("drawn", "named"),
    [
        (None, "returned None"),
        ("+---+\n| x |", "returned a str"),
        ([], "an array of shape [0]"),
        ({"camera": RGB}, "returned a dict"),
        (7, "an array of shape []"),
        (np.zeros((5, 6, 2)), "an array of shape [5, 6, 2]"),
        (np.zeros((0, 5, 3)), "an array of shape [0, 5, 3]"),
        (np.zeros((6, 4, 5, 3)), "an array of shape [6, 4, 5, 3]"),
        (np.full((2, 2), np.nan), "values from nan to nan"),
        (np.array([[-1.0, 1.0]]), "values from -1 to 1"),
        (np.array([[0, 4095]], np.uint16), "values from 0 to 4095"),
        ([[1, 2], [3]], "returned list"),
    ],
)
def test_what_is_none_is_said_with_the_environments_name(drawn, named):
    with pytest.raises(UsageError) as error:
        as_picture(drawn, "Some-v0")
    assert str(error.value).startswith("'Some-v0' draws no picture: render() returned ")
    assert named in str(error.value)
    assert "\n" not in str(error.value)


class Draws(gymnasium.Env):
    """Draws whatever it is made with."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012
    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    drawn = GREY

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        return np.zeros(2, np.float32), 0.0, True, False, {}

    def render(self):
        return self.drawn


def test_a_game_is_drawn_through_here(monkeypatch):
    monkeypatch.setitem(
        gymnasium.registry, "Draws-v0", gymnasium.envs.registration.EnvSpec("Draws-v0", Draws)
    )
    env = GymEnvironment(
        "Draws-v0", num_envs=1, seed=np.random.SeedSequence(1), resize="area",
        screen_width=84, screen_height=84, render=True,
    )  # fmt: skip
    env.restart()
    assert (env.screen() == GREY[:, :, None]).all()
    monkeypatch.setattr(Draws, "drawn", None)
    with pytest.raises(UsageError, match=r"'Draws-v0' draws no picture: render\(\) returned None"):
        env.screen()
