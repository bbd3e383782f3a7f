"""A game and a training on a page: keyboard, sound, and that a run does not change."""

from __future__ import annotations

import asyncio
import csv
import functools
import os
import signal
import subprocess
import sys
import threading
import time
import webbrowser
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("aiohttp")

from simple_dqn.environments import games
from simple_dqn.environments.parallel import ParallelEnvironment
from simple_dqn.main import main
from simple_dqn.options.option import value_text
from simple_dqn.options.presets import PRESETS
from simple_dqn.options.resolve import changed_options, resolve
from simple_dqn.statistics import TIME_COLUMNS, Statistics
from simple_dqn.watch.browser import opening, viewer
from simple_dqn.watch.browser.display import Browser, tiled
from simple_dqn.watch.browser.pictures import decode
from simple_dqn.watch.browser.run_page import RunPage, duration, number
from simple_dqn.watch.displays import open_display
from simple_dqn.watch.scene import BACKGROUND, QMeter, Scene
from tests.conftest import TapeEnvironment
from tests.test_page_server import free_port, page, receive, until


@pytest.fixture
def browser():
    display = Browser("a game", "127.0.0.1", free_port())
    yield display
    display.close()


def test_the_first_page_with_a_key_has_the_keyboard(browser):
    async def play():
        async with page(browser.server) as first, page(browser.server) as second:
            assert browser.attended(manual=False)
            assert not browser.attended(manual=True)
            await first.send_json({"down": "LEFT"})
            await until(lambda: browser.attended(manual=True))
            await second.send_json({"down": "RIGHT"})
            await second.send_json({"key": "m"})
            await first.send_json({"key": "M"})
            await until(lambda: browser._keys)
            assert browser.keys() == ["m"]
            assert browser.keys() == []
            assert browser.joystick() == {"LEFT"}
            assert browser.joystick() == {"LEFT"}  # held
            await first.send_json({"up": "LEFT"})
            await first.send_json({"down": "3"})
            await first.send_json({"up": "3"})
            await first.send_json({"down": "UP"})
            await until(lambda: browser._held == {"UP"})
            assert browser.joystick() == {"UP", "3"}  # tapped in between
            assert browser.joystick() == {"UP"}
            assert {viewer.own["keyboard"] for viewer in browser.server.viewers} == {
                "yours", "taken"
            }  # fmt: skip
            await first.close()  # lost: nothing stays held, and the next one can have it
            await until(lambda: not browser.attended(manual=True))
            assert browser.joystick() == set()
            assert browser.server.viewers[0].own == {"keyboard": "free"}
            await second.send_json({"down": "FIRE"})
            await until(lambda: browser.joystick() == {"FIRE"})
            await second.send_json({"release": True})
            await until(lambda: browser.joystick() == set())

    asyncio.run(play())
    assert not browser.attended(manual=False)


def test_a_page_that_falls_silent_plays_no_more(browser, monkeypatch):
    monkeypatch.setattr(viewer, "SILENCE", 0.2)

    async def play():
        async with page(browser.server, "me") as lost, page(browser.server, "other") as other:
            await lost.send_json({"down": "LEFT"})
            await until(lambda: browser.joystick() == {"LEFT"})
            browser.server.publish({"number": 1})  # neither confirms it
            await asyncio.sleep(0.3)
            assert not browser.attended(manual=True)
            assert not browser.attended(manual=False)
            assert browser.joystick() == set()
            async with page(browser.server, "me") as back:  # the same page: it still plays
                await until(lambda: browser.attended(manual=True))
                await until(lambda: len(browser.server.viewers) == 2)
                assert (await receive(back))[0]["keyboard"] == "yours"
                await other.send_json({"down": "RIGHT"})
                await back.send_json({"down": "UP"})
                await until(lambda: browser.joystick() == {"UP"})
                await back.send_json({"looking": False})  # the game waits for a hidden page, too
                await until(lambda: not browser.attended(manual=True))

    asyncio.run(play())


def test_a_page_is_invited_to_play(browser):
    async def look():
        browser.offer(["NOOP", "FIRE", "jump"], {"UP": "FIRE"}, ["m", "Esc"])
        async with page(browser.server) as ws:
            values, _, _ = await receive(ws)
            assert values["parts"] == ["FIRE", "UP"]
            assert values["numbers"] == [[2, "jump"]]
            assert values["keys"] == ["m", "escape"]
            assert not browser.attended(manual=True)
            assert "to play" in (await receive(ws))[0]["invitation"]
            await ws.send_json({"down": "FIRE"})
            await until(lambda: browser.attended(manual=True))
            told = {}
            while "invitation" not in told:
                told |= (await receive(ws))[0]
            assert told["invitation"] == ""

    asyncio.run(look())


