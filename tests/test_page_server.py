"""The page's server: who comes in, what they are sent, and that no one harms the program."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import socket
import struct
import time
import tracemalloc
from urllib.parse import urlsplit

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simple_dqn.errors import UsageError

aiohttp = pytest.importorskip("aiohttp")

from simple_dqn.watch.browser import pictures  # noqa: E402
from simple_dqn.watch.browser import server as module  # noqa: E402
from simple_dqn.watch.browser.guard import BURST, Allowance, Guard  # noqa: E402
from simple_dqn.watch.browser.pictures import HEADER, decode, encode  # noqa: E402
from simple_dqn.watch.browser.server import UNREAD, Server, bind  # noqa: E402

# --- pictures ---------------------------------------------------------------------------------


def test_a_picture_by_hand():
    before = np.zeros((3, 4, 3), np.uint8)
    after = before.copy()
    after[1, 1], after[2, 3] = (1, 2, 3), (9, 9, 9)
    box = (3, 4, 1, 1, 2, 3)  # rows, columns; top, left, rows, columns
    expected = HEADER.pack(*box, 2) + bytes([1, 2, 3, 9, 9, 9]) + bytes([1, 0, 0, 0, 0, 2])
    assert encode(after, before) == expected
    assert encode(after, after) == HEADER.pack(3, 4, 0, 0, 0, 0, 0)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([2, 5, 300, 1 << 24]),
    st.sampled_from([(), (3,)]),
    st.booleans(),
)
def test_pictures_arrive_as_they_were(seed, colours, channels, same_size):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 40, 2))
    every = rng.integers(0, 256, (colours % 1000 + 1, *channels), np.uint8)
    shown = None
    before = None
    for _ in range(4):
        picture = every[rng.integers(0, len(every), shape)]
        if before is not None and same_size:
            keep = rng.random(shape) < rng.random()
            picture[keep] = before[keep]
        shown = decode(encode(picture, before), shown)
        rgb = picture if channels else np.repeat(picture[:, :, None], 3, axis=2)
        np.testing.assert_array_equal(shown, rgb)
        before = picture
        if not same_size:
            shape = tuple(rng.integers(1, 40, 2))


# --- who comes in -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bound", "host", "allowed"),
    [
        ("127.0.0.1", "127.0.0.1:8421", True),
        ("127.0.0.1", "localhost:9000", True),  # a tunnel may have another port
        ("127.0.0.1", "LOCALHOST", True),
        ("127.0.0.1", "[::1]:8421", True),
        ("127.0.0.1", "evil.example:8421", False),  # DNS rebinding
        ("127.0.0.1", "127.0.0.1.evil.example", False),
        ("127.0.0.1", "192.168.0.5:8421", False),
        ("127.0.0.1", "", False),
        ("127.0.0.1", "[::1", False),
        ("0.0.0.0", "192.168.0.5:8421", True),
        ("0.0.0.0", "evil.example", False),
        ("0.0.0.0", socket.gethostname(), True),
        ("0.0.0.0", socket.gethostname().partition(".")[0] + ".local:8421", True),
    ],
)
def test_only_names_of_this_machine_are_let_in(bound, host, allowed):
    guard = Guard(bound)
    assert (guard.refusal(host, guard.token) == "") is allowed


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost:9000", True),
        ("https://localhost:9000", True),
        ("http://localhost:9001", False),
        ("http://evil.example", False),
        ("null", False),
        ("", False),
        ("file://localhost:9000", False),
        ("http://[", False),
    ],
)
def test_only_the_page_itself_connects(origin, allowed):
    guard = Guard("127.0.0.1")
    assert (guard.refusal("localhost:9000", guard.token, origin) == "") is allowed


def test_the_token_is_needed_and_secret():
    guard = Guard("127.0.0.1")
    assert len(guard.token) >= 20
    assert guard.token != Guard("127.0.0.1").token
    for wrong in ("", guard.token[:-1], guard.token + "x", "ü"):
        assert "token" in guard.refusal("localhost", wrong)


def test_messages_are_bounded():
    allowance = Allowance()
    taken = sum(allowance.take() for _ in range(10_000))
    assert BURST <= taken < BURST + 50


# --- what pages are sent ----------------------------------------------------------------------


@pytest.fixture
def server():
    server = Server("127.0.0.1", free_port(), {"mode": "play", "title": "a game"})
    yield server
    server.close()


@pytest.fixture
def impatient(monkeypatch):
    """Bounds of time that a test can wait for."""
    monkeypatch.setattr(module, "PATIENCE", 0.4)


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@contextlib.asynccontextmanager
async def page(server, name="", **headers):
    """A page that is connected."""
    url = server.url.replace("/?", "/socket?") + f"&page={name}"
    origin = headers.pop("Origin", "http://" + urlsplit(url).netloc)
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, headers={"Origin": origin, **headers}, max_msg_size=0) as ws,
    ):
        yield ws


def unpack(data):
    """Return (values, {picture: bytes}, sound) of a message."""
    (length,) = struct.unpack_from("<I", data)
    values = json.loads(data[4 : 4 + length])
    at, pictures = 4 + length, {}
    for name, size in values.pop("pictures").items():
        pictures[name], at = data[at : at + size], at + size
    sound = data[at:]
    assert len(sound) == values.pop("sound")
    return values, pictures, sound


async def receive(ws, read=True):
    message = await asyncio.wait_for(ws.receive(), 60)
    assert message.type == aiohttp.WSMsgType.BINARY, message
    if read and not ws.closed:
        with contextlib.suppress(ConnectionError):  # it may have been the last message
            await ws.send_json({"read": True})
    return unpack(message.data)


async def until(condition):
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen")


def test_a_page_is_sent_what_it_does_not_show_yet(server):
    first = np.zeros((4, 5, 3), np.uint8)
    second = first + np.uint8(7)

    async def look():
        server.publish({"score": 1, "screen": first})
        async with page(server) as ws:
            values, parts, _ = await receive(ws)
            assert values == {"mode": "play", "title": "a game", "score": 1}
            np.testing.assert_array_equal(decode(parts["screen"]), first)
            server.publish({"score": 2, "screen": second})
            values, parts, _ = await receive(ws)
            assert values == {"score": 2}
            np.testing.assert_array_equal(decode(parts["screen"], first), second)
            server.publish({"score": 2, "screen": second})  # nothing new
            server.publish({"title": "another"})
            assert await receive(ws) == ({"title": "another"}, {}, b"")
        async with page(server) as ws:  # found again: everything
            values, parts, _ = await receive(ws)
            assert values == {"mode": "play", "title": "another", "score": 2}
            np.testing.assert_array_equal(decode(parts["screen"]), second)

    asyncio.run(look())


def test_sound_goes_to_pages_that_play_it(server):
    async def listen():
        async with page(server) as quiet, page(server) as loud:
            await receive(quiet)
            await receive(loud)
            await loud.send_json({"listening": True})
            await until(lambda: any(viewer.listening for viewer in server.viewers))
            server.publish({"n": 1}, b"abc")
            assert await receive(quiet) == ({"n": 1}, {}, b"")
            assert await receive(loud) == ({"n": 1}, {}, b"abc")
            server.publish({}, b"defg")
            assert await receive(loud) == ({}, {}, b"defg")

    asyncio.run(listen())


def test_a_page_that_falls_behind_misses_what_is_between(server):
    async def look():
        async with page(server) as ws:
            await receive(ws, read=False)
            for number in range(1, 100):
                server.publish({"number": number})
                await asyncio.sleep(0.002)
            seen = [(await receive(ws, read=False))[0]["number"] for _ in range(UNREAD - 1)]
            assert seen == sorted(seen)
            assert not server.watched
            await ws.send_json({"read": True})  # one message more: the newest
            assert (await receive(ws))[0] == {"number": 99}

    asyncio.run(look())


def test_nothing_is_sent_to_a_page_that_is_hidden(server):
    async def look():
        async with page(server) as ws:
            await receive(ws)
            assert server.watched
            await ws.send_json({"looking": False})
            await until(lambda: not server.watched)
            for number in range(50):
                server.publish({"number": number})
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(ws.receive(), 0.2)

    asyncio.run(look())
    server.publish({"number": 51})


def test_a_page_that_never_reads_is_dropped(impatient, server):
    rng = np.random.default_rng(0)

    async def look():
        async with page(server) as ws:
            await until(lambda: len(server.viewers) == 1)
            begun = time.monotonic()
            while server.viewers and time.monotonic() - begun < 10:
                server.publish({"screen": rng.integers(0, 256, (300, 300, 3), np.uint8)})
                await asyncio.sleep(0.01)
            assert not server.viewers
            assert ws is not None

    asyncio.run(look())


def test_a_picture_that_cannot_be_sent_ends_only_that_page(server, caplog):
    async def look():
        async with page(server) as ws:
            await receive(ws)
            server.publish({"screen": np.zeros((5, 5, 4), np.uint8)})
            assert (await ws.receive()).type != aiohttp.WSMsgType.BINARY
        await until(lambda: not server.viewers)
        server.publish({"screen": np.zeros((5, 5, 3), np.uint8)})
        async with page(server) as ws:
            assert "screen" in (await receive(ws))[1]

    with caplog.at_level(logging.WARNING):
        asyncio.run(look())
    assert "a page was dropped" in caplog.text


def test_a_picture_is_encoded_once_for_all_pages(server, monkeypatch):
    encoded = []
    monkeypatch.setattr(pictures, "encode", lambda *args: encoded.append(args) or encode(*args))

    async def look():
        async with page(server) as first, page(server) as second:
            for step in range(5):
                server.publish({"screen": np.full((5, 5, 3), step, np.uint8)})
                for ws in (first, second):
                    while "screen" not in (await receive(ws))[1]:
                        pass

    asyncio.run(look())
    assert len(encoded) == 5


def test_the_last_values_arrive_before_the_end():
    server = Server("127.0.0.1", free_port(), {})
    server.publish({"score": 1})

    async def look():
        async with page(server) as ws:
            assert (await receive(ws))[0] == {"score": 1}
            await asyncio.to_thread(server.close, {"ended": "the end"})
            assert (await receive(ws, read=False))[0] == {"ended": "the end"}
            assert (await ws.receive()).type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)

    asyncio.run(look())
    server.close()  # again
    server.publish({"score": 2})


def test_the_page_is_one_file_that_names_no_other(server):
    async def get():
        async with aiohttp.ClientSession() as session, session.get(server.url) as answer:
            return await answer.text(), answer.headers

    text, headers = asyncio.run(get())
    assert "<canvas" in text
    assert "/*uPlot" not in text
    assert "NONCE" not in text
    assert not any(f'{attribute}="http' in text for attribute in ("src", "href"))
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"


# --- ports ------------------------------------------------------------------------------------


def test_a_port_that_is_taken(server):
    port = urlsplit(server.url).port
    with pytest.raises(UsageError, match=f"cannot have port {port} of 127.0.0.1 .*another one"):
        bind("127.0.0.1", port)
    with pytest.raises(UsageError, match=r"--host 'no\.such\.host\.invalid' is no address here"):
        bind("no.such.host.invalid", 0)
    with pytest.raises(UsageError, match="is not an address of this machine"):
        bind("192.0.2.1", 0)
    first, second = bind("127.0.0.1", 0), bind("127.0.0.1", 0)
    assert first.getsockname()[1] != second.getsockname()[1]
    first.close()
    second.close()


# --- hostile messages -------------------------------------------------------------------------


async def raw(server, data, wait=0.0):
    """Send bytes to the server's port."""
    address = urlsplit(server.url)
    try:
        _, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(data)
        await asyncio.sleep(wait)
        writer.close()
    except OSError:
        pass


