"""The console's joystick on a keyboard: from the keys held to an action."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

UP, DOWN, LEFT, RIGHT, FIRE = PARTS = ("UP", "DOWN", "LEFT", "RIGHT", "FIRE")
OPPOSITES = ({UP, DOWN}, {LEFT, RIGHT})
IMPORTANCE = (LEFT, RIGHT, UP, DOWN, FIRE)  # priority where no action has all parts
# Games whose picture moves on the other axis than their actions say: which arrow means which.
TURNED: dict[str, Mapping[str, str]] = {"pong": {UP: RIGHT, DOWN: LEFT}}
VARIANT = re.compile(r"(NoFrameskip|Deterministic)?-v\d+$")  # of a Gymnasium id


def turned_arrows(game: str, action_meanings: Sequence[str]) -> Mapping[str, str]:
    """Return what the arrows mean that mean something else than they say, by arrow.

    Args:
        game: its name, pong, or its Gymnasium id, ALE/Pong-v5.
        action_meanings: see ``choose``.
    """
    name = VARIANT.sub("", game.replace(":", "/").rpartition("/")[2]).lower()
    known = directions(action_meanings)
    return {arrow: to for arrow, to in TURNED.get(name, {}).items() if to in known}


def directions(action_meanings: Sequence[str]) -> frozenset[str]:
    """Return the parts of the joystick that the game's actions know."""
    return frozenset().union(*(parts(name) or () for name in action_meanings))


def keys_of(action_meanings: Sequence[str], turned: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the keys that a game reacts to, each with what it does, for the help.

    Args:
        action_meanings: see ``choose``.
        turned: see ``turned_arrows``.
    """
    known = directions(action_meanings)
    arrows = [part for part in (UP, DOWN, LEFT, RIGHT) if part in known or part in turned]
    keys = []
    if arrows:
        meanings = ", ".join(f"{arrow.lower()} is {to}" for arrow, to in turned.items())
        names = "arrows" if len(arrows) == 4 else ", ".join(arrows).lower()
        keys.append((names, f"joystick; {meanings}" if meanings else "joystick"))
    if FIRE in known:
        keys.append(("space", "fire"))
    numbers = numbered_actions(action_meanings)
    if numbers and len(numbers) == 1 + numbers[-1] - numbers[0] > 1:
        keys.append((f"{numbers[0]}-{numbers[-1]}", "action"))
    elif numbers:
        keys.append((" ".join(map(str, numbers)), "action"))
    return keys


def numbered_actions(action_meanings: Sequence[str]) -> list[int]:
    """Return the digits that choose an action: where the joystick has none of this name."""
    return [number for number, name in enumerate(action_meanings[:10]) if parts(name) is None]


def parts(name: str) -> frozenset[str] | None:
    """Return the parts of an action, UPRIGHTFIRE → {UP, RIGHT, FIRE}; None for other names.

    Names as ALE writes them, or with small letters, spaces, hyphens and underscores.
    """
    held = set()
    rest = re.sub(r"[\s_-]", "", name).upper()
    rest = "" if rest == "NOOP" else rest
    for part in PARTS:  # ALE's names have them in this order
        if rest.startswith(part):
            held.add(part)
            rest = rest.removeprefix(part)
    return None if rest else frozenset(held)


def choose(
    held: AbstractSet[str], action_meanings: Sequence[str], turned: Mapping[str, str] | None = None
) -> int:
    """Return the number of the action for the keys held.

    It is the action with most of the held parts and no others; where the game has no action for
    both, a direction takes priority over the button. Opposite directions cancel. In games without
    a joystick a digit is the number of the action. With nothing held it is NOOP, or action 0.

    Args:
        held: a subset of UP, DOWN, LEFT, RIGHT, FIRE and the digits.
        action_meanings: the names of the game's actions, [A].
        turned: see ``turned_arrows``.
    """
    wanted = {(turned or {}).get(part, part) for part in held}
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
