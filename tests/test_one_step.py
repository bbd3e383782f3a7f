"""The life of one step, traced: how many files a training step and the path to it run through."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import simple_dqn
from simple_dqn.callback import Callback
from simple_dqn.commands.build import build
from simple_dqn.environments.games import find_game
from simple_dqn.main import main
from simple_dqn.options.resolve import resolve
from tests.test_checkpoint import RUN

PACKAGE = Path(simple_dqn.__file__).parent
ROOT = Path(__file__).parent.parent
ONE_STEP = {
    "agent.py", "environment.py", "environments/atari.py", "replay/state_buffer.py",
    "replay_memory.py", "deep_q_network.py", "networks/q_network.py", "networks/rmsprop.py",
}  # fmt: skip


class Trace:
    """Records the files of the package whose functions are called, and by which; no callbacks."""

    def __init__(self):
        self.files, self.calls = set(), set()

    def __call__(self, frame, event, arg):
        here = self.name(frame)
        if event == "call" and here and not self.in_a_callback(frame):
            self.files.add(here)
            caller = frame.f_back
            while caller and not self.name(caller):
                caller = caller.f_back
            if caller:
                self.calls.add((self.name(caller), here))

    @staticmethod
    def name(frame):
        path = Path(frame.f_code.co_filename)
        return str(path.relative_to(PACKAGE)) if PACKAGE in path.parents else ""

    def in_a_callback(self, frame):
        while frame:
            if isinstance(frame.f_locals.get("self"), Callback) and self.name(frame):
                return True
            frame = frame.f_back
        return False


def traced(call):
    trace = Trace()
    sys.setprofile(trace)
    try:
        call()
    finally:
        sys.setprofile(None)
    return trace


def test_training_step_runs_through_eight_files_without_calling_back():
    kind, game, rom = find_game("breakout", "ale")
    options = {"environment": kind, "random_seed": 1, "replay_size": 500, "hidden_units": 16}
    with build(resolve(options), game, rom, with_tests=False) as run:
        agent = run.agent
        agent.play_random(20)
        agent.train(4)

        def steps():  # what ``Agent.train`` does for one update
            for _ in range(4):
                agent.act(0.5)
                agent.observe()
            batch = agent.memory.sample(32)
            agent.memory.update_priorities(batch.indices, agent.network.train(batch))
            agent.network.update_target_network()

        trace = traced(steps)
        whole = traced(lambda: agent.train(8))
    assert trace.files == ONE_STEP
    assert whole.files - {"callback.py"} == ONE_STEP  # where the record of the phase is defined
    assert len(ONE_STEP) <= 8
    # Only the agent calls the others: they never call it back, nor one another.
    assert {callee for _, callee in whole.calls if callee == "agent.py"} <= {"agent.py"}
    assert {caller for caller, callee in whole.calls if callee == "agent.py"} <= {"agent.py"}
    for classes in ("environment", "replay_memory", "deep_q_network"):
        callees = {callee for caller, callee in whole.calls if caller == f"{classes}.py"}
        assert callees <= ONE_STEP - {"agent.py"} | {"callback.py"}


def test_path_to_the_loop_is_short(in_tmp, monkeypatch):
    """From scripts/train.sh to ``Agent.train``: the files on the stack, and train.sh itself."""
    stack = []

    def train(self, *args):
        frame = sys._getframe(1)
        while frame:
            stack.append(Trace.name(frame))
            frame = frame.f_back
        raise KeyboardInterrupt

    monkeypatch.setattr("simple_dqn.agent.Agent.train", train)
    assert main(["train", "pong", *RUN]) == 130
    ours = set(filter(None, stack))
    assert ours == {"main.py", "commands/train.py", "commands/epochs.py"}


def test_contributing_lists_the_files():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    life = text[text.index("life of one step") :]
    named = set(re.findall(r"[\w/]+\.py", life))
    assert named >= {name.rpartition("/")[2] for name in ONE_STEP} or named >= ONE_STEP


def test_module_sizes():
    """No module over 350 lines; the two that everyone reads first at most 230."""
    lines = {p.relative_to(PACKAGE): len(p.read_text().splitlines()) for p in PACKAGE.rglob("*.py")}
    assert max(lines.values()) <= 350
    assert max(lines[Path(name)] for name in ("agent.py", "deep_q_network.py")) <= 230
    ignored = {"__init__.py", "__main__.py", "__pycache__", "py.typed"}
    entries = {path.name for path in PACKAGE.iterdir()} - ignored
    assert len(entries) <= 17
