"""Opening the page in the user's browser."""

from __future__ import annotations

import contextlib
import html
import os
import tempfile
import threading
import webbrowser
from pathlib import Path

from simple_dqn.watch.interface import has_screen

LIFE = 60.0  # seconds until the file is removed


def open_page(url: str) -> None:
    """Open a page where there is a desktop, and the user sits at it.

    The browser is given a file that only this user can read and that leads to the page: everybody
    can read the command line of a program, and the address has the token.
    """
    if not has_screen() or os.environ.get("SSH_CONNECTION"):
        return
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return
    background = isinstance(browser, webbrowser.BackgroundBrowser)
    if isinstance(browser, webbrowser.GenericBrowser) and not background:
        return  # one in the terminal
    # In the home folder, because browsers in a sandbox cannot read others.
    with contextlib.suppress(OSError):
        number, name = tempfile.mkstemp(".html", "simple_dqn_page_", Path.home())
        with open(number, "w") as file:
            file.write(f'<meta http-equiv="refresh" content="0; url={html.escape(url)}">\n')
        threading.Thread(target=browser.open, args=(Path(name).as_uri(),), daemon=True).start()
        threading.Thread(target=_remove, args=(Path(name),)).start()


def _remove(file: Path) -> None:
    """Remove a file after LIFE, or when the program ends."""
    threading.main_thread().join(LIFE)
    file.unlink(missing_ok=True)
