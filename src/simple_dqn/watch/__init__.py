"""Watching a game: window, terminal, keyboard, sound and recordings.

Imports the agent and the environment interface; only ``commands`` import it, and training only
with ``--display_screen``.
"""

import os

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # pygame's greeting on standard output
os.environ.setdefault("SDL_NO_SIGNAL_HANDLERS", "1")  # otherwise SIGTERM only closes the window
