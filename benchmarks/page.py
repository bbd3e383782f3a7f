"""The page in a real browser: pictures a second, delay of keys, sound, bytes, and what it costs.

    python benchmarks/page.py [--part play|bytes|train] [--seconds 60] [--rounds 5] [--json FILE]

play: Pong at normal speed in Chromium beside a process that computes all the time: pictures drawn
a second. Then the user takes over, and arrow keys are pressed at random times: milliseconds from
the key's event to the frame of the browser that shows the first picture of the action it chose, and
to the one in which the paddle has moved, which Pong itself needs 2 or 3 frames for. Breakout after
that: by how much its sound is behind the frame of the browser with its picture, and its amplitude.

bytes: a message's bytes and milliseconds for frames of some games, against PNG and raw pixels.

train: steps/s without a page, with one that no one looks at and with one viewer, turn by turn.

Needs the extra ``watch``, and ``chromium`` for play and train.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import csv
import json
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from ale_py import ALEInterface, LoggerMode

from simple_dqn.environments.games import find_rom
from simple_dqn.watch.browser.pictures import encode

sys.path.insert(0, str(Path(__file__).parent))
from chromium import Chromium

PARTS = ("play", "bytes", "train")
GAMES = ("pong", "breakout", "seaquest", "space_invaders", "riverraid", "skiing")
FRAMES = 600
PRESSES = 60
BUSY = "while True: pass"
# When a key is pressed; when the browser draws the first picture of its action, which is among the
# Q-values; and when Pong's right paddle (columns 140 to 143) is at another height than before.
DELAY = """
var chosen = [], moved = [], pressed = null, waiting = null, from = null;
const UP = shown.q.names.indexOf("RIGHT"), DOWN = shown.q.names.indexOf("LEFT");
const drawn = (since, list) =>
  requestAnimationFrame(now => list.push(Math.max(now, performance.now()) - since));
function height() {
  const picture = pictures.screen, pixels = new Uint32Array(picture.data.buffer);
  const back = pixels[100 * 160 + 80];
  for (let row = 34; row < 194; row++) if (pixels[row * 160 + 141] !== back) return row;
}
addEventListener("keydown", event => {
  if (!event.key.startsWith("Arrow") || event.repeat) return;
  pressed = event.timeStamp;
  waiting = {since: pressed, action: event.key === "ArrowUp" ? UP : DOWN};
  from = height();
}, true);
watchers.push(name => {
  if (name === "screen" && pressed !== null && height() !== from) {
    drawn(pressed, moved);
    pressed = null;
  }
});
const before = show.q;
show.q = q => {
  before(q);
  if (waiting && q && q.action === waiting.action) {
    drawn(waiting.since, chosen);
    waiting = null;
  }
};
"""
COUNT = """
new Promise(done => {
  let count = 0;
  const watch = name => { if (name === "screen") count += 1; };
  watchers.push(watch);
  setTimeout(() => done(count), SECONDS * 1000);
})
"""
LISTEN = """
var loudest = 0, behind = [];
const inner = play;
play = samples => {
  inner(samples);
  const start = end - samples.length / shown.rate / rate - audio.currentTime;
  const at = performance.now() + 1000 * (start + (audio.outputLatency || 0));
  requestAnimationFrame(now => behind.push(at - Math.max(now, performance.now())));
};
var analyser = audio.createAnalyser();
gain.connect(analyser);
setInterval(() => {
  const samples = new Float32Array(analyser.fftSize);
  analyser.getFloatTimeDomainData(samples);
  loudest = Math.max(loudest, ...samples.map(Math.abs));
}, 20);
"""


@contextlib.asynccontextmanager
async def served(command: list[str], folder: str) -> AsyncIterator[tuple[Any, str]]:
    """Start a command of simple-dqn; yield its process and the address that it prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "simple_dqn", *command, cwd=folder,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        found = None
        while found is None:
            line = (await process.stdout.readline()).decode()  # type: ignore[union-attr]
            assert line, f"{command} has ended"
            found = re.search(r"http://\S+", line)
        yield process, found[0]
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def play(seconds: int) -> dict[str, Any]:
    """Measure pictures, delay and sound."""
    busy = subprocess.Popen([sys.executable, "-c", BUSY])
    options = ["--display", "browser", "--open", "false", "--random_seed", "1"]
    found: dict[str, Any] = {}
    try:
        with tempfile.TemporaryDirectory() as folder:
            snapshot = str(Path("snapshots/pong_fast_40.safetensors").resolve())
            async with Chromium() as page, served(["play", snapshot, *options], folder) as (_, url):
                await page.look(1300, 900)
                await page.open(url)
                await asyncio.sleep(2)
                count = await page.run(COUNT.replace("SECONDS", str(seconds)))
                found["pictures_per_second"] = round(count / seconds, 1)
                await page.key("q")
                await page.key("m")
                await page.until("shown.q")
                await page.run(DELAY)
                rng = random.Random(1)
                for press in range(PRESSES):
                    await asyncio.sleep(0.4 + rng.random() * 0.3)
                    key = "ArrowUp" if press % 2 else "ArrowDown"
                    await page.key(key, up=False)
                    await asyncio.sleep(0.25)
                    await page.key(key, down=False)
                chosen, moved = await page.run("chosen"), await page.run("moved")
                found |= {
                    "presses": PRESSES, "seen": [len(chosen), len(moved)],
                    "key_to_picture_ms": summary(chosen), "key_to_paddle_ms": summary(moved),
                }  # fmt: skip
            snapshot = str(Path("snapshots/breakout_fast_40.safetensors").resolve())
            async with Chromium() as page, served(["play", snapshot, *options], folder) as (_, url):
                await page.open(url)
                await page.key("h")
                await page.until("audio && audio.state === 'running'")
                await page.run(LISTEN)
                await asyncio.sleep(min(seconds, 20))
                heard = await page.run("heard")
                latency = await page.run("audio.outputLatency || 0")
                behind = await page.run("behind")
                found["sound"] = {
                    "behind_picture_ms": summary(behind), "buffers": heard["buffers"],
                    "gaps": heard["gaps"], "dropped": heard["dropped"],
                    "loudest_of_1": round(await page.run("loudest"), 3),
                    "output_latency_ms": round(1000 * latency, 1),
                }  # fmt: skip
    finally:
        busy.kill()
        busy.wait()
    return found


