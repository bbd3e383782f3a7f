"""The joystick on a keyboard: every combination, and games that lack some."""

from __future__ import annotations

from itertools import product

from ale_py import Action

from simple_dqn.watch.joystick import choose, parts

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
