"""Custom classes by name; tests/test_extending.py tests whole runs with them."""

from __future__ import annotations

import sys

import pytest

from simple_dqn.errors import UsageError
from simple_dqn.options.custom_classes import make


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write the module ``custom`` into the current folder; unload it afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(text):
        (tmp_path / "custom.py").write_text(text)

    yield write
    sys.modules.pop("custom", None)


def test_class_in_the_current_folder_gets_its_arguments(module):
    module("class Outer:\n    class Inner(dict): ...\n")
    assert make("custom:Outer.Inner", dict, "callback", [("a", 1)], b=2) == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "from simple_dqn.structures import Step",
            "--environment custom:Game: cannot import 'custom': it imports simple_dqn.structures, "
            "which no longer exists: Step is now in simple_dqn.environment, Batch and Experience "
            "are in simple_dqn.replay_memory",
        ),
        (
            "import simple_dqn.nosuch",
            "--environment custom:Game: cannot import 'custom': ModuleNotFoundError: "
            "No module named 'simple_dqn.nosuch'",
        ),
    ],
)
def test_import_of_a_moved_module_says_where_it_is(module, line, message):
    module(f"{line}\nclass Game(dict): ...\n")
    with pytest.raises(UsageError) as error:
        make("custom:Game", dict, "environment")
    assert str(error.value) == message


def test_moved_names_can_be_imported():
    from simple_dqn.environment import Step  # noqa: F401
    from simple_dqn.replay_memory import Batch, Experience  # noqa: F401


def test_all_missing_methods_are_named(module):
    module(
        "from abc import ABC, abstractmethod\n"
        "class Half(ABC, dict):\n"
        "    @abstractmethod\n"
        "    def a(self): ...\n"
        "    @abstractmethod\n"
        "    def b(self): ...\n"
    )
    with pytest.raises(UsageError, match="'Half' lacks the methods a and b"):
        make("custom:Half", dict, "callback")
