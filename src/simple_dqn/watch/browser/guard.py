"""Who may come in: the token, the names of this machine, and bounds on what comes."""

from __future__ import annotations

import ipaddress
import secrets
import socket
import time
from urllib.parse import urlsplit

LOCAL = {"localhost", "127.0.0.1", "::1"}
RATE, BURST = 200.0, 400.0  # messages a second from one page, and at once


class Guard:
    """Decides whether a request is let in.

    A page of another site can send requests to this machine, also under a name of its own that it
    has pointed here (DNS rebinding). So a request has the token, a name of this machine as its
    Host and, for the WebSocket, the page itself as its Origin.

    Args:
        host: that the server is bound to.

    Attributes:
        token: part of the address that is printed.
    """

    def __init__(self, host: str) -> None:
        self.token = secrets.token_urlsafe(16)
        self._open = host not in LOCAL  # to other machines
        self._names = LOCAL | {host.lower()}
        if self._open:
            name = socket.gethostname().lower()
            short = name.partition(".")[0]
            self._names |= {name, short, f"{short}.local", socket.getfqdn().lower()}

    def refusal(self, host: str, token: str, origin: str | None = None) -> str:
        """Return why a request is not let in, or an empty text.

        Args:
            host, origin: its headers; None: the Origin does not matter.
            token: the one in its address.
        """
        if not self._is_own(host):
            return "this is not an address of the server"
        if not secrets.compare_digest(token.encode(), self.token.encode()):
            return "the address needs the token: use the one that was printed"
        if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
            return "another site's page cannot connect"
        return ""

    def _is_own(self, host: str) -> bool:
        """Whether a Host header names this machine; its port may be that of a tunnel."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        if name in self._names:
            return True
        try:  # an address cannot be rebound, a name can
            return self._open and bool(ipaddress.ip_address(name))
        except ValueError:
            return False


class Allowance:
    """Bounds how many messages a page sends: RATE a second, BURST at once."""

    def __init__(self) -> None:
        self._left, self._time = BURST, time.monotonic()

    def take(self) -> bool:
        """Count a message; return whether it is within the bounds."""
        now = time.monotonic()
        self._left = min(self._left + (now - self._time) * RATE, BURST) - 1
        self._time = now
        return self._left >= 0
