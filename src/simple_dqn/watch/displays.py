"""Opening a display: a window or a terminal."""

from __future__ import annotations

import contextlib
import os
import sys

from simple_dqn.errors import UsageError
from simple_dqn.watch.interface import Display


def open_display(kind: str, title: str) -> Display | None:
    """Return the display for ``--display``: auto, window, terminal or none, for which it is None.

    Raises:
        UsageError: that display is not available here.
    """
    if kind == "auto":
        if has_screen():
            with contextlib.suppress(UsageError):
                return open_display("window", title)
        if not _has_terminal():
            raise UsageError(
                "there is neither a screen nor a terminal here to show the game: "
                "--display none plays without showing it"
            )
        kind = "terminal"
    if kind == "window":
        if not has_screen():
            raise UsageError("there is no screen here to open a window on")
        from simple_dqn.watch.window import Window

        return Window(title)
    if kind == "terminal":
        if not _has_terminal():
            raise UsageError(
                "--display terminal needs a terminal as input and output: "
                "--display none plays without showing it"
            )
        from simple_dqn.watch.terminal import TerminalDisplay

        return TerminalDisplay()
    return None


def has_screen() -> bool:
    """Return whether a window can be opened; systems other than Linux always have a screen."""
    screens = {"DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"}
    return sys.platform != "linux" or any(os.environ.get(name) for name in screens)


def _has_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()
