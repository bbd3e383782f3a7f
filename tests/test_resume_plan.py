"""The plan of ``resume`` as a table: what was requested, what is on disk, what follows."""

from __future__ import annotations

from pathlib import Path

import pytest

from simple_dqn.commands.resume_plan import Found, plan_resume
from simple_dqn.errors import UsageError
from simple_dqn.options.resolve import resolve
from simple_dqn.storage.run_state import SavedRun
from simple_dqn.storage.snapshot import Snapshot

FILES = {"save_weights_prefix": "snapshots/pong", "csv_file": "results/pong.csv"}


def options(**more):
    return resolve({"environment": "ale", "random_seed": 1, "epochs": 5, **more}).to_dict()


def checkpoint(
    epoch=3, phase="train", *, start_epoch=0, asked=None, refill=False, finished=False,
    complete=False, **more,
):  # fmt: skip
    asked_for = {"callback": "", "tensorboard": "", "csv_file": "", **(asked or {})}
    return SavedRun(
        Path("snapshots/pong.checkpoint/run.safetensors"), "pong", options(**more), asked_for,
        start_epoch, epoch, phase, refill, finished, complete or finished, {},
    )  # fmt: skip


def snapshot(epoch=2, **more):
    return Snapshot(
        Path(f"snapshots/pong_{epoch}.safetensors"), {}, "pong", ["NOOP"], (84, 84), "uint8",
        epoch, 1000, 250, options(**more),
    )  # fmt: skip


def found(saved=None, taken=None, rows=(), epochs=(1, 2)):
    return Found(
        "pong",
        FILES,
        saved,
        taken,
        dict(rows) if isinstance(rows, dict) else dict.fromkeys(rows, 0.0),
        frozenset(epochs),
    )


EXACTLY, FROM_SNAPSHOT = True, False
ROWS = [(0, "random"), (1, "train"), (1, "test"), (2, "train"), (2, "test")]

# (was a snapshot named?, given options, what is on disk)
#   -> (exactly?, epochs, start epoch, the first row to be rewritten, refill, finished, warning)
PLANS = {
    "in a training phase": (
        (False, {}, found(checkpoint(3, "train"), rows=ROWS)),
        (EXACTLY, 5, 0, (3, "train"), False, False, None),
    ),
    "in a test": (
        (False, {}, found(checkpoint(3, "test"), rows=ROWS, epochs=(1, 2, 3))),
        (EXACTLY, 5, 0, (3, "test"), False, False, None),
    ),
    "in the random phase": (
        (False, {}, found(checkpoint(0, "random"), epochs=())),
        (EXACTLY, 5, 0, (0, "random"), False, False, None),
    ),
    "in the random phase that refills the memory after epoch 2": (
        (False, {}, found(checkpoint(2, "random", start_epoch=2, refill=True), rows=ROWS)),
        (EXACTLY, 5, 2, (3, "train"), True, False, None),
    ),
    "the last epoch's row is still to be written": (
        (False, {}, found(checkpoint(5, "test", finished=True), epochs=(4, 5))),
        (EXACTLY, 5, 0, (5, "test"), False, False, None),
    ),
    "the last epoch's snapshot is still to be written": (
        (False, {}, found(checkpoint(5, "test", finished=True), rows=[(5, "test")], epochs=(4,))),
        (EXACTLY, 5, 0, (5, "test"), False, False, None),
    ),
    "nothing is left to do": (
        (False, {}, found(checkpoint(5, "test", finished=True), rows=[(5, "test")], epochs=(5,))),
        (EXACTLY, 5, 0, (6, "train"), False, True, None),
    ),
    "more epochs of a finished run": (
        (False, {"epochs": 9},
         found(checkpoint(5, "test", finished=True), rows=[(5, "test")], epochs=(5,))),
        (EXACTLY, 9, 0, (6, "train"), False, False, None),
    ),
    "a training phase is complete and has its row and snapshot": (
        (False, {},
         found(checkpoint(3, "train", complete=True), rows=[(3, "train")], epochs=(3,))),
        (EXACTLY, 5, 0, (3, "test"), False, False, None),
    ),
    "a training phase is complete, but its snapshot is missing": (
        (False, {},
         found(checkpoint(3, "train", complete=True), rows=[(3, "train")], epochs=(2,))),
        (EXACTLY, 5, 0, (3, "train"), False, False, None),
    ),
    "only the last test is left": (
        (False, {},
         found(checkpoint(5, "train", complete=True), rows=[(5, "train")], epochs=(5,))),
        (EXACTLY, 5, 0, (5, "test"), False, False, None),
    ),
    "there are no tests": (
        (False, {}, found(checkpoint(5, "train", complete=True, test_steps=0),
                          rows=[(5, "train")], epochs=(5,))),
        (EXACTLY, 5, 0, (6, "train"), False, True, None),
    ),
    "a score that is reached": (
        (False, {}, found(checkpoint(3, "test", complete=True, stop_at=7.0),
                          rows={(3, "test"): 7.0}, epochs=(3,))),
        (EXACTLY, 5, 0, (4, "train"), False, True, None),
    ),
    "a reached score that is raised": (
        (False, {"stop_at": 8.0}, found(checkpoint(3, "test", complete=True, stop_at=7.0),
                                        rows={(3, "test"): 7.0}, epochs=(3,))),
        (EXACTLY, 5, 0, (4, "train"), False, False, None),
    ),
    "more epochs of a run whose step size falls": (
        (False, {"epochs": 9}, found(checkpoint(3, learning_rate_schedule="linear"))),
        (EXACTLY, 9, 0, (3, "train"), False, False, "over 9 epochs"),
    ),
    "more epochs of a prioritized run": (
        (False, {"epochs": 9}, found(checkpoint(3, prioritized=True))),
        (EXACTLY, 9, 0, (3, "train"), False, False, "over 9 epochs"),
    ),
    "the snapshot that the checkpoint follows": (
        (True, {}, found(checkpoint(3, "train"), snapshot(2))),
        (EXACTLY, 5, 0, (3, "train"), False, False, None),
    ),
    "the snapshot of the epoch that is being tested": (
        (True, {}, found(checkpoint(3, "test"), snapshot(3))),
        (EXACTLY, 5, 0, (3, "test"), False, False, None),
    ),
    "an older snapshot": (
        (True, {}, found(checkpoint(3, "train"), snapshot(1))),
        (FROM_SNAPSHOT, 5, 1, (2, "train"), True, False, "exactly in epoch 3: resume.sh pong"),
    ),
    "a snapshot alone": (
        (True, {}, found(None, snapshot(2))),
        (FROM_SNAPSHOT, 5, 2, (3, "train"), True, False, None),
    ),
    "the last snapshot of a run without a checkpoint": (
        (False, {"epochs": 7}, found(None, snapshot(2))),
        (FROM_SNAPSHOT, 7, 2, (3, "train"), True, False, None),
    ),
    "a callback is given again": (
        (False, {"callback": "x:Y"}, found(checkpoint(asked={"callback": "x:Y"}))),
        (EXACTLY, 5, 0, (3, "train"), False, False, None),
    ),
    "a TensorBoard folder is left out": (
        (False, {"tensorboard": ""}, found(checkpoint(asked={"tensorboard": "board"}))),
        (EXACTLY, 5, 0, (3, "train"), False, False, None),
    ),
}  # fmt: skip

