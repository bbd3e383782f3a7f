"""TerminalDisplay: a game in a text terminal, two pixels per character, by blessed."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import sys
import time
from typing import Any

import blessed
import cv2
import numpy as np
from numpy.typing import NDArray

from simple_dqn.watch.interface import Display, signals_unwind
from simple_dqn.watch.joystick import DOWN, FIRE, LEFT, OPPOSITES, RIGHT, UP
from simple_dqn.watch.panel import grid
from simple_dqn.watch.scene import QValues, Scene

HALF_BLOCK = "▀"  # foreground colour in the upper half, background colour in the lower
# By blessed's key names; plain characters have none.
JOYSTICK = {"KEY_UP": UP, "KEY_DOWN": DOWN, "KEY_LEFT": LEFT, "KEY_RIGHT": RIGHT}
JOYSTICK |= {"KEY_SPACE": FIRE, " ": FIRE}
JOYSTICK |= {prefix + digit: digit for prefix in ("KEY_", "") for digit in "0123456789"}
PANEL_WIDTH = 24  # columns
LEAST_WIDTH = 8
ESCAPE_DELAY = 0.05  # seconds to wait for the rest of an escape sequence, as of an arrow key
# Most terminals only repeat a held key, after an initial delay, and do not report its release. So a
# key counts as held until it has not been repeated for this long.
FIRST_HOLD, NEXT_HOLD = 0.35, 0.12  # seconds

Cells = NDArray[np.int32]  # [rows, columns, 3]: character, foreground and background 0xRRGGBB


class TerminalDisplay(Display):
    """The terminal in which the program was started; it is restored on any exit.

    If the terminal supports the Kitty keyboard protocol, keys are held until they are released or
    the terminal loses the focus.
    """

    frames_per_second = 30  # a terminal over SSH may not keep up with more

    def __init__(self) -> None:
        self._terminal = blessed.Terminal()
        self._shown: Cells = np.zeros((0, 0, 3), np.int32)
        self._until: dict[str, float] = {}  # joystick part -> when it counts as released
        self._tapped: set[str] = set()
        self._restore = contextlib.ExitStack()
        try:
            for context in (
                _log_lines_wait(),
                signals_unwind(),
                self._terminal.fullscreen(),
                self._terminal.hidden_cursor(),
                self._terminal.cbreak(),
                _key_releases(self._terminal),
            ):
                self._restore.enter_context(context)
        except BaseException:
            self._restore.close()
            raise

    def keys(self) -> list[str]:
        """See Display."""
        pressed = []
        while key := self._terminal.inkey(timeout=0, esc_delay=ESCAPE_DELAY):
            name = (key.name or key.value).removesuffix("_RELEASED").removesuffix("_REPEATED")
            if key.name == "FOCUS_OUT":  # releases go to another window
                self._until.clear()
                self._tapped.clear()
            elif key.released:
                self._until.pop(JOYSTICK.get(name, ""), None)
            elif part := JOYSTICK.get(
                key.value or name
            ):  # the character, whichever key produces it
                self._press(part, exact=key.uses_keyboard_protocol)
            elif name == "KEY_ESCAPE":
                pressed.append("escape")
            elif key.value and key.value.isprintable() and not key.repeated:
                pressed.append(key.value.lower())
        return pressed

    def joystick(self) -> set[str]:
        """See Display."""
        now = time.perf_counter()
        self._until = {part: until for part, until in self._until.items() if until > now}
        held, self._tapped = self._until.keys() | self._tapped, set()
        return held

    def _press(self, part: str, exact: bool) -> None:
        """Hold a key: until its release if that is reported (``exact``), else for a while."""
        now = time.perf_counter()
        hold = NEXT_HOLD if self._until.get(part, 0) > now else FIRST_HOLD
        for pair in OPPOSITES:
            if part in pair:  # the last one pressed counts
                (other,) = pair - {part}
                self._until.pop(other, None)
        if not exact:  # only the last of several held keys is repeated: extend the others too
            for other, until in self._until.items():
                self._until[other] = max(until, now + hold)
        self._until[part] = float("inf") if exact else now + hold
        self._tapped.add(part)

    def draw(self, scene: Scene) -> None:
        """See Display. Only changed cells are sent."""
        rows, columns = self._terminal.height, self._terminal.width
        cells = compose(scene, max(rows, 2), max(columns, LEAST_WIDTH))
        if self._shown.shape != cells.shape:  # resized: redraw everything
            sys.stdout.write(self._terminal.normal + self._terminal.clear)
            self._shown = np.full_like(cells, -1)
        sys.stdout.write(changes(self._shown, cells))
        sys.stdout.flush()
        self._shown = cells

    def close(self) -> None:
        """See Display."""
        self._restore.close()


def compose(scene: Scene, rows: int, columns: int) -> Cells:
    """Return the cells of a terminal of ``rows`` x ``columns``: game, panel, status line."""
    cells: Cells = np.zeros((rows, columns, 3), np.int32)
    cells[:, :, 0], cells[:, :, 1] = ord(" "), 0xE0E0E0
    panel = scene.q_values is not None or scene.state is not None
    panel_width = min(PANEL_WIDTH, columns // 2) if panel else 0

    # Half a cell is roughly square.
    h, w = scene.screen.shape[:2]
    wide = w * scene.pixel_aspect
    scale = min(2 * (rows - 1) / h, (columns - panel_width) / wide)
    height, width = max(int(h * scale) // 2, 1), max(int(wide * scale), 1)
    left = (columns - panel_width - width) // 2
    cells[:height, left : left + width] = half_blocks(scene.screen, height, width)

    if panel:
        _compose_panel(cells[: rows - 1, columns - panel_width :], scene)
    for row, (key, meaning) in enumerate(scene.help[: rows - 1]):
        _write(cells[row], f" {key:11} {meaning} ".ljust(40))
    _write(cells[-1], scene.status)
    return cells


def half_blocks(screen: NDArray[np.uint8], rows: int, columns: int) -> Cells:
    """Return a picture, RGB uint8 [h, w, 3], as ``rows`` x ``columns`` cells of two pixels each."""
    shape = (columns, 2 * rows)
    shrinks = 2 * rows < screen.shape[0] or columns < screen.shape[1]
    small: Any = cv2.resize(
        screen, shape, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST
    )
    if shrinks:  # averaging alone would lose a ball of a few pixels: mix in the brightest ones
        kernel = np.ones((screen.shape[0] // shape[1] + 1, screen.shape[1] // columns + 1))
        brightest: Any = cv2.resize(cv2.dilate(screen, kernel), shape)
        small = cv2.addWeighted(small, 0.5, brightest, 0.5, 0)
    colours = small.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    blocks = np.full((rows, columns), ord(HALF_BLOCK), np.int32)
    return np.stack([blocks, colours[0::2], colours[1::2]], axis=-1)


def changes(shown: Cells, cells: Cells) -> str:
    """Return the output that changes a terminal from ``shown`` to ``cells``."""
    pieces = []
    foreground = background = -1
    where = (-1, -1)  # cursor position
    for row, column in zip(*np.nonzero((shown != cells).any(axis=-1)), strict=True):
        character, fore, back = (int(value) for value in cells[row, column])
        if (row, column) != where:
            pieces.append(f"\x1b[{row + 1};{column + 1}H")
        if fore != foreground:
            pieces.append(f"\x1b[38;2;{fore >> 16};{fore >> 8 & 255};{fore & 255}m")
        if back != background:
            pieces.append(f"\x1b[48;2;{back >> 16};{back >> 8 & 255};{back & 255}m")
        pieces.append(chr(character))
        foreground, background, where = fore, back, (row, column + 1)
    return "".join(pieces)


def _compose_panel(cells: Cells, scene: Scene) -> None:
    """Write the Q-values, and below them what the network sees, into ``cells`` in place."""
    rows, columns = cells.shape[:2]
    top = 0
    if scene.q_values is not None:
        _compose_q_values(cells, scene.q_values)
        top = len(scene.q_values.names) + 1
    if scene.state is not None and scene.state.ndim == 3:
        across, side = grid(len(scene.state), columns - 1, 2 * (rows - top))
        side = side // 2 * 2 - 2  # a cell is two pixels high; leave a gap
        for index, frame in enumerate(scene.state if side > 0 else ()):
            row, column = divmod(index, across)
            row, column = top + row * (side // 2 + 1), 1 + column * (side + 2)
            rgb = np.repeat(frame[:, :, None], 3, axis=2)
            there = cells[row : row + side // 2, column : column + side]
            there[:] = half_blocks(rgb, side // 2, side)


def _compose_q_values(cells: Cells, q: QValues) -> None:
    """Write a line per action: name, value, and a bar in the background."""
    columns = cells.shape[1]
    bars = q.lengths() * (columns - 1)
    for row, name in enumerate(q.names):
        if row >= len(cells):
            return
        line = cells[row]
        _write(line, f" {name:13.13}{q.text(row):>8}"[:columns])
        line[: round(float(bars[row])) + 1, 2] = 0x8A5A00 if row == q.action else 0x304868


def _write(line: Cells, text: str) -> None:
    """Write ``text`` into a line of cells, on black, cut off at the end of the line."""
    text = text[: len(line)]
    line[: len(text), 0] = [ord(c) for c in text]
    line[: len(text), 1], line[: len(text), 2] = 0xE0E0E0, 0


@contextlib.contextmanager
def _key_releases(terminal: blessed.Terminal) -> Any:
    """Request key releases if the terminal supports the Kitty keyboard protocol, and lost focus.

    blessed's context manager is not used: it also sets the flags if the terminal did not answer in
    time, and does not reset them then.
    """
    if terminal.get_kitty_keyboard_state(timeout=1) is None:
        yield
        return
    # Push the flags: unambiguous keys 1, event types 2, all keys as sequences 8, their text 16.
    sys.stdout.write("\x1b[>27u")
    sys.stdout.flush()
    try:
        with terminal.focus_events(timeout=1):
            yield
    finally:
        sys.stdout.write("\x1b[<u")  # pop
        sys.stdout.flush()


@contextlib.contextmanager
def _log_lines_wait() -> Any:
    """Hold back log lines, which would be written into the picture."""
    root = logging.getLogger()
    before = root.handlers[:]
    memory = logging.handlers.MemoryHandler(10_000, flushLevel=logging.CRITICAL + 1)
    root.handlers[:] = [memory]
    try:
        yield
    finally:
        root.handlers[:] = before
        for record in memory.buffer:
            root.handle(record)
