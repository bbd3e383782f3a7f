"""docs/algorithm.md against the code: every quote is in the method that it names."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from operator import attrgetter
from pathlib import Path

from simple_dqn.options.definitions import options
from simple_dqn.options.presets import PRESETS

ROOT = Path(__file__).parent.parent
DOC = (ROOT / "docs" / "algorithm.md").read_text()
PLACE = r"`([\w/]+)\.py`,\s+`([\w.]+)`"


def source(module: str, name: str) -> str:
    found = import_module("simple_dqn." + module.replace("/", "."))
    return inspect.getsource(attrgetter(name)(found))


def normalized(code: str) -> str:
    return " ".join(code.split())


def test_tables_quote_lines_of_the_named_method() -> None:
    rows = re.findall(r"^\|(?! pseudo).* \| (.*) \| (.*) \|$", DOC, re.MULTILINE)
    assert len(rows) > 25
    for code, where in rows:
        ((module, name),) = re.findall(PLACE, where)
        lines = {line.split("  #")[0].strip() for line in source(module, name).splitlines()}
        quoted = [span.strip("`").replace("\\|", "|") for span in code.split("<br>")]
        assert set(quoted) <= lines, quoted


def test_code_blocks_quote_the_named_method() -> None:
    blocks = list(re.finditer(r"```python\n(.*?)```", DOC, re.DOTALL))
    assert len(blocks) > 8
    for block in blocks:
        place = re.findall(PLACE, DOC[: block.start()])[-1]
        for piece in re.split(r"^\s*\.\.\.\n", block[1], flags=re.MULTILINE):
            assert normalized(piece) in normalized(source(*place)), piece


def test_named_options_presets_and_tests_exist() -> None:
    known = {f.name for _, f, _ in options()}
    assert set(re.findall(r"--(\w+)", DOC)) <= known
    assert set(re.findall(r"preset `?(\w+)", DOC)) <= PRESETS.keys()
    assert all((ROOT / path).exists() for path in re.findall(r"(?:tests|scripts)/\w+\.\w+", DOC))
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert set(re.findall(r"`(test_\w+)`", DOC)) <= set(re.findall(r"def (\w+)\(", tests))


def test_tabular_options_match_the_preset() -> None:
    section = DOC[DOC.index("### Why this is the table") : DOC.index("### It learns")]
    documented = dict(re.findall(r"--(\w+) (\w+)", section))
    assert len(documented) > 8
    for name, value in documented.items():
        assert f"{PRESETS['tabular'][name]}".removesuffix(".0") == value, name
