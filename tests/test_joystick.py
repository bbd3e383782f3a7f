"""The joystick on a keyboard: every combination, and games that lack some."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from ale_py import Action, ALEInterface, roms

from simple_dqn.watch.joystick import choose, keys_of, parts, turned_arrows

ALL = [action.name for action in Action.__members__.values()][:18]


def test_all_18_combinations_map_to_their_actions():
    combinations = set()
    for vertical, horizontal, fire in product(("", "UP", "DOWN"), ("", "LEFT", "RIGHT"), (0, 1)):
        name = vertical + horizontal + "FIRE" * fire
        held = {vertical, horizontal, "FIRE" * fire} - {""}
        assert parts(name or "NOOP") == held
        combinations.add(choose(held, ALL))
        assert ALL[choose(held, ALL)] == (name or "NOOP")
    assert combinations == set(range(18))


def test_missing_actions_fall_back_to_the_closest_available():
    breakout = ["NOOP", "FIRE", "RIGHT", "LEFT"]
    assert breakout[choose({"RIGHT", "FIRE"}, breakout)] == "RIGHT"
    assert breakout[choose({"UP", "FIRE"}, breakout)] == "FIRE"
    assert breakout[choose({"UP"}, breakout)] == "NOOP"
    assert breakout[choose({"UP", "LEFT"}, breakout)] == "LEFT"
    pong = ["NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE"]
    assert pong[choose({"RIGHT", "FIRE", "DOWN"}, pong)] == "RIGHTFIRE"
    vertical = ["NOOP", "UP", "DOWN", "RIGHT"]
    assert vertical[choose({"UP", "RIGHT"}, vertical)] == "RIGHT"


def test_opposite_directions_cancel():
    assert ALL[choose({"LEFT", "RIGHT", "FIRE"}, ALL)] == "FIRE"
    assert ALL[choose({"UP", "DOWN", "LEFT"}, ALL)] == "LEFT"


def test_digits_select_actions_without_a_joystick():
    assert choose({"1"}, ["0", "1"]) == 1
    assert choose(set(), ["push left", "push right"]) == 0
    assert choose({"1", "LEFT"}, ["push left", "push right"]) == 1
    assert choose({"1"}, ALL) == 0  # not in a game with a joystick
    assert parts("push left") is None
    assert parts("LEFTUP") is None


PONG = ["NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE"]
BREAKOUT = ["NOOP", "FIRE", "RIGHT", "LEFT"]
FREEWAY = ["NOOP", "UP", "DOWN"]


@pytest.mark.parametrize(
    ("game", "actions"),
    [
        ("pong", PONG),
        ("pong", ALL),  # --minimal_action_set false
        ("ALE/Pong-v5", PONG),
        ("Pong-v4", PONG),
        ("PongNoFrameskip-v4", PONG),
        ("PongDeterministic-v0", PONG),
        ("ale_py:ALE/Pong-v5", PONG),
    ],
)
def test_in_pong_up_and_down_move_the_paddle_up_and_down(game, actions):
    turned = turned_arrows(game, actions)

    def done(*held):
        return actions[choose(set(held), actions, turned)]

    assert done("UP") == done("RIGHT") == "RIGHT"
    assert done("DOWN") == done("LEFT") == "LEFT"
    assert done("UP", "FIRE") == "RIGHTFIRE"
    assert done("UP", "DOWN") == done("UP", "LEFT") == "NOOP"  # opposites
    assert done("UP", "RIGHT") == "RIGHT"


@pytest.mark.parametrize(
    ("game", "actions"),
    [("breakout", BREAKOUT), ("freeway", FREEWAY), ("seaquest", ALL), ("space_invaders", PONG),
     ("pong_v3", ["NOOP", "UP", "DOWN"]), ("Pong-v0", ["noop", "up", "down"])],
)  # fmt: skip
def test_elsewhere_an_arrow_is_what_it_says(game, actions):
    assert turned_arrows(game, actions) == {}
    for key in ("UP", "DOWN", "LEFT", "RIGHT"):
        assert parts(actions[choose({key}, actions, {})]) <= {key}


def test_the_pictures_of_pong_and_breakout_move_as_the_table_says():
    """Every frame of a second, by the emulator itself: the paddle's rows and columns."""
    for game, moves in (("pong", (True, False)), ("breakout", (False, True))):
        ends = []
        for action in (Action.RIGHT, Action.LEFT):
            ale = ALEInterface()
            ale.setInt("random_seed", 1)
            ale.loadROM(str(roms.get_rom_path(game)))
            for _ in range(60):
                ale.act(Action.NOOP)
            for _ in range(20):
                ale.act(action)
            screen = ale.getScreenRGB()
            paddle = (92, 186, 92) if game == "pong" else (200, 72, 72)
            field = (screen == paddle).all(axis=2)
            field[: 34 if game == "pong" else 188] = False
            field[:, :8], field[:, 152:] = False, False
            ends.append([places.mean() for places in np.nonzero(field)])
        (right_row, right_column), (left_row, left_column) = ends
        assert (right_row < left_row - 10, right_column > left_column + 10) == moves


@pytest.mark.parametrize(
    ("game", "actions", "expected"),
    [
        ("pong", PONG, [("arrows", "joystick; up is RIGHT, down is LEFT"), ("space", "fire")]),
        ("breakout", BREAKOUT, [("left, right", "joystick"), ("space", "fire")]),
        ("freeway", FREEWAY, [("up, down", "joystick")]),
        ("seaquest", ALL, [("arrows", "joystick"), ("space", "fire")]),
        ("CartPole-v1", ["0", "1"], [("0-1", "action")]),
        ("Many-v0", [str(i) for i in range(30)], [("0-9", "action")]),
        ("Mixed-v0", ["noop", "left", "jump"], [("left", "joystick"), ("2", "action")]),
        ("Odd-v0", ["wait", "left", "jump"], [("left", "joystick"), ("0 2", "action")]),
    ],
)
def test_the_help_names_the_keys_that_a_game_reacts_to(game, actions, expected):
    turned = turned_arrows(game, actions)
    assert keys_of(actions, turned) == expected
    # and no others: each key that is named does something, the rest nothing
    nothing = choose(set(), actions, turned)
    named = " ".join(keys for keys, _ in expected)
    for key in ("UP", "DOWN", "LEFT", "RIGHT"):
        does = choose({key}, actions, turned) != nothing
        assert does == (key.lower() in named or "arrows" in named)


def test_names_of_other_makers_are_joysticks_too():
    assert parts("up_left") == parts("UP-LEFT") == parts("Up left") == {"UP", "LEFT"}
    assert parts("no-op") == parts("noop") == set()
    minigames = ["noop", "left", "up", "right", "down", "fire"]
    assert minigames[choose({"LEFT"}, minigames)] == "left"
    assert minigames[choose({"UP", "FIRE"}, minigames)] == "up"
