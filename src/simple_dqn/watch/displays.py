"""Opening a display: a window, a terminal or a page."""

from __future__ import annotations

import contextlib
import logging
import sys

from simple_dqn.errors import UsageError
from simple_dqn.watch.interface import Display, has_screen

logger = logging.getLogger(__name__)


def open_display(
    kind: str, title: str, host: str = "127.0.0.1", port: int = 0, opens: bool = False
) -> Display | None:
    """Return the display for ``--display``: auto, window, terminal, browser; none: None.

    Args:
        kind: of the display.
        title: of its window or page.
        host, port, opens: see ``browser.display.Browser``.

    Raises:
        UsageError: that display is not available here.
    """
    if kind == "auto":
        if has_screen() and not port:
            with contextlib.suppress(UsageError):
                window = open_display("window", title)
                _name_others("window")
                return window
        kind = "terminal" if _has_terminal() and not port else "browser"
        _name_others(kind)
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
    if kind == "browser":
        from simple_dqn.watch.browser.display import Browser

        return Browser(title, host, port, opens)
    return None


def _name_others(chosen: str) -> None:
    """Say where else the game can be shown."""
    others = {
        "window": "window, which needs a screen",
        "terminal": "terminal, which needs one as input and output",
        "browser": "browser, from any machine",
    }
    del others[chosen]
    first, second = others.values()
    logger.info("the game is in the %s; --display can also be %s; or %s", chosen, first, second)


def _has_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()
