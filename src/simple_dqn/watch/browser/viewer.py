"""Viewer: a page that is connected, and what it does not show yet."""

from __future__ import annotations

import asyncio
import json
import struct
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from aiohttp import web
from numpy.typing import NDArray

LONGEST_SOUND = 8  # pictures' sounds that wait for a page
SILENCE = 1.5  # seconds without a confirmation after which a page counts as gone
LENGTH = struct.Struct("<I")

Document = Mapping[str, Any]
Picture = NDArray[np.uint8]


class Viewer:
    """A page that is connected. What it is sent is the difference to what it shows.

    Args:
        socket, protocol: of its connection.
        name: the same for all connections of a page, also after one was lost.
        encode: see ``pictures.encode``.

    Attributes:
        looking: whether the page is visible.
        listening: whether it plays sound.
        own: what is published to this page only.
        sound: samples that wait for it.
        unread: messages sent that it has not confirmed.
        read_at: when it last confirmed one, or had none to confirm.
        woken: set when there may be something to send.
        sender: the task that sends.
    """

    def __init__(
        self,
        socket: web.WebSocketResponse,
        protocol: Any,
        name: str,
        encode: Callable[[Picture, Picture | None], bytes],
    ) -> None:
        self.socket, self.protocol = socket, protocol
        self.name, self.encode = name, encode
        self.looking, self.listening = True, False
        self.own: dict[str, Any] = {}
        self.sound: deque[bytes] = deque(maxlen=LONGEST_SOUND)
        self.unread, self.read_at = 0, time.monotonic()
        self.woken = asyncio.Event()
        self.sender: asyncio.Task[None]
        self._shows: dict[str, Any] = {}

    @property
    def present(self) -> bool:
        """Whether someone looks at it: it is visible and, as far as is known, still there."""
        silent = self.unread > 0 and time.monotonic() - self.read_at > SILENCE
        return self.looking and not silent

    async def send(self, message: bytes) -> None:
        """Send a message, which the page is going to confirm."""
        if not self.unread:
            self.read_at = time.monotonic()
        self.unread += 1
        await self.socket.send_bytes(message)

    def read(self) -> None:
        """Count a confirmation."""
        self.unread, self.read_at = max(self.unread - 1, 0), time.monotonic()
        self.woken.set()

    def message(self, document: Document) -> bytes:
        """Return what the page does not show yet; empty if there is nothing.

        The length of the JSON text as uint32, the text, then the bytes that it announces: its
        "pictures" {name: bytes} in this order, see ``encode``, and its "sound".
        """
        values, parts = {}, []
        lengths: dict[str, int] = {}
        for name, value in (document | self.own).items():  # type: ignore[operator]
            shown = self._shows.get(name)
            if isinstance(value, np.ndarray):
                if value is not shown:
                    parts.append(self.encode(value, shown))
                    lengths[name] = len(parts[-1])
            elif name not in self._shows or value != shown:
                values[name] = value
            self._shows[name] = value
        sound = b"".join(self.sound.popleft() for _ in range(len(self.sound)))
        if not (values or lengths or sound):
            return b""
        text = json.dumps(
            values | {"pictures": lengths, "sound": len(sound)}, separators=(",", ":")
        ).encode()
        return b"".join((LENGTH.pack(len(text)), text, *parts, sound))