def test_a_scene_on_the_page(browser):
    screen = np.random.default_rng(0).integers(0, 9, (5, 4, 3), np.uint8)
    q = QMeter(["NOOP", "FIRE"]).read(np.array([0.5, 1.0], np.float32), 0)
    state = np.arange(4 * 2 * 3, dtype=np.uint8).reshape(4, 2, 3)

    async def look():
        speaker = browser.open_speaker(30720)
        async with page(browser.server) as ws:
            values, _, _ = await receive(ws)
            assert (values["rate"], values["volume"]) == (30720, 1)
            await ws.send_json({"listening": True})
            await until(lambda: browser.server.viewers[0].listening)
            speaker.play(np.arange(8, dtype=np.uint8), 16 / 30720)  # half speed
            browser.draw(Scene(screen, 1.75, "you play", q, state, (("m", "take over"),)))
            values, pictures, sound = await receive(ws)
            assert values["status"] == "you play"
            assert values["aspect"] == 1.75
            assert values["help"] == [["m", "take over"]]
            assert values["frames"] == 4
            assert values["q"] == {
                "names": ["NOOP", "FIRE"], "texts": ["0.500", "1.000"], "lengths": [0.02, 1.0],
                "action": 0, "span": "0.5",
            }  # fmt: skip
            np.testing.assert_array_equal(decode(pictures["screen"]), screen)
            assert sound == bytes(np.repeat(np.arange(8, dtype=np.uint8), 2))
            seen = decode(pictures["state"])[:, :, 0]
            np.testing.assert_array_equal(seen, tiled(state))
            speaker.change_volume(-0.25)
            assert (await receive(ws))[0] == {"volume": 0.75}

    asyncio.run(look())


def test_the_frames_of_a_state_are_side_by_side():
    state = np.arange(3 * 2 * 2, dtype=np.uint8).reshape(3, 2, 2)
    g = BACKGROUND
    assert tiled(state).tolist() == [
        [0, 1, g, g, 4, 5],
        [2, 3, g, g, 6, 7],
        [g, g, g, g, g, g],
        [g, g, g, g, g, g],
        [8, 9, g, g, g, g],
        [10, 11, g, g, g, g],
    ]
    assert tiled(state[:1]).tolist() == [[0, 1], [2, 3]]


def test_auto_is_the_browser_where_there_is_nothing_else(monkeypatch, capsys):
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    display = open_display("auto", "a game")
    assert isinstance(display, Browser)
    assert "the game is at http://127.0.0.1:" in capsys.readouterr().out
    display.close()


SMALL = (
    "--epochs", "2", "--train_steps", "400", "--test_steps", "200", "--random_steps", "300",
    "--replay_size", "2000", "--threads", "1", "--random_seed", "3", "--open", "false",
)  # fmt: skip


TINY = ("--filters", "4", "--hidden_units", "16")


class Watching(threading.Thread):
    """Pages that look at whatever is served at a port, and come back when they are dropped."""

    def __init__(self, monkeypatch):
        super().__init__()
        self.servers, self.messages, self.ended = [], [], threading.Event()
        begin = RunPage.__init__

        def remember(page, *args, **kwargs):
            begin(page, *args, **kwargs)
            self.servers.append(page.server)

        monkeypatch.setattr(RunPage, "__init__", remember)
        self.start()

    def run(self):
        asyncio.run(self._look())

    async def _look(self):
        while not self.ended.is_set():
            if self.servers:
                try:
                    async with page(self.servers[-1]) as ws:
                        while True:
                            self.messages.append(await receive(ws))
                except Exception:  # the run has ended
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "game",
    [
        ["pong", *TINY, "--num_envs", "4", "--test_envs", "2", "--test_workers", "2"],
        ["breakout", *TINY, "--num_envs", "4", "--workers", "2", "--test_workers", "0"],
        ["CartPole-v1"],
    ],
)
def test_a_run_on_a_page_is_the_same_run(in_tmp, monkeypatch, game):
    plain = [*game[:1], "plain", *game[1:], *[o for o in SMALL if o not in ("--open", "false")]]
    assert main(["train", *plain]) == 0
    watching = Watching(monkeypatch)
    try:
        shown = [*game[:1], "shown", *game[1:], *SMALL, "--page", str(free_port())]
        assert main(["train", *shown]) == 0
    finally:
        watching.ended.set()
        watching.join()
    rows = []
    for name in ("plain", "shown"):
        with open(f"results/{game[0]}_{name}.csv") as file:
            rows.append(list(csv.DictReader(file)))
        for row in rows[-1]:
            for column in TIME_COLUMNS:
                del row[column]
    assert rows[0] == rows[1]
    for end in ("2.safetensors", "2.resume"):
        first, second = (
            Path(f"snapshots/{game[0]}_{name}_{end}").read_bytes() for name in ("plain", "shown")
        )
        assert first == second
    told = {}
    for values, _, _ in watching.messages:
        told |= values
    assert told["ended"]
    assert [(row["epoch"], row["phase"]) for row in told["rows"]] == [
        (0, "random"), (1, "train"), (1, "test"), (2, "train"), (2, "test")
    ]  # fmt: skip
    assert told["rows"][-1]["meanq"] == float(rows[1][-1]["meanq"])
    assert ["epochs", "2"] in told["changed"]
    pictures = [part["screen"] for _, part, _ in watching.messages if "screen" in part]
    assert pictures
    assert decode(pictures[0]).shape[0] >= 200


