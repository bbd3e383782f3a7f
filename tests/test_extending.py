"""Custom classes: the examples of docs/extending.md, and mistakes."""

from __future__ import annotations

import ast
import re
import shutil
import sys
from pathlib import Path

import pytest

from simple_dqn.main import main
from tests.test_end_to_end import SMALL, refuse, rows

ROOT = Path(__file__).parent.parent
DOC = (ROOT / "docs" / "extending.md").read_text()


@pytest.fixture
def in_examples(in_tmp):
    """A folder with the examples; their modules are unloaded afterwards."""
    for file in (ROOT / "examples").iterdir():
        if file.suffix == ".py":
            shutil.copy(file, in_tmp)
    before, path = set(sys.modules), list(sys.path)
    yield in_tmp
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if name in ("catch", "cyclic", "mine"):
            del sys.modules[name]


def test_page_contains_the_examples_and_they_are_short():
    blocks = re.findall(r"```python\n(.*?)```", DOC, re.DOTALL)
    files = [(ROOT / "examples" / name).read_text() for name in ("catch.py", "cyclic.py")]
    assert blocks == files
    assert all(len(file.splitlines()) < 40 for file in files)


def test_documents_name_methods_that_exist():
    bodies = {}
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                methods = {m.name for m in node.body if isinstance(m, ast.FunctionDef)}
                bodies.setdefault(node.name, set()).update(methods)
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for name, method in re.findall(r"\b([A-Z]\w+)\.(\w+)", page.read_text()):
            assert name not in bodies or method in bodies[name], (page.name, name, method)


def test_documented_command_learns_catch(in_examples, capsys):
    command = re.search(r"train\.sh (catch .*)", DOC)[1].split()
    assert main(["train", *command, "--train_steps", "3000", "--test_steps", "900"]) == 0
    assert float(rows("results/catch.csv")[-1]["average_reward"]) > 0.5
    snapshot = "snapshots/catch_1.safetensors"
    arguments = ["--environment", "catch:Catch", "--test_games", "20"]
    assert main(["test", snapshot, *arguments]) == 0
    assert "20 games in 180 steps" in capsys.readouterr().out
    assert main(["play", snapshot, *arguments[:2], "--display", "none"]) == 0
    for game in ([], ["--game", "catch"], ["--game", "pong"]):
        message = "give --environment catch:Catch to run its code"
        refuse(capsys, ["test", snapshot, *game], message)
    refuse(capsys, ["test", snapshot, "--environment", "gym"], "trained with --environment catch")
    refuse(capsys, ["record", snapshot, *arguments[:2]], "has no method 'screen'")


def test_custom_callback_overrides_exploration(in_examples):
    assert main(["train", "pong", *SMALL, "--callback", "cyclic:CyclicExploration"]) == 0
    assert float(rows()[1]["last_exploration_rate"]) == pytest.approx(0.55, abs=0.01)
    assert main(["resume", "snapshots/pong_2.safetensors", "--epochs", "3"]) == 0  # without it


MISTAKES = """
from simple_dqn.agent import Callback
from simple_dqn.environment import Environment
class Half(Environment):
    def act(self, actions): ...
class Fails(Callback):
    def __init__(self): raise ValueError("no file")
class Plain: ...
"""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--environment", "nosuch:Class"], "cannot import 'nosuch': ModuleNotFoundError"),
        (["--environment", "mine:Nosuch"], "'mine' has no class 'Nosuch'"),
        (["--environment", "mine:Half"], "'Half' lacks the method restart"),
        (["--environment", "mine:Plain"], "'Plain' is not a subclass of Environment"),
        (["--environment", "mine:"], "name a class as module:Class"),
        (["--environment", "mine"], "--environment must be one of auto, ale, gym, MODULE:CLASS"),
        (["--callback", "mine:Plain"], "'Plain' is not a subclass of Callback"),
        (["--callback", "mine:Fails"], "creating it failed: ValueError: no file"),
        (["--callback", "broken:Class"], "cannot import 'broken': SyntaxError"),
    ],
)
def test_mistakes_are_reported_in_one_line(in_examples, capsys, arguments, message):
    Path("mine.py").write_text(MISTAKES)
    Path("broken.py").write_text("class Class(:\n")
    refuse(capsys, ["train", "pong", *arguments], message)
    assert not Path("results/pong.csv").exists()


def test_classes_for_the_first_version_work_or_say_what_moved(in_examples, capsys):
    Path("mine.py").write_text(
        "from simple_dqn.agent import Callback\n"
        "class Old(Callback):\n"
        "    def on_phase_start(self, agent):\n"
        "        assert agent.phase in ('random', 'train', 'test')\n"
        "    def on_act(self, agent, actions):\n"
        "        actions[:] = 1 if agent.phase == 'train' else 0\n"
        "class Older(Old):\n"
        "    def on_step(self, agent, step):\n"
        "        agent.phase_steps\n"
    )
    command = ["train", "catch", "--environment", "catch:Catch", "--train_steps", "60"]
    small = ["--random_steps", "20", "--test_steps", "20", "--epochs", "1"]
    assert main([*command, *small, "--callback", "mine:Old"]) == 0
    capsys.readouterr()
    assert main([*command, *small, "--callback", "mine:Older", "--overwrite"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == "simple-dqn: agent.phase_steps is now agent.phase.steps: change the callback"
