"""Display: the interface that a window, a terminal and a page share."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

from simple_dqn.watch.scene import Scene
from simple_dqn.watch.sound import Speaker, open_speaker

QUIT = "quit"  # the key reported when the window is closed


class Display(ABC):
    """Shows scenes and reads the keyboard.

    Attributes:
        frames_per_second: the highest rate worth drawing at.
    """

    frames_per_second: float = 60

    @abstractmethod
    def keys(self) -> list[str]:
        """Return the keys pressed since the last call: characters, "escape" or QUIT."""

    @abstractmethod
    def joystick(self) -> AbstractSet[str]:
        """Return what is held or was tapped since the last call: ``joystick.PARTS`` and digits."""

    @abstractmethod
    def draw(self, scene: Scene) -> None:
        """Show ``scene``."""

    def open_speaker(self, rate: int) -> Speaker | None:
        """Return what plays the sound of a game, of ``rate`` samples per second; None if silent."""
        return open_speaker(rate)

    def attended(self, manual: bool) -> bool:
        """Return whether someone is there: to watch or, if ``manual``, to play.

        The game waits while no one is.
        """
        return True

    def offer(  # noqa: B027 (only a display with buttons needs it)
        self, action_meanings: Sequence[str], turned: Mapping[str, str], keys: Sequence[str]
    ) -> None:
        """Offer the controls of a game, see ``joystick.keys_of``, and the other ``keys``."""

    def say(self, last: str) -> None:  # noqa: B027 (not every display keeps its picture)
        """Show ``last`` where the picture stays after the game; not in a window or a terminal."""

    @abstractmethod
    def close(self) -> None:
        """Restore the screen or terminal as it was before."""


def has_screen() -> bool:
    """Return whether a window can be opened; systems other than Linux always have a screen."""
    screens = {"DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"}
    return sys.platform != "linux" or any(os.environ.get(name) for name in screens)


@contextlib.contextmanager
def signals_unwind() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into SystemExit, so that everything is closed properly.

    Ctrl-Z is ignored meanwhile: it would leave the picture in the terminal.
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