def test_the_button_stops_the_run_as_ctrl_c_does(in_tmp, monkeypatch, capsys):
    page_of = []
    begin = RunPage.__init__
    monkeypatch.setattr(
        RunPage, "__init__", lambda self, *a, **k: (begin(self, *a, **k), page_of.append(self))[0]
    )

    def stop():
        async def press():
            while not page_of:
                await asyncio.sleep(0.01)
            async with page(page_of[0].server) as ws:
                while not page_of[0].statistics.row:
                    await asyncio.sleep(0.01)
                for _ in range(3):  # the second Ctrl-C would not wait for the checkpoint
                    await ws.send_json({"stop": True})
                while not ws.closed:
                    await ws.receive()

        asyncio.run(press())

    thread = threading.Thread(target=stop)
    thread.start()
    long = ["--epochs", "500", "--page", str(free_port())]
    assert main(["train", "CartPole-v1", *SMALL, *long]) == 130
    thread.join()
    assert "resume.sh CartPole-v1 resumes it" in capsys.readouterr().err
    assert main(["resume", "CartPole-v1", "--epochs", "1"]) in (0, 2)


def test_the_button_works_where_ctrl_c_is_ignored(in_tmp, monkeypatch):
    """As in a job that a script starts with &: SIGTERM then."""
    sent = []
    monkeypatch.setattr("os.kill", lambda pid, number: sent.append((pid, number)))
    run = object.__new__(RunPage)
    run.server = type("Server", (), {"publish": lambda self, document: None})()
    for handler, expected in ((signal.SIG_IGN, signal.SIGTERM), (signal.SIG_DFL, signal.SIGINT)):
        run._stopping = False
        before = signal.signal(signal.SIGINT, handler)
        try:
            run._receive(None, {"stop": True})
            run._receive(None, {"stop": True})
        finally:
            signal.signal(signal.SIGINT, before)
        assert sent.pop() == (os.getpid(), expected)
        assert not sent
    with pytest.raises(ValueError, match=r"^$"):
        run._receive(None, {"start": True})


def test_the_token_is_in_no_command_line(monkeypatch, tmp_path):
    opened = []

    class Desktop(webbrowser.BackgroundBrowser):
        def open(self, url, *args):
            opened.append((url, Path(url.removeprefix("file://")).read_text()))
            return True

    monkeypatch.setattr(opening, "has_screen", lambda: True)
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr(opening, "LIFE", 1.0)
    for browser, count in ((Desktop("x"), 1), (webbrowser.GenericBrowser("w3m"), 1)):
        monkeypatch.setattr(webbrowser, "get", lambda browser=browser: browser)
        opening.open_page("http://127.0.0.1:1/?token=secret")
        time.sleep(0.3)
        assert len(opened) == count
    url, text = opened[0]
    assert "secret" not in url
    assert "url=http://127.0.0.1:1/?token=secret" in text
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o077 == 0
    for _ in range(100):
        if not file.exists():
            break
        time.sleep(0.05)
    assert not file.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0"], "--host has no effect without --page"),
        (["--open", "false"], "--open has no effect without --page"),
        (["--page", "70000"], "--page must be from 0 to 65535, not 70000"),
        (["--page=x"], "argument --page: invalid int value: 'x'"),
        (["--page", "--play_games", "1"], "play.sh shows its games"),
        (["--page", "--host", "no.such.host.invalid"], "is no address here"),
    ],
)
def test_bad_input_is_one_line(in_tmp, capsys, arguments, message):
    arguments = ["train", "CartPole-v1", "--preset", "vector", *arguments]
    assert main(arguments) == 2
    error = capsys.readouterr().err.splitlines()
    assert message in error[-1]
    assert not [file for _, _, files in os.walk(".") for file in files]


