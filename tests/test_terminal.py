"""The terminal display: cells worked out by hand, output interpreted by a simple terminal."""

from __future__ import annotations

import os
import re
import select
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

pytest.importorskip("blessed")

from simple_dqn.watch.scene import QMeter, Scene
from simple_dqn.watch.terminal import HALF_BLOCK, changes, compose, half_blocks

SCREEN = np.zeros((210, 160, 3), np.uint8)
SCREEN[:, :, 2] = 255
POSIX = pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")


def text_of(row) -> str:
    return "".join(map(chr, row[:, 0]))


def test_cell_holds_two_pixels():
    screen = np.arange(4 * 3 * 3, dtype=np.uint8).reshape(4, 3, 3)
    cells = half_blocks(screen, rows=2, columns=3)
    for row in range(2):
        for column in range(3):
            upper, lower = screen[2 * row, column], screen[2 * row + 1, column]
            assert chr(cells[row, column, 0]) == HALF_BLOCK
            assert cells[row, column, 1] == int(bytes(upper).hex(), 16)
            assert cells[row, column, 2] == int(bytes(lower).hex(), 16)


@pytest.mark.parametrize(
    ("rows", "columns", "height", "width"),
    [
        (24, 80, 23, 61),  # 46 pixels high, 4/3 of it wide
        (60, 200, 59, 157),
        (60, 80, 30, 80),  # as wide as the terminal: 60 pixels high
    ],
)
def test_game_keeps_its_aspect_and_leaves_the_last_line_free(rows, columns, height, width):
    cells = compose(Scene(SCREEN, 7 / 4, "status"), rows, columns)
    assert cells.shape == (rows, columns, 3)
    where = np.argwhere(cells[:, :, 0] == ord(HALF_BLOCK))
    assert tuple(where.max(axis=0) - where.min(axis=0) + 1) == (height, width)
    assert (cells[cells[:, :, 0] == ord(HALF_BLOCK)][:, 1:] == 0x0000FF).all()
    assert text_of(cells[-1]).rstrip() == "status"


def test_panel_has_a_line_per_action():
    q = QMeter(["NOOP", "UPRIGHTFIRE"]).read(np.array([1, 3], np.float32), 1)
    cells = compose(Scene(SCREEN, 7 / 4, q_values=q), 24, 80)[:, 56:]
    assert text_of(cells[0]).split() == ["NOOP", "1.000"]
    assert text_of(cells[1]).split() == ["UPRIGHTFIRE", "3.000"]
    lengths = [(line[:, 2] != 0).sum() for line in cells[:2]]
    assert lengths[1] == 24
    assert lengths[0] <= 2


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 40), st.integers(8, 120), st.booleans(), st.booleans(), st.booleans())
def test_any_size_can_be_composed(rows, columns, q, state, help):
    values = QMeter([str(a) for a in range(18)]).read(np.arange(18, dtype=np.float32), 3)
    scene = Scene(
        SCREEN, 7 / 4, "a status line that is long enough to be cut",
        values if q else None,
        np.full((4, 84, 84), 90, np.uint8) if state else None,
        (("h", "help"),) * 15 if help else (),
    )  # fmt: skip
    assert compose(scene, rows, columns).shape == (rows, columns, 3)


def show(cells: np.ndarray, text: str) -> None:
    """Apply ``text`` to the cells as a terminal would: moves, colours, characters."""
    row = column = fore = back = 0
    for move, colour, character in re.findall(
        r"\x1b\[(\d+;\d+)H|\x1b\[([34]8;2;\d+;\d+;\d+)m|([^\x1b])", text
    ):
        if move:
            row, column = (int(n) - 1 for n in move.split(";"))
        elif colour:
            ground, _, red, green, blue = map(int, colour.split(";"))
            value = red << 16 | green << 8 | blue
            fore, back = (value, back) if ground == 38 else (fore, value)
        else:
            cells[row, column] = ord(character), fore, back
            column += 1


