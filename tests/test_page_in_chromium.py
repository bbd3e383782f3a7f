"""The page in a real browser: keys, takeover, two viewers, a lost connection, curves, the button.

Needs ``chromium``: pytest -m browser tests/test_page_in_chromium.py
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path

import pytest

pytest.importorskip("aiohttp")
sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from chromium import Chromium
from page import served

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium"),
]
SNAPSHOT = str(Path("snapshots/pong_fast_40.safetensors").resolve())
PLAY = ["play", SNAPSHOT, "--display", "browser", "--open", "false", "--random_seed", "1"]
# The row of the top of Pong's right paddle.
PADDLE = """(() => {
  const pixels = new Uint32Array(pictures.screen.data.buffer), back = pixels[100 * 160 + 80];
  for (let row = 34; row < 194; row++) if (pixels[row * 160 + 141] !== back) return row;
})()"""


def test_playing_in_a_browser(in_tmp):
    async def play():
        async with Chromium() as page, served(PLAY, ".") as (process, url):
            await page.open(url)
            await page.until("(shown.status || '').includes('60 frames/s')")
            assert await page.run("document.getElementById('sound').hidden") is False
            await page.key("m")
            await page.until("shown.status.startsWith('you play')")
            await page.until("shown.keyboard === 'yours'")
            await page.until("audio.state === 'running' && heard.buffers > 5")
            before = await page.run(PADDLE)
            await page.key("ArrowDown", up=False)
            await page.until(f"{PADDLE} > {before} + 20")
            await page.key("ArrowDown", down=False)
            await page.key("ArrowUp", up=False)
            low = await page.run(PADDLE)
            await page.until(f"{PADDLE} < {low} - 20")
            await page.key("ArrowUp", down=False)
            await page.key("m")
            await page.until("shown.status.startsWith('the network plays')")
            await page.key("q")
            await page.until("document.querySelectorAll('#q .track').length === 6")
            await page.key("v")
            await page.until("pictures.state && pictures.state.width === 2 * 84 + 2")
            await page.key("h")
            await page.until("document.getElementById('help').textContent.includes('take over')")

            async with Chromium() as other:  # looks on
                await other.open(url)
                await other.key("m")
                await other.until("shown.keyboard === 'taken'")
                await other.until("document.body.textContent.includes('you are looking on')")
                assert await page.run("shown.status.startsWith('the network plays')")
                assert not other.log

            # Lost and found again, the game waits: no one is there.
            await page.send("Network.enable")
            await page.run("socket.close()")
            await page.until("socket.readyState === 1 && shown.status.includes('score')")
            await page.send("Page.navigate", url="about:blank")
            await asyncio.sleep(1)
            await page.open(url)
            await page.until("(shown.status || '').startsWith('the network plays')")
            await page.key("Escape")
            await page.until("shown.ended && shown.ended.includes('left early')")
            assert not page.log
            assert (await process.communicate())[0].decode().startswith("pong, game 1: score ")

    asyncio.run(asyncio.wait_for(play(), 110))


def test_a_killed_browser_leaves_the_game_as_it_is(in_tmp):
    async def play():
        async with served(PLAY, ".") as (process, url):
            async with Chromium() as first:
                await first.open(url)
                await first.key("m")
                await first.until("shown.status.startsWith('you play')")
                await first.key("ArrowUp", up=False)
                first.kill()
                await asyncio.sleep(2)
            assert process.returncode is None
            async with Chromium() as second:
                await second.open(url)
                await second.until("shown.keyboard === 'free' && shown.status")
                waiting = await second.run("shown.status.split('·')[1]")
                await asyncio.sleep(1)
                assert await second.run("shown.status.split('·')[1]") == waiting
                await second.key("m")
                await second.until("shown.status.startsWith('the network plays')")
                await second.key("Escape")
            await process.communicate()
            assert process.returncode == 0

    asyncio.run(asyncio.wait_for(play(), 110))


def test_touch(in_tmp):
    async def play():
        async with Chromium() as page, served(PLAY, ".") as (_, url):
            await page.look(400, 800, phone=True)
            await page.open(url)
            await page.until("(shown.status || '').includes('frames/s')")
            assert await page.run("getComputedStyle(document.getElementById('touch')).display") == (
                "grid"
            )
            touch = """(name, type) => document.querySelector(name).dispatchEvent(
                new PointerEvent(type, {pointerId: 1, bubbles: true, isPrimary: true}))"""
            await page.run("HTMLElement.prototype.setPointerCapture = () => {}")
            await page.run(f"({touch})('[data-key=m]', 'pointerdown')")
            await page.until("shown.status.startsWith('you play')")
            before = await page.run(PADDLE)
            await page.run(f"({touch})('[data-hold=DOWN]', 'pointerdown')")
            await page.until(f"{PADDLE} > {before} + 20")
            await page.run(f"({touch})('[data-hold=DOWN]', 'pointerup')")
            assert await page.run("document.documentElement.scrollWidth") <= 400
            assert not page.log

    asyncio.run(asyncio.wait_for(play(), 110))


def test_a_training_in_a_browser(in_tmp):
    train = [
        "train", "pong", "--preset", "fast", "--epochs", "500", "--train_steps", "400",
        "--test_steps", "200", "--random_steps", "400", "--replay_size", "2000", "--threads", "1",
        "--filters", "4", "--hidden_units", "16", "--page", "--open", "false",
    ]  # fmt: skip

    async def watch():
        async with Chromium() as page, served(train, ".") as (process, url):
            for width, phone in ((1600, False), (400, True)):
                await page.look(width, 900, phone=phone)
                await page.open(url)
                await page.until("shown.rows.filter(row => row.phase === 'test').length > 1", 60)
                await page.until("document.querySelectorAll('#charts canvas').length >= 4")
                await page.until("pictures.screen && pictures.screen.height === 210")
                facts = await page.run("document.getElementById('facts').textContent")
                assert "steps/s" in facts
                assert "left of the run" in facts
                options = await page.run("document.getElementById('options').textContent")
                assert "train_steps400" in options
                assert await page.run("document.documentElement.scrollWidth") <= width
            await page.key("m")  # no effect
            await page.run("document.getElementById('stop').click()")
            await page.until("document.getElementById('sure').open")
            await page.run("document.querySelector('#sure [value=stop]').click()")
            await page.until("shown.ended")
            await process.communicate()
            assert process.returncode == 130
            assert not page.log
            assert Path("snapshots/pong.checkpoint").exists()

    asyncio.run(asyncio.wait_for(watch(), 110))
