"""docs/faithfulness.md against the code: its table matches the presets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from simple_dqn.options.presets import PRESETS
from simple_dqn.options.resolve import resolve

ROOT = Path(__file__).parent.parent
DETAILS = [
    "Optimiser", "Batch reduction", "Error clip", "Flicker", "Luma", "Resize", "Frame skip",
    "Life loss", "Random start", "FIRE", "Time", "Actions", "Exploration", "Target copy",
    "Learning", "Reward", "History", "Initial weights", "First convolution", "Network", "Replay",
    "Evaluation", "Order of acting and learning", "Pixels", "Discount", "Length",
]  # fmt: skip


def table():
    """{detail: (DeepMind, nature, simple_dqn, held by)}"""
    text = (ROOT / "docs" / "faithfulness.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert all(len(row) == 5 for row in cells)
    return {row[0]: row[1:] for row in cells}


def settings(cell: str) -> dict[str, str]:
    return dict(re.findall(r"`(\w+)=([^`]+)`", cell))


def shown(value) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(
        value, float) else str(value)  # fmt: skip


def test_every_detail_has_a_row():
    assert list(table()) == DETAILS


@pytest.mark.parametrize(("column", "preset"), [(1, "nature"), (2, "simple_dqn")])
def test_presets_match_the_table(column, preset):
    values = resolve({"preset": preset}).to_dict()
    for detail, row in table().items():
        for name, value in settings(row[column]).items():
            assert shown(values[name]) == value, (detail, name)


def test_every_difference_between_the_presets_has_a_row():
    documented = {name for row in table().values() for name in settings(row[2])}
    assert documented >= PRESETS["simple_dqn"].keys()
    nature, original = (
        resolve({"preset": p, "random_seed": 1}).to_dict() for p in ("nature", "simple_dqn")
    )
    differing = {name for name in nature if nature[name] != original[name]} - {"preset"}
    assert documented >= differing


def test_tests_named_in_the_table_exist():
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    for detail, row in table().items():
        names = re.findall(r"`(test_\w+)`", row[3])
        assert names, detail
        for name in names:
            assert f"def {name}(" in tests, name