def measure_bytes() -> dict[str, Any]:
    """Measure the size of frames, and the time to make them."""
    found: dict[str, Any] = {}
    ALEInterface.setLoggerMode(LoggerMode.Error)
    for game in GAMES:
        ale = ALEInterface()
        ale.setInt("random_seed", 1)
        ale.loadROM(str(find_rom(game)[1]))
        actions, rng, frames = ale.getMinimalActionSet(), random.Random(1), []
        for _ in range(FRAMES):
            ale.act(rng.choice(actions))
            frames.append(ale.getScreenRGB())
            if ale.game_over():
                ale.reset_game()
        stream = zlib.compressobj(1, zlib.DEFLATED, -15)  # as a WebSocket compresses

        def change(number: int, frames: Any = frames, stream: Any = stream) -> int:
            data = encode(frames[number], frames[number - 1])
            return len(stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH))

        def raw(number: int, frames: Any = frames) -> int:
            return len(zlib.compress(frames[number].tobytes(), 1))

        def png(number: int, frames: Any = frames) -> int:
            return len(cv2.imencode(".png", frames[number])[1])

        found[game] = {"raw": frames[0].nbytes}
        for kind in (change, png, raw):
            begun = time.perf_counter()
            sizes = [kind(number) for number in range(1, FRAMES)]
            spent = (time.perf_counter() - begun) / len(sizes)
            name = {"change": "changes", "raw": "raw_compressed"}.get(kind.__name__, "png")
            found[game][name] = {
                "bytes": round(statistics.mean(sizes)), "ms": round(1000 * spent, 2)
            }  # fmt: skip
    return found


async def train(rounds: int) -> dict[str, Any]:
    """Measure training with and without a page, turn by turn."""
    options = [
        "train", "breakout", "--preset", "fast", "--epochs", "1", "--random_steps", "2000",
        "--train_steps", "8000", "--test_steps", "0", "--random_seed", "1", "--no_checkpoint",
        "--replay_size", "20000",
    ]  # fmt: skip
    speeds: dict[str, list[float]] = {"without": [], "nobody": [], "viewer": []}
    async with Chromium() as page:
        for _ in range(rounds):
            for kind, found in speeds.items():
                with tempfile.TemporaryDirectory() as folder:
                    if kind == "without":
                        command = [sys.executable, "-m", "simple_dqn", *options]
                        subprocess.run(command, check=True, cwd=folder, capture_output=True)
                    else:
                        shown = [*options, "--page", "--open", "false"]
                        async with served(shown, folder) as (process, url):
                            if kind == "viewer":
                                await page.open(url)
                            await process.communicate()
                        await page.send("Page.navigate", url="about:blank")
                    with open(Path(folder) / "results/breakout.csv") as file:
                        rows = [row for row in csv.DictReader(file) if row["phase"] == "train"]
                    found.append(float(rows[-1]["steps_per_second"]))
                print(kind, found[-1], file=sys.stderr)
    ratios = {
        f"{kind}_over_without": [
            round(own / without, 3)
            for own, without in zip(speeds[kind], speeds["without"], strict=True)
        ]
        for kind in ("nobody", "viewer")
    }
    medians = {f"{name}_median": round(statistics.median(r), 3) for name, r in ratios.items()}
    whole = {kind: [round(rate) for rate in found] for kind, found in speeds.items()}
    return {"steps_per_second": whole, **ratios, **medians}


def summary(values: list[float]) -> dict[str, float]:
    """Return median and 95th percentile."""
    low, high = np.percentile(values, [50, 95])
    return {"median": round(float(low), 1), "95%": round(float(high), 1)}


def main() -> None:
    """Measure, print, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--part", choices=PARTS, help="default: all")
    parser.add_argument("--seconds", type=int, default=60, help="that pictures are counted")
    parser.add_argument("--rounds", type=int, default=5, help="of train")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    found = {}
    for part in (args.part,) if args.part else PARTS:
        if part == "play":
            found[part] = asyncio.run(play(args.seconds))
        elif part == "bytes":
            found[part] = measure_bytes()
        else:
            found[part] = asyncio.run(train(args.rounds))
    text = json.dumps(found, indent=2)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
