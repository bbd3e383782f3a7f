"""Watching a game: window, terminal, keyboard, sound, recordings. Training imports none of it."""

import os

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # its greeting on the standard output
os.environ.setdefault("SDL_NO_SIGNAL_HANDLERS", "1")  # a kill would only close the window
