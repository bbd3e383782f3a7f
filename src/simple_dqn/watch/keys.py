"""The keys besides those of the game's actions, and when they have an effect."""

from __future__ import annotations

KEYS = {
    "m": "take over, return control",
    "a": "slower",
    "s": "faster",
    "p": "pause, resume",
    "n": "one step while paused",
    "q": "Q-values",
    "v": "what the network sees",
    "[": "quieter",
    "]": "louder",
    "r": "new game",
    "h": "this help",
    "Esc": "quit",
}
FOR_PLAYING = {"m", "[", "]", "r"}  # no effect while training or testing


def effective_keys(
    playing: bool, has_network: bool, sees_pictures: bool, has_sound: bool
) -> list[tuple[str, str]]:
    """Return the keys that have an effect, each with what it does, for the help.

    Args:
        playing: in play; otherwise while training or testing.
        has_network: whether there is a network to take over from.
        sees_pictures: whether it sees pictures.
        has_sound: whether there is sound.
    """
    without = set() if playing else FOR_PLAYING
    without = without | (set() if has_network else {"m", "q"})
    without |= set() if sees_pictures else {"v"}
    without |= set() if has_sound else {"[", "]"}
    return [line for line in KEYS.items() if line[0] not in without]
