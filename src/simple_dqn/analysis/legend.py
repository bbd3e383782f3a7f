"""The legend of a figure: above the panels, and always inside the picture.

Long labels lose their middle, many labels get more columns and smaller letters; those for which
there is no room all the same are counted.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path

from simple_dqn.storage.files import shortened

# Sizes of letters in points, each with the most characters of a label, in the order of trying.
STEPS = ((12, 90), (11, 70), (10, 56), (9, 44), (8, 34), (7, 26), (6, 20))
WIDTH, HEIGHT = 0.96, 0.3  # the legend's share of the figure, at most
# In letter sizes: what an entry needs beside its text (handle, spaces) and the height of a row.
BESIDE_TEXT, ROW = 5.0, 1.75
TITLE_SIZE = 14.0


def add_legend(
    figure: Figure, labels: Sequence[Artist], styles: Sequence[Artist], title: str = ""
) -> None:
    """Add the legend.

    Args:
        figure: with its panels.
        labels: handles of the labels; those that do not fit are left out and counted.
        styles: handles of the line styles, which stay.
        title: above them.
    """
    room = 72 * WIDTH * figure.get_figwidth(), 72 * HEIGHT * figure.get_figheight()  # points
    high = room[1] - (2 * TITLE_SIZE if title else 0)
    names = [printable(str(handle.get_label())) for handle in labels]
    for size, most in STEPS:
        texts = shorten_all(names, most)
        every = [*texts, *(str(handle.get_label()) for handle in styles)]
        widest = max(text_width(text, size) for text in every) + BESIDE_TEXT * size
        columns = max(1, min(len(every), int(room[0] / widest)))
        rows = max(1, int(high / (ROW * size)))
        if widest <= room[0] and -(-len(every) // columns) <= rows:
            break
    shown = len(texts)
    if len(every) > rows * columns:  # of the smallest letters
        shown = max(1, rows * columns - len(styles) - 1)
    handles = list(labels[:shown])
    for handle, text in zip(handles, texts, strict=False):
        handle.set_label(plain(text))
    if left_out := len(texts) - shown:
        handles.append(Line2D([], [], linestyle="none", label=f"and {left_out} more"))
    figure.legend(
        handles=[*handles, *styles],
        title=plain(_fitting(printable(title), room[0])) or None,
        title_fontsize=TITLE_SIZE,
        prop={"size": size},
        loc="outside upper center",
        ncols=columns,
        frameon=False,
    )


def shorten_all(names: Sequence[str], most: int) -> list[str]:
    """Return names of at most so many characters that differ where the names do, if possible."""
    texts = [shortened(name, most) for name in names]
    if len(set(texts)) < len(set(names)):  # they differ only in what was left out
        begin = _length_in_common(names)
        end = _length_in_common([name[begin:][::-1] for name in names])
        texts = [shortened(f"…{name[begin : len(name) - end]}…", most) for name in names]
    return texts


def _length_in_common(names: Sequence[str]) -> int:
    """Return how many letters at the beginning are the same."""
    columns = enumerate(zip(*names, strict=False))
    return next((i for i, letters in columns if len(set(letters)) > 1), min(map(len, names)))


def text_width(text: str, size: float) -> float:
    """Return how wide a text is, in points."""
    with ignoring_missing_letters():
        width: float = text_to_path.get_text_width_height_descent(
            text, FontProperties(size=size), ismath=False
        )[0]
    return width


@contextmanager
def ignoring_missing_letters() -> Iterator[None]:
    """Say nothing meanwhile of letters that the font lacks: it shows a box for them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        yield


def plain(label: str) -> str:
    """Escape a label: matplotlib takes $ for a formula, and hides labels that start with _."""
    return (" " if label.startswith("_") else "") + label.replace("$", r"\$")


def printable(label: str) -> str:
    """Return a label without ends of lines and other letters that have no picture."""
    return "".join(letter if letter.isprintable() else "?" for letter in label)


def _fitting(title: str, width: float) -> str:
    """Return a title without what is too much in its middle."""
    text = title
    while len(text) > 5 and text_width(text, TITLE_SIZE) > width:
        text = shortened(title, len(text) - 1 - len(text) // 20)
    return text
