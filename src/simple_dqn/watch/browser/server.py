"""Server: shows pages what the program publishes, and passes on what they send."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web
from aiohttp.http import HttpProcessingError

from simple_dqn.errors import UsageError
from simple_dqn.watch.browser.guard import Allowance, Guard
from simple_dqn.watch.browser.pictures import Encoder
from simple_dqn.watch.browser.viewer import Document, Viewer

FIRST_PORT, PORTS = 8421, 20
MOST_VIEWERS, MOST_CONNECTIONS = 32, 128
PATIENCE = 20.0  # seconds for a request, for reading a message, for answering a ping
LONGEST_MESSAGE = 256  # bytes, from a page
LONGEST_NAME = 32
UNREAD = 12  # messages that a page may be behind: 0.2 s of 60 pictures a second
GOODBYE = 1.0  # seconds for the last message
POLICY = (
    "default-src 'none'; script-src 'nonce-{0}'; style-src 'nonce-{0}'; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

logger = logging.getLogger(__name__)
# Anyone can send what is no request: nothing to report.
logger.addFilter(lambda record: not isinstance((record.exc_info or [0, 0])[1], HttpProcessingError))


class Server:
    """Serves a page in a thread of its own; the program never waits for it.

    Args:
        host: address to listen on.
        port: 0 for the first free one from FIRST_PORT on.
        document: what pages show at first.

    Attributes:
        url: address of the page, with the token.
        viewers: the pages that are connected.
        encoder: of its pictures.
        on_message: called in the server's thread with a viewer and its message, a dict. It raises
            ValueError if there is no such message: then the page is dropped.
        on_join: called in the server's thread with a viewer that has come, before the connection
            that it replaces, if any, is ended.
        on_leave: called in the server's thread with a viewer that has gone.

    Raises:
        UsageError: the address or the port cannot be had.
    """

    def __init__(self, host: str, port: int, document: Document) -> None:
        self.viewers: tuple[Viewer, ...] = ()
        self.on_message: Callable[[Viewer, dict[str, Any]], None] = lambda viewer, message: None
        self.on_join: Callable[[Viewer], None] = lambda viewer: None
        self.on_leave: Callable[[Viewer], None] = lambda viewer: None
        self.encoder = Encoder()
        self._document = dict(document)
        self._guard = Guard(host)
        self._admitted: set[Any] = set()  # protocols of WebSockets
        self._ending = False
        self._socket = bind(host, port)
        self.url = self._address(host, self._socket.getsockname()[1])
        folder = Path(__file__).parent / "page"
        charts = (folder / "uPlot.iife.min.js").read_text()
        look = (folder / "uPlot.min.css").read_text()
        self._page = (folder / "page.html").read_text()
        self._page = self._page.replace("/*uPlot.js*/", charts).replace("/*uPlot.css*/", look)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)
        self._thread.start()

    def publish(self, document: Document, sound: bytes = b"") -> None:
        """Show pages these values, and play them 8-bit sound. Values are not changed later."""
        self._document = self._document | dict(document)
        for viewer in self.viewers:
            if sound and viewer.listening:
                viewer.sound.append(sound)
        self.wake()

    def wake(self) -> None:
        """Send what has changed."""
        with contextlib.suppress(RuntimeError):  # the thread has ended
            self._loop.call_soon_threadsafe(self._wake)

    @property
    def watched(self) -> bool:
        """Whether someone looks, and keeps up."""
        return any(viewer.present and viewer.unread < UNREAD for viewer in self.viewers)

    def close(self, last: Document | None = None) -> None:
        """Show pages the ``last`` values and end."""
        if self._thread.is_alive():
            self.publish(last or {})
            ended = asyncio.run_coroutine_threadsafe(self._end(), self._loop)
            with contextlib.suppress(Exception):
                ended.result(2 * GOODBYE)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(2 * GOODBYE)

    # --- in the server's thread ---------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        self._loop.run_forever()
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.close()

    async def _start(self) -> None:
        app = web.Application(client_max_size=LONGEST_MESSAGE)
        app.router.add_get("/", self._send_page)
        app.router.add_get("/socket", self._connect)
        self._runner = web.AppRunner(
            app, access_log=None, logger=logger, keepalive_timeout=PATIENCE, lingering_time=0
        )
        await self._runner.setup()
        assert self._runner.server is not None
        self._http = self._runner.server
        self._server = await self._loop.create_server(self._accept, sock=self._socket)
        self._sweeper = self._loop.create_task(self._sweep())  # kept: loops do not

    def _accept(self) -> asyncio.Protocol:
        """Return the protocol of a new connection; it ends at once if there are too many."""
        protocol = self._http()
        self._loop.call_later(0, self._bound, protocol)
        return protocol

    def _bound(self, protocol: Any) -> None:
        if len(self._http.connections) > MOST_CONNECTIONS:
            hang_up(protocol)

    async def _sweep(self) -> None:
        """End connections that have not become a WebSocket within PATIENCE, or twice that."""
        before: set[Any] = set()
        while True:
            await asyncio.sleep(PATIENCE)
            idle = set(self._http.connections) - self._admitted
            for protocol in idle & before:
                hang_up(protocol)
            before = idle

    async def _send_page(self, request: web.Request) -> web.Response:
        refusal = self._guard.refusal(request.host, request.query.get("token", ""))
        if refusal:
            return web.Response(status=403, text=f"{refusal}\n", headers=HEADERS)
        nonce = secrets.token_urlsafe(16)
        return web.Response(
            text=self._page.replace("NONCE", nonce), content_type="text/html",
            headers=HEADERS | {"Content-Security-Policy": POLICY.format(nonce)},
        )  # fmt: skip

    async def _connect(self, request: web.Request) -> web.StreamResponse:
        """Exchange messages with a page until it leaves, or does not read what it is sent."""
        origin = request.headers.get("Origin", "")
        refusal = self._guard.refusal(request.host, request.query.get("token", ""), origin)
        if not refusal and len(self.viewers) >= MOST_VIEWERS:
            refusal = f"{MOST_VIEWERS} pages are connected already"
        if refusal:
            return web.Response(status=403, text=f"{refusal}\n", headers=HEADERS)
        ws = web.WebSocketResponse(heartbeat=PATIENCE, max_msg_size=LONGEST_MESSAGE)
        if not ws.can_prepare(request):
            return web.Response(status=400, text="a WebSocket is expected here\n", headers=HEADERS)
        await ws.prepare(request)
        name = request.query.get("page", "")[:LONGEST_NAME]
        viewer = Viewer(ws, request.protocol, name, self.encoder)
        lost = [other for other in self.viewers if other.name == name != ""]
        self._admitted.add(request.protocol)
        self.viewers += (viewer,)
        self.on_join(viewer)
        for other in lost:  # of the same page, which has noticed first that it was cut off
            hang_up(other.protocol)
        viewer.sender = self._loop.create_task(self._send(viewer))
        try:
            await self._receive(viewer)
        finally:
            viewer.sender.cancel()
            self.viewers = tuple(other for other in self.viewers if other is not viewer)
            self._admitted.discard(request.protocol)
            self.on_leave(viewer)
        return ws

    async def _receive(self, viewer: Viewer) -> None:
        allowance = Allowance()
        async for message in viewer.socket:
            try:
                if not allowance.take() or message.type != WSMsgType.TEXT:
                    raise ValueError
                self._handle(viewer, json.loads(message.data))
            except (ValueError, RecursionError):
                await viewer.socket.close(code=WSCloseCode.POLICY_VIOLATION)

    def _handle(self, viewer: Viewer, message: Any) -> None:
        """Handle a message. Raises ValueError if there is no such message."""
        match message:
            case {"read": True}:
                viewer.read()
            case {"looking": bool(looking)}:
                viewer.looking = looking
                viewer.woken.set()
            case {"listening": bool(listening)}:
                viewer.listening = listening
            case dict():
                self.on_message(viewer, message)
            case _:
                raise ValueError

    async def _send(self, viewer: Viewer) -> None:
        """Send a page what is published, as fast as it reads; drop it if it does not."""
        try:
            while True:
                viewer.woken.clear()  # before anything is read: what changes later wakes again
                ending = self._ending
                behind = viewer.unread >= UNREAD and not ending
                if not behind and (message := viewer.message(self._document)):
                    await asyncio.wait_for(viewer.send(message), PATIENCE)
                if ending:
                    await viewer.socket.close()
                    return
                if behind and time.monotonic() - viewer.read_at > PATIENCE:
                    break
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(viewer.woken.wait(), PATIENCE if behind else None)
        except (asyncio.TimeoutError, ConnectionError):
            pass
        except Exception as error:
            logger.warning("a page was dropped: %s: %s", type(error).__name__, error)
        hang_up(viewer.protocol)

    def _wake(self) -> None:
        for viewer in self.viewers:
            if viewer.looking:
                viewer.woken.set()

    async def _end(self) -> None:
        self._ending = True
        for viewer in self.viewers:
            viewer.woken.set()
        senders = [viewer.sender for viewer in self.viewers]
        if senders:
            await asyncio.wait(senders, timeout=GOODBYE)
        self._server.close()
        await self._runner.cleanup()

    def _address(self, host: str, port: int) -> str:
        if host in ("0.0.0.0", "::"):
            host = own_address()
        name = f"[{host}]" if ":" in host else host
        return f"http://{name}:{port}/?token={self._guard.token}"


def hang_up(protocol: Any) -> None:
    """End a connection at once, without sending what is left."""
    if protocol.transport is not None:
        protocol.transport.abort()


def bind(host: str, port: int) -> socket.socket:
    """Return a socket bound to the first address that ``host`` means, and a port; 0: see Server.

    Raises:
        UsageError: the host has no address here, or the port is taken.
    """
    for candidate in (port,) if port else range(FIRST_PORT, FIRST_PORT + PORTS):
        try:
            family = socket.AF_INET if host == "localhost" else 0
            found = socket.getaddrinfo(host, candidate, family, type=socket.SOCK_STREAM)
            return _listen(*found[0])
        except socket.gaierror as error:
            raise UsageError(f"--host '{host}' is no address here: {error.strerror}") from None
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise UsageError(f"--host '{host}' is not an address of this machine") from None
            problem = error.strerror or str(error)
    wanted = f"port {port}" if port else f"ports {FIRST_PORT} to {FIRST_PORT + PORTS - 1}"
    raise UsageError(f"the page cannot have {wanted} of {host} ({problem}): give another one")


def _listen(family: int, kind: int, proto: int, _: str, address: Any) -> socket.socket:
    sock = socket.socket(family, kind, proto)
    try:
        if os.name == "posix":  # otherwise a port stays taken for a minute after a run
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen()
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def own_address() -> str:
    """Return the address of this machine in its network, or its name."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("192.0.2.1", 9))  # for documentation only; nothing is sent
        return str(sock.getsockname()[0])
    return socket.gethostname()