async def refused(server, url, **headers):
    """Try to connect a WebSocket; it must be refused."""
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as error:
            await session.ws_connect(url, headers=headers)
        assert error.value.status == 403


async def sent(server, message):
    """Send a message as a page; it must be dropped for it."""
    async with page(server) as ws:
        await ws.receive()
        if isinstance(message, bytes):
            await ws.send_bytes(message)
        else:
            await ws.send_str(message)
        while (await asyncio.wait_for(ws.receive(), 5)).type == aiohttp.WSMsgType.BINARY:
            pass
        assert ws.close_code in (1006, 1008, 1009)


BAD = [
    "", "x", "[]", "null", "1", '"read"', "{}", '{"read": 1}', '{"looking": 1}', '{"down": 1}',
    '{"stop": true}', '{"key": "long"}', '{"down": "SIDEWAYS"}', "[" * 200, '{"a":' * 40, b"\x00",
    '{"key": "' + "a" * 100_000 + '"}', '{"read": NaN}', "\ud800".encode("utf-8", "replace"),
]  # fmt: skip


async def attack(server, count, rng):
    """Send ``count`` hostile messages of all kinds."""
    url = server.url.replace("/?", "/socket?")
    own = "http://" + urlsplit(url).netloc
    for number in range(count):
        kind = number % 8
        if kind == 0:
            await raw(server, rng.bytes(int(rng.integers(1, 5000))))
        elif kind == 1:
            await raw(server, b"GET / HTTP/1.1\r\n" + rng.bytes(300) + b"\r\n\r\n")
        elif kind == 2:
            await raw(server, b"GET /socket HTTP/1.1\r\nHost: localhost\r\n")  # half-open
        elif kind == 3:
            await refused(server, url[:-3], Origin=own)
        elif kind == 4:
            await refused(server, url, Origin="http://evil.example")
        elif kind == 5:
            await refused(server, url, Origin=own, Host="evil.example")
        elif kind == 6:
            await raw(
                server, b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n"
            )
        else:
            await sent(server, BAD[int(rng.integers(len(BAD)))])


