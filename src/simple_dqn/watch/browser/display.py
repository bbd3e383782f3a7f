"""Browser: a game on a page, with its sound and the keyboard of whoever takes it first."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simple_dqn.watch.browser.opening import open_page
from simple_dqn.watch.browser.server import Server
from simple_dqn.watch.browser.viewer import Viewer
from simple_dqn.watch.interface import Display
from simple_dqn.watch.joystick import PARTS, directions, numbered_actions
from simple_dqn.watch.scene import BACKGROUND, Scene
from simple_dqn.watch.sound import Speaker, stretch

HELD = {*PARTS, *"0123456789"}
GAP = 2  # pixels between the frames of a state
MOST_KEYS = 32  # pressed keys that wait
YOURS, FREE, TAKEN = "yours", "free", "taken"


class Browser(Display):
    """A game on a page.

    The first page on which a key is pressed has the keyboard until it leaves. The others look on.

    Args:
        title: of the page.
        host, port: see Server.
        opens: whether to open the page, where there is a desktop.

    Raises:
        UsageError: see Server.
    """

    def __init__(self, title: str, host: str, port: int, opens: bool = False) -> None:
        self.server = Server(host, port, {"mode": "play", "title": title})
        self.server.on_message = self._receive
        self.server.on_join, self.server.on_leave = self._join, self._leave
        self._lock = threading.Lock()  # of what follows, which both threads use
        self._player: Viewer | None = None  # the page that has the keyboard
        self._keys: deque[str] = deque(maxlen=MOST_KEYS)
        self._held: set[str] = set()
        self._tapped: set[str] = set()
        self._sound: list[bytes] = []
        self._invites = False
        self._last: dict[str, Any] = {}
        print(f"the game is at {self.server.url}", flush=True)
        if opens:
            open_page(self.server.url)

    def keys(self) -> list[str]:
        """See Display."""
        with self._lock:
            keys, self._keys = list(self._keys), deque(maxlen=MOST_KEYS)
        return keys

    def joystick(self) -> AbstractSet[str]:
        """See Display."""
        with self._lock:
            if self._player is None or not self._player.present:
                self._held.clear()
            held, self._tapped = self._held | self._tapped, set()
        return held

    def attended(self, manual: bool) -> bool:
        """See Display: whether a page is seen and, if ``manual``, one that has the keyboard."""
        player = self._player
        if not manual:
            return any(viewer.present for viewer in self.server.viewers)
        if player is None and not self._invites:
            self.server.publish({"invitation": "Press a key, or touch a button, to play."})
        elif player is not None and self._invites:
            self.server.publish({"invitation": ""})
        self._invites = player is None
        return player is not None and player.present

    def offer(
        self, action_meanings: Sequence[str], turned: Mapping[str, str], keys: Sequence[str]
    ) -> None:
        """See Display."""
        numbers = [
            [number, action_meanings[number]] for number in numbered_actions(action_meanings)
        ]  # fmt: skip
        parts = sorted(directions(action_meanings) | turned.keys())
        lower = [key.lower().replace("esc", "escape") for key in keys]
        self.server.publish({"parts": parts, "numbers": numbers, "keys": lower})

    def draw(self, scene: Scene) -> None:
        """See Display."""
        q = scene.q_values
        document = {
            "screen": scene.screen,
            "aspect": scene.pixel_aspect,
            "status": scene.status,
            "q": q and {
                "names": q.names,
                "texts": [q.text(action) for action in range(len(q.names))],
                "lengths": [round(float(length), 3) for length in q.lengths()],
                "action": q.action,
                "span": f"{q.high - q.low:.2g}",
            },
            "state": None if scene.state is None else tiled(scene.state),
            "frames": 0 if scene.state is None else len(scene.state),
            "help": scene.help,
        }  # fmt: skip
        sound, self._sound = b"".join(self._sound), []
        self.server.publish(document, sound)

    def open_speaker(self, rate: int) -> BrowserSpeaker | None:
        """See Display."""
        return BrowserSpeaker(self, rate) if rate else None

    def play_sound(self, samples: bytes) -> None:
        """Send 8-bit samples with the next picture."""
        self._sound.append(samples)

    def say(self, last: str) -> None:
        """See Display."""
        self._last = {"ended": last}

    def close(self) -> None:
        """See Display."""
        self.server.close({"ended": "The game has ended.", **self._last})

    # --- in the server's thread ---------------------------------------------------------------

    def _receive(self, viewer: Viewer, message: dict[str, Any]) -> None:
        """Handle a message of a page: the keyboard."""
        match message:
            case {"down": str(part)} | {"up": str(part)} if part in HELD:
                self._press(viewer, part, "down" in message)
            case {"key": str(key)} if key == "escape" or (len(key) == 1 and key.isprintable()):
                with self._lock:
                    if self._takes(viewer):
                        self._keys.append(key.lower())
            case {"release": True}:
                with self._lock:
                    if viewer is self._player:
                        self._held.clear()
                        self._tapped.clear()
            case _:
                raise ValueError

    def _press(self, viewer: Viewer, part: str, down: bool) -> None:
        with self._lock:
            if down and self._takes(viewer):
                self._held.add(part)
                self._tapped.add(part)
            elif viewer is self._player:
                self._held.discard(part)

    def _takes(self, viewer: Viewer) -> bool:
        """Give a page the keyboard if no other has it; return whether it has it now."""
        if self._player is None:
            self._player = viewer
        self._tell()
        return self._player is viewer

    def _join(self, viewer: Viewer) -> None:
        with self._lock:  # the page that plays, back after its connection was lost
            if self._player is not None and self._player.name == viewer.name != "":
                self._player = viewer
                self._held.clear()
                self._tapped.clear()
        self._tell()

    def _leave(self, viewer: Viewer) -> None:
        with self._lock:
            if viewer is self._player:
                self._player = None
                self._held.clear()
                self._tapped.clear()
                self._keys.clear()
        self._tell()

    def _tell(self) -> None:
        """Tell every page who has the keyboard."""
        for viewer in self.server.viewers:
            whose = YOURS if viewer is self._player else FREE if self._player is None else TAKEN
            viewer.own = {"keyboard": whose}
        self.server.wake()


class BrowserSpeaker(Speaker):
    """Plays sound on the pages, with the pictures.

    Args:
        browser: the pages.
        rate: see Speaker.
    """

    def __init__(self, browser: Browser, rate: int) -> None:
        self._browser, self.rate = browser, rate
        self.volume = 1.0
        browser.server.publish({"rate": rate, "volume": self.volume})

    def play(self, samples: NDArray[np.uint8], seconds: float) -> None:
        """See Speaker."""
        self._browser.play_sound(stretch(samples, round(seconds * self.rate)).tobytes())

    def change_volume(self, by: float) -> None:
        """See Speaker."""
        self.volume = min(max(round(self.volume + by, 2), 0.0), 1.0)
        self._browser.server.publish({"volume": self.volume})

    def close(self) -> None:
        """See Speaker."""


def tiled(state: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the frames of a state, uint8 [H, h, w], row by row in one picture, oldest first."""
    count, height, width = state.shape
    across = math.isqrt(count - 1) + 1
    down = -(-count // across)
    picture = np.full((down, height + GAP, across, width + GAP), BACKGROUND, np.uint8)
    for index, frame in enumerate(state):
        picture[index // across, :height, index % across, :width] = frame
    return picture.reshape(down * (height + GAP), -1)[:-GAP, :-GAP].copy()
