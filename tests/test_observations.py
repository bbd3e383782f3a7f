"""What is seen of a Gymnasium environment: a screen, a board or a vector."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, Text

from simple_dqn.environments.observations import plain

RNG = np.random.default_rng(0)


class Shows(gymnasium.Env):
    action_space = Discrete(2)

    def __init__(self, space, observation):
        self.observation_space, self.observation = space, observation

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation, {}


def seen(space, observation):
    game = plain(Shows(space, observation))
    shown, _ = game.reset()
    if isinstance(game.observation_space, Box):
        assert shown.shape == game.observation_space.shape
        assert shown.dtype == game.observation_space.dtype
    return shown


def test_screen_of_0_to_255_is_made_grey_and_nothing_else():
    grey = RNG.integers(0, 256, (30, 40), np.uint8)
    for observation in (grey, grey[:, :, None], grey[None]):
        shown = seen(Box(0, 255, observation.shape, np.uint8), observation)
        np.testing.assert_array_equal(shown, grey)
    rgb = RNG.integers(0, 256, (30, 40, 3), np.uint8)
    luma = rgb @ np.array([0.299, 0.587, 0.114])
    for observation in (rgb, np.moveaxis(rgb, -1, 0)):
        shown = seen(Box(0, 255, observation.shape, np.uint8), observation)
        assert np.abs(shown - luma).max() <= 1


@pytest.mark.parametrize(
    ("low", "high", "dtype"), [(0, 1, np.float32), (-1, 1, np.float64), (0, 15, np.uint8)]
)
def test_large_picture_of_other_bounds_is_scaled_by_them(low, high, dtype):
    picture = (low + (high - low) * RNG.integers(0, 6, (64, 48)) / 5).astype(dtype)
    shown = seen(Box(low, high, (64, 48), dtype), picture)
    expected = (picture.astype(float) - low) / (high - low) * 255
    assert shown.dtype == np.uint8
    np.testing.assert_allclose(shown, expected, atol=0.501)
    assert {int(shown.min()), int(shown.max())} == {0, 255}


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.bool_])
def test_board_of_two_values_becomes_0_and_255(dtype):
    """Which the network divides by 255: the cells are 0 and 1 again."""
    cells = RNG.integers(0, 2, (10, 10, 4)).astype(dtype)
    shown = seen(Box(0, 1, (10, 10, 4), dtype), cells)
    assert shown.dtype == np.uint8
    np.testing.assert_array_equal(shown, 255 * np.moveaxis(cells, -1, 0).astype(int))


def test_board_of_multi_binary_and_without_channels():
    cells = RNG.integers(0, 2, (30, 30)).astype(np.int8)
    for space in (MultiBinary((30, 30)), Box(0, 1, (30, 30), np.int8)):
        np.testing.assert_array_equal(seen(space, cells), 255 * cells[None].astype(int))


@pytest.mark.parametrize(
    ("shape", "board"),
    [
        ((8, 8, 3), (3, 8, 8)),
        ((5, 8, 8), (5, 8, 8)),
        ((3, 6, 7), (3, 6, 7)),
        ((6, 7, 9), (9, 6, 7)),
    ],
)
def test_channels_come_first(shape, board):
    cells = RNG.integers(-2, 9, shape)
    shown = seen(Box(-2, 8, shape, np.int64), cells)
    assert (shown.shape, shown.dtype) == (board, np.float32)
    expected = (cells if shape == board else np.moveaxis(cells, -1, 0)) + 2
    np.testing.assert_allclose(shown, expected / 10, rtol=1e-6)


def test_board_without_finite_bounds_is_not_scaled():
    cells = RNG.normal(0, 5, (9, 9, 2)).astype(np.float32)
    shown = seen(Box(-np.inf, np.inf, (9, 9, 2), np.float32), cells)
    np.testing.assert_array_equal(shown, np.moveaxis(cells, -1, 0))


@pytest.mark.parametrize(
    "space",
    [
        Box(-1, 1, (5, 5), np.float32),  # a table of features
        Box(0, 2**17, (4, 4), np.int64),  # powers of two
        Box(0, 1, (2, 9, 2), np.uint8),  # too narrow for a convolution
        Box(0, 9, (40, 50, 7), np.int64),  # too large
        Dict(a=Discrete(3), b=Box(-1, 1, (2,))),
    ],
)
def test_all_else_is_a_vector_as_it_is(space):
    observation = space.sample()
    shown = seen(space, observation)
    np.testing.assert_allclose(shown, gymnasium.spaces.flatten(space, observation))
    assert shown.ndim == 1


def test_of_a_dict_with_one_screen_only_that_is_seen():
    screen = RNG.integers(0, 256, (30, 40), np.uint8)
    space = Dict(a=Discrete(3), b=Box(0, 255, (30, 40), np.uint8), c=Text(3))
    np.testing.assert_array_equal(seen(space, dict(a=1, b=screen, c="x")), screen)


@pytest.mark.parametrize("shape", [(84, 84, 4), (4, 84, 84), (2, 30, 40, 3)])
def test_several_screens_are_left_to_be_refused(shape):
    assert seen(Box(0, 255, shape, np.uint8), np.zeros(shape, np.uint8)).shape == shape
