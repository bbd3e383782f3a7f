"""The console's joystick on a keyboard: from the keys held to an action."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

UP, DOWN, LEFT, RIGHT, FIRE = PARTS = ("UP", "DOWN", "LEFT", "RIGHT", "FIRE")
OPPOSITES = ({UP, DOWN}, {LEFT, RIGHT})
IMPORTANCE = (LEFT, RIGHT, UP, DOWN, FIRE)  # priority where no action has all parts


def parts(name: str) -> frozenset[str] | None:
    """Return the parts of an ALE action, UPRIGHTFIRE → {UP, RIGHT, FIRE}; None for other names."""
    held = set()
    rest = "" if name == "NOOP" else name
    for part in PARTS:  # ALE's names have them in this order
        if rest.startswith(part):
            held.add(part)
            rest = rest.removeprefix(part)
    return None if rest else frozenset(held)


def choose(held: AbstractSet[str], action_meanings: Sequence[str]) -> int:
    """Return the number of the action for the keys held.

    It is the action with most of the held parts and no others; where the game has no action for
    both, a direction takes priority over the button. Opposite directions cancel. In games without
    a joystick a digit is the number of the action. With nothing held it is NOOP, or action 0.

    Args:
        held: a subset of UP, DOWN, LEFT, RIGHT, FIRE and the digits.
        action_meanings: the names of the game's actions, [A].
    """
    wanted = set(held)
    for pair in OPPOSITES:
        if pair <= wanted:
            wanted -= pair
    best, best_rank = 0, -1
    for action, name in enumerate(action_meanings):
        done = parts(name)
        if done is None:
            if str(action) in wanted:
                return action
        elif done <= wanted:
            rank = 100 * len(done) + sum(2 ** (4 - IMPORTANCE.index(part)) for part in done)
            if rank > best_rank:
                best, best_rank = action, rank
    return best