CELLS = hnp.arrays(
    np.int32, (4, 6, 3),
    elements=st.sampled_from([ord(" "), ord("▀"), 0x41]),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(CELLS, CELLS)
def test_changes_turn_one_picture_into_the_other(before, after):
    shown = before.copy()
    text = changes(before, after)
    show(shown, text)
    assert (shown == after).all()
    assert sum(c in " ▀A" for c in re.sub(r"\x1b\[[^Hm]*[Hm]", "", text)) == (
        (before != after).any(axis=-1).sum()
    )  # nothing else is sent


def test_unchanged_picture_sends_nothing():
    cells = compose(Scene(SCREEN, 7 / 4, "status"), 24, 80)
    assert changes(cells, cells.copy()) == ""


PROGRAM = """
import sys, time, logging
import numpy as np
logging.basicConfig(format="%(message)s")
from simple_dqn.watch.scene import Scene
from simple_dqn.watch.terminal import TerminalDisplay
display = TerminalDisplay()
try:
    logging.warning("a log line")
    screen = np.full((210, 160, 3), 255, np.uint8)
    display.draw(Scene(screen, 7 / 4, "ready"))
    before = ""
    for _ in range(600):
        for key in display.keys():
            display.draw(Scene(screen, 7 / 4, f"<{key}>"))
            if key == "escape":
                sys.exit(0)
            if key == "c":
                raise RuntimeError("a crash")
        held = "+".join(sorted(display.joystick()))
        if held != before:
            display.draw(Scene(screen, 7 / 4, held))
        before = held
        time.sleep(1 / 60)
finally:
    display.close()
"""
ENTERED, LEFT = b"\x1b[?1049h", b"\x1b[?1049l"


class Terminal:
    """A program in a pseudo-terminal that answers like an xterm; with ``kitty`` it also
    reports key releases."""

    def __init__(self, program: str, rows=24, columns=80, kitty=False):
        import fcntl
        import pty
        import struct
        import termios

        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="xterm-256color", COLORTERM="truecolor")
            os.execv(sys.executable, [sys.executable, "-c", program])
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.columns = columns
        self.answers = {b"\x1b[6n": b"\x1b[1;1R"}
        if kitty:
            self.answers |= {b"\x1b[?u": b"\x1b[?0u", b"\x1b[?1004$p": b"\x1b[?1004;2$y"}
        self.output = b""

    def read(self) -> bool:
        """Read the output and answer its queries; return False once the program has ended."""
        if select.select([self.fd], [], [], 0.1)[0]:
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                return False
            self.output += data
            asked = [(data.find(q), a) for q, a in self.answers.items() if q in data]
            for _, answer in sorted(asked):
                self.send(answer)
        return True

    def status(self) -> str:
        """Return the last line of the current picture."""
        rows = np.zeros((24, self.columns, 3), np.int32)
        _, cleared, picture = self.output.rpartition(b"\x1b[2J")
        if not cleared:
            return "nothing yet"
        show(rows, re.sub(r"\x1b\[\?[^hlu]*[hlu]", "", picture.decode(errors="replace")))
        return text_of(rows[-1]).strip(" \0")

    def wait_for(self, status: str, seconds=20) -> bool:
        end = time.monotonic() + seconds
        while self.status() != status and self.read() and time.monotonic() < end:
            pass
        return self.status() == status

    def send(self, keys: bytes) -> None:
        os.write(self.fd, keys)

    def wait(self) -> int:
        while self.read():
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@POSIX
@pytest.mark.parametrize(
    ("keys", "status", "message"),
    [
        (b"\x1b", 0, b""),
        (b"c", 1, b"RuntimeError: a crash"),
        (b"\x03", -2, b"KeyboardInterrupt"),
        ("SIGTERM", 143, b""),
        ("SIGHUP", 129, b""),
    ],
)
def test_terminal_is_restored_on_any_exit(keys, status, message):
    import signal
    import termios

    terminal = Terminal(PROGRAM)
    before = termios.tcgetattr(terminal.fd)
    assert terminal.wait_for("ready")
    assert terminal.output.count(ENTERED) == 1
    assert termios.tcgetattr(terminal.fd) != before  # no echo, no waiting for Return
    if isinstance(keys, str):
        os.kill(terminal.pid, getattr(signal, keys))
    else:
        terminal.send(keys)
    assert terminal.wait() == status
    _, _, after = terminal.output.partition(LEFT)
    assert message in after  # messages go to the main screen
    assert b"a log line" in after
    assert b"a log line" not in terminal.output.removesuffix(after)
    assert terminal.output.rindex(b"\x1b[?25h") > terminal.output.rindex(b"\x1b[?25l")
    assert b"\x1b[>27u" not in terminal.output  # not sent to a terminal that does not support it


@POSIX
def test_keys_are_read_singly_and_arrows_held_briefly():
    terminal = Terminal(PROGRAM)
    assert terminal.wait_for("ready")
    for key in "q[]M":
        terminal.send(key.encode())
        assert terminal.wait_for(f"<{key.lower()}>")
    terminal.send(b"\x1b[D ")
    assert terminal.wait_for("FIRE+LEFT")
    assert terminal.wait_for("")  # only for a moment
    terminal.send(b"\x1b[D")
    assert terminal.wait_for("LEFT")
    terminal.send(b"\x1b[C")  # the opposite direction replaces it
    assert terminal.wait_for("RIGHT")
    terminal.send(b"\x1b")
    assert terminal.wait() == 0


@POSIX
def test_keys_are_held_until_their_reported_release():
    terminal = Terminal(PROGRAM, kitty=True)
    assert terminal.wait_for("ready")
    assert b"\x1b[>27u" in terminal.output
    terminal.send(b"\x1b[1;1:1D\x1b[32;1:1u")  # left and space are pressed
    assert terminal.wait_for("FIRE+LEFT")
    time.sleep(0.8)  # longer than without reported releases
    terminal.send(b"\x1b[1;1:3D")
    assert terminal.wait_for("FIRE")
    terminal.send(b"\x1b[32;1:3u")
    assert terminal.wait_for("")
    terminal.send(b"\x1b[1;1:1D")  # pressed, and released in another window
    assert terminal.wait_for("LEFT")
    terminal.send(b"\x1b[O")
    assert terminal.wait_for("")
    terminal.send(b"\x1b[I")  # the focus is back
    terminal.send(b"\x1b[113;1:1;113u\x1b[113;1:2;113u\x1b[113;1:3u")  # q, repeated, released: once
    assert terminal.wait_for("<q>")
    terminal.send(b"\x1b[56;1:1;91u\x1b[56;1:3u")  # [ on a layout that has it on the 8 key
    assert terminal.wait_for("<[>")
    terminal.send(b"\x1b[27;1:1u")  # Esc
    assert terminal.wait() == 0
    assert terminal.output.count(b"\x1b[<u") == 1
    assert terminal.output.count(b"\x1b[?1004l") == 1
