"""Watching a game: window, terminal, keyboard, sound, recordings. Training imports none of it."""

import os

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # its greeting on the standard output