ATTACKS = int(os.environ.get("ATTACKS", "400"))


@pytest.mark.timeout(600)
def test_hostile_messages_have_no_effect(impatient, server, caplog, capfd):
    server.on_message = refuse
    rng = np.random.default_rng(1)

    async def both():
        async with page(server) as ws:  # one that behaves
            seen = []

            async def keep_reading():
                while True:
                    seen.append((await receive(ws))[0])

            reader = asyncio.create_task(keep_reading())
            await attack(server, ATTACKS // 4, rng)
            gc.collect()
            tracemalloc.start()
            await attack(server, ATTACKS, rng)
            gc.collect()
            grown = tracemalloc.get_traced_memory()[0]
            tracemalloc.stop()
            assert grown < 2_000_000
            server.publish({"still": "here"})
            await until(lambda: {"still": "here"} in seen)
            reader.cancel()
        await until(lambda: not server.viewers)

    with caplog.at_level(logging.WARNING):
        asyncio.run(both())
    assert not [record for record in caplog.records if record.name != "asyncio"]
    assert "Traceback" not in capfd.readouterr().err


def refuse(viewer, message):
    raise ValueError


def test_half_open_sockets_are_closed_and_too_many_refused(impatient, server):
    address = urlsplit(server.url)

    async def open_many():
        streams = [
            await asyncio.open_connection(address.hostname, address.port)
            for _ in range(module.MOST_CONNECTIONS + 30)
        ]
        for _, writer in streams:
            writer.write(b"GET / HT")
        await asyncio.sleep(0.1)
        assert len(server._http.connections) <= module.MOST_CONNECTIONS
        await until(lambda: not server._http.connections)
        for _, writer in streams:
            writer.close()
        async with page(server) as ws:
            await receive(ws)

    asyncio.run(open_many())


def test_no_more_pages_than_the_bound(server, monkeypatch):
    monkeypatch.setattr(module, "MOST_VIEWERS", 2)
    url = server.url.replace("/?", "/socket?")

    async def connect():
        async with page(server), page(server):
            await refused(server, url, Origin="http://" + urlsplit(url).netloc)
        for _ in range(50):
            async with page(server) as ws:
                await receive(ws)
        await until(lambda: not server.viewers)

    asyncio.run(connect())
