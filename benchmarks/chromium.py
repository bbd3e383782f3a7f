"""A real browser without a window, driven by the DevTools protocol. Needs ``chromium``."""

from __future__ import annotations

import asyncio
import base64
import itertools
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import aiohttp

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--remote-debugging-port=0", "--autoplay-policy=user-gesture-required",
)  # fmt: skip
KEYS = {
    "ArrowUp": 38, "ArrowDown": 40, "ArrowLeft": 37, "ArrowRight": 39, " ": 32, "Escape": 27
}  # fmt: skip


class Chromium:
    """A browser with one page; use it with ``async with``.

    Attributes:
        log: what the page has written to its console, and its errors.
    """

    def __init__(self) -> None:
        self.log: list[str] = []
        self._numbers = itertools.count()
        self._answers: dict[int, asyncio.Future[Any]] = {}

    async def __aenter__(self) -> Chromium:
        self._folder = tempfile.mkdtemp()
        program = shutil.which("chromium") or shutil.which("chromium-browser") or "chromium"
        self._process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={self._folder}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        file = Path(self._folder) / "DevToolsActivePort"
        while not (file.exists() and "\n" in file.read_text()):
            await asyncio.sleep(0.05)
        port = file.read_text().split()[0]
        self._session = aiohttp.ClientSession()
        pages: list[Any] = []
        while not pages:
            async with self._session.get(f"http://127.0.0.1:{port}/json") as answer:
                pages = [target for target in await answer.json() if target["type"] == "page"]
        address = pages[0]["webSocketDebuggerUrl"]
        self._socket = await self._session.ws_connect(address, max_msg_size=0)
        self._reader = asyncio.create_task(self._read())
        for domain in ("Page", "Runtime", "Log"):
            await self.send(f"{domain}.enable")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reader.cancel()
        await self._socket.close()
        await self._session.close()
        self.kill()

    def kill(self) -> None:
        """End the browser at once."""
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _read(self) -> None:
        async for message in self._socket:
            answer = message.json()
            if "id" in answer:
                self._answers.pop(answer["id"]).set_result(answer)
            elif answer["method"] in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.log.append(str(answer["params"])[:500])

    async def send(self, method: str, **params: Any) -> Any:
        """Call a method of the protocol; return its result."""
        number = next(self._numbers)
        answered = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        answer = await answered
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer.get("result")

    async def open(self, url: str) -> None:
        """Open a page."""
        await self.send("Page.navigate", url=url)
        await self.until("typeof shown === 'object' && 'mode' in shown")

    async def run(self, code: str) -> Any:
        """Run JavaScript on the page; return its value, of a promise when it is fulfilled."""
        result = await self.send(
            "Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in result:
            raise RuntimeError(str(result["exceptionDetails"])[:500])
        return result["result"].get("value")

    async def until(self, condition: str, seconds: float = 20) -> None:
        """Wait until a condition in JavaScript is true."""
        for _ in range(int(seconds * 20)):
            if await self.run(condition):
                return
            await asyncio.sleep(0.05)
        values = await self.run("typeof shown === 'object' ? JSON.stringify(shown) : ''")
        raise TimeoutError(f"{condition}; the page has {values:.1000}")

    async def key(self, key: str, down: bool = True, up: bool = True) -> None:
        """Press a key, release it, or both."""
        code = KEYS.get(key) or ord(key.upper())
        text = {"text": key} if len(key) == 1 else {}
        if down:
            await self.send(
                "Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code,
                **text,
            )  # fmt: skip
        if up:
            await self.send(
                "Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code
            )

    async def look(self, width: int, height: int, dark: bool = False, phone: bool = False) -> None:
        """Set the size of the page, its colours, and whether it is touched."""
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
            mobile=phone,
        )  # fmt: skip
        await self.send("Emulation.setTouchEmulationEnabled", enabled=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.send("Emulation.setEmulatedMedia", features=[scheme])

    async def picture(self, path: Path) -> None:
        """Write a PNG of the page."""
        result = await self.send("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(result["data"]))
