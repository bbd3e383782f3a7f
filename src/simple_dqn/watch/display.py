"""Display: what a window and a terminal have in common, and which of them there is."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from collections.abc import Set as AbstractSet

from simple_dqn.errors import UsageError
from simple_dqn.watch.scene import Scene

QUIT = "quit"  # the key that stands for a closed window


class Display(ABC):
    """Shows scenes and reads the keyboard.

    Attributes:
        frames_per_second: as often as it is worth drawing.
    """

    frames_per_second: float = 60

    @abstractmethod
    def keys(self) -> list[str]:
        """Return the keys pressed since the last call: characters, "escape" or QUIT."""

    @abstractmethod
    def joystick(self) -> AbstractSet[str]:
        """Return what is held, or was since the last call: of ``joystick.PARTS`` and digits."""

    @abstractmethod
    def draw(self, scene: Scene) -> None:
        """Show ``scene``."""

    @abstractmethod
    def close(self) -> None:
        """Leave everything as it was found."""


def open_display(kind: str, title: str) -> Display | None:
    """Return the display for ``--display``; None for none.

    Raises:
        UsageError: there is no such thing here.
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
                "--display terminal needs a terminal, and input or output is none: "
                "--display none plays without showing it"
            )
        from simple_dqn.watch.terminal import TerminalDisplay

        return TerminalDisplay()
    return None


def has_screen() -> bool:
    """Whether a window can be opened: elsewhere than on Linux there always is a screen."""
    screens = {"DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"}
    return sys.platform != "linux" or any(os.environ.get(name) for name in screens)


def _has_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


@contextlib.contextmanager
def signals_unwind() -> Iterator[None]:
    """Let a hang-up or a kill end the program in order.

    Ctrl-Z is not heard meanwhile: in a terminal it would leave our picture behind.
    """

    def end(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    handlers = {signal.SIGTERM: end}
    if os.name == "posix":
        handlers |= {signal.SIGHUP: end, signal.SIGTSTP: signal.SIG_IGN}  # type: ignore[dict-item]
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