# (was a snapshot named?, given options, what is on disk), by the message of the refusal
REFUSALS = {
    "--callback x:Y: give it again, or --callback '' to continue without": (
        False, {}, found(checkpoint(asked={"callback": "x:Y"})),
    ),
    "--csv_file mine.csv: give it again": (
        False, {}, found(checkpoint(asked={"csv_file": "mine.csv"})),
    ),
    "--load_experience has no effect": (
        False, {"load_experience": ["x.experience"]}, found(checkpoint()),
    ),
    "in epoch 3 already: give more --epochs": (False, {"epochs": 2}, found(checkpoint(3))),
    "is of epoch 2 and --epochs is 2": (True, {"epochs": 2}, found(None, snapshot(2))),
    "is of epoch 5 and --epochs is 5": (False, {}, found(None, snapshot(5))),
    "--epochs must be 0 or more": (False, {"epochs": -1}, found(checkpoint())),
}  # fmt: skip


@pytest.mark.parametrize("case", PLANS)
def test_plan_follows_from_the_request_and_the_files(case):
    asked, expected = PLANS[case]
    plan = plan_resume(*asked)
    exactly, epochs, start_epoch, before, refill, finished, warning = expected
    assert (plan.exactly, plan.keep_before, plan.refill, bool(plan.finished)) == (
        exactly, before, refill, finished,
    )  # fmt: skip
    assert (plan.config.run.epochs, plan.config.run.start_epoch) == (epochs, start_epoch)
    assert plan.config.run.csv_file == "results/pong.csv"
    assert plan.config.run.save_weights_prefix == "snapshots/pong"
    assert len(plan.warnings) == (warning is not None)
    assert all(warning in text for text in plan.warnings)


@pytest.mark.parametrize("line", REFUSALS)
def test_invalid_resumes_are_refused_in_one_line(line):
    with pytest.raises(UsageError, match=line):
        plan_resume(*REFUSALS[line])


def test_planning_touches_no_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for asked, _ in PLANS.values():
        plan_resume(*asked)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("saved", "warned"),
    [
        (dict(learning_rate_schedule="linear", learning_rate_end=1e-5), True),
        (dict(learning_rate_schedule="linear", learning_rate_decay_steps=9), False),
        (dict(n_step=5, n_step_end=1), True),
        (dict(n_step=5, n_step_end=1, n_step_decay_steps=9), False),
        (dict(prioritized=True), True),
        ({}, False),
    ],
)
def test_schedules_that_more_epochs_stretch_are_said(saved, warned):
    plan = plan_resume(False, {"epochs": 9}, found(checkpoint(**saved)))
    assert [("extend over 9 epochs" in text) for text in plan.warnings] == [True] * warned


def test_options_that_change_the_run_are_named():
    given = {
        "discount_rate": 0.9, "batch_size": 32, "epochs": 9, "csv_file": "x.csv", "threads": 1,
    }  # fmt: skip
    plan = plan_resume(False, given, found(checkpoint(threads=1)))
    assert plan.changed == ("--discount_rate",)
