"""Display: what a window and a terminal have in common, and which of them there is."""

from __future__ import annotations

import contextlib
import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Iterator
from collections.abc import Set as AbstractSet

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