def test_a_taken_port_ends_before_the_run_begins(in_tmp, browser, capsys):
    port = browser.server.url.split(":")[2].split("/")[0]
    assert main(["train", "CartPole-v1", *SMALL, "--page", port]) == 2
    assert f"the page cannot have port {port}" in capsys.readouterr().err
    assert not [file for _, _, files in os.walk(".") for file in files]


def test_no_web_package_is_imported_without_the_option(in_tmp):
    code = (
        "import sys; from simple_dqn.main import main\n"
        f"assert main({['train', 'CartPole-v1', *SMALL[:-2]]!r}) == 0\n"
        "assert main(['play', 'snapshots/CartPole-v1_1.safetensors', '--display', 'none']) == 0\n"
        "assert not {'aiohttp', 'simple_dqn.watch.browser', 'multidict'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)


def test_missing_package_is_named(in_tmp, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    for name in [n for n in sys.modules if n.startswith("simple_dqn.watch.browser")]:
        monkeypatch.delitem(sys.modules, name)
    assert main(["train", "CartPole-v1", *SMALL, "--page"]) == 2
    assert "-m pip install aiohttp" in capsys.readouterr().err


def test_screens_of_games_in_processes(breakout):
    config = resolve({"environment": "ale"})
    lane = functools.partial(games._make_lane, config, "breakout", breakout)
    parallel = ParallelEnvironment(lane, 2, np.random.SeedSequence(5), 2)
    with pytest.raises(NotImplementedError):  # not started yet
        parallel.screen()
    alone = games.make_environment(config, "breakout", breakout, 2, np.random.SeedSequence(5))
    parallel.restart()
    alone.restart()
    for action in (1, 2, 3, 2):
        parallel.act(np.array([action, action]))
        alone.act(np.array([action, action]))
        np.testing.assert_array_equal(parallel.screen(), alone.screen())
    parallel.close()
    alone.close()
    blind = ParallelEnvironment(make_tape, 2, np.random.SeedSequence(5), 1)
    blind.restart()
    with pytest.raises(NotImplementedError):
        blind.screen()
    blind.close()


def make_tape(seed):
    return TapeEnvironment()


def test_changed_options_are_those_that_differ_from_the_preset():
    assert changed_options(resolve({"preset": "nature", "random_seed": 7})) == {"random_seed": 7}
    for preset in PRESETS:
        config = resolve(
            {"preset": preset, "random_seed": 1, "train_frequency": 9, "csv_file": "x"}
        )
        assert changed_options(config) == {"random_seed": 1, "train_frequency": 9}


def test_time_left_by_hand():
    page = object.__new__(RunPage)
    page.statistics, page.epochs, page.phases = Statistics(1), 10, ["train", "test"]
    page.statistics.epoch = 4
    page._seconds = {"train": 100.0, "test": 10.0}
    assert page._run_left("train", 50) == 50 + 6 * 100 + 7 * 10
    assert page._run_left("test", 5) == 5 + 6 * 100 + 6 * 10
    page.statistics.epoch = 0
    assert page._run_left("random", 1) == 1 + 10 * 110
    page._seconds = {"train": 100.0}
    assert duration(page._run_left("train", 50)) == "not known yet"
    page.phases = ["train"]  # no tests
    assert page._run_left("train", 50) == 50 + 10 * 100
    assert [duration(s) for s in (0.4, 61, 7260)] == ["00:00", "01:01", "2:01:00"]


def test_values_as_the_page_shows_them():
    assert [number(text) for text in ("1.5", "nan", "", "inf")] == [1.5, None, None, None]
    values = (True, 0.00025, 300_000, "auto", ("a.experience", "b.experience"))
    assert [value_text(v) for v in values] == [
        "true", "0.00025", "300000", "auto", "a.experience b.experience"
    ]  # fmt: skip


def test_nothing_is_drawn_while_nobody_looks(in_tmp, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "simple_dqn.environments.atari.ALEEnvironment.screen", lambda self: drawn.append(self)
    )
    assert main(["train", "pong", *TINY, *SMALL, "--page", str(free_port())]) == 0
    assert not drawn
