"""The scripts, with an interpreter that only says what it was asked for."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# A venv is a folder with itself in it, an installation the program simple-dqn, which prints its
# arguments. `calls` has a line for each call; `slow` and `broken` are files that say how pip works.
STUB = """#!/usr/bin/env bash
stub=@STUB@
case "$*" in
    "-c "*) unset PYTHONHOME; exec @PYTHON@ "$@" ;;
    "-m pip config list") echo "$PIP_LIST"; exit ;;
    "-m pip --version") exit ;;
esac
echo "$*" >> "$stub/calls"
case "$*" in
    "-m venv "*)
        venv="${@: -1}"
        rm -rf "$venv"
        mkdir -p "$venv/bin"
        cp "$0" "$venv/bin/python" ;;
    "-m pip install "*)
        env | grep -E "^(PIP|PYTHON)" | sort > "$stub/environment"
        [ ! -e "$stub/slow" ] || sleep 60
        [ ! -e "$stub/broken" ] || exit 1
        sleep 0.5
        printf '#!/bin/sh\\necho "$@"\\n' > .venv/bin/simple-dqn
        chmod +x .venv/bin/simple-dqn ;;
esac
"""


@pytest.fixture
def clone(tmp_path):
    """A clone in a folder with a space, and the stub beside it."""
    root = tmp_path / "my clone"
    shutil.copytree(ROOT / "scripts", root / "scripts")
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, root)
    stub = tmp_path / "python"
    stub.write_text(STUB.replace("@STUB@", f"'{tmp_path}'").replace("@PYTHON@", sys.executable))
    stub.chmod(0o755)
    return root


def start(clone, script="scripts/train.sh", *arguments, before=(), **options):
    """Start a script; ``before`` is what calls it."""
    variables = os.environ | {"PYTHON": str(clone.parent / "python")} | options.pop("env", {})
    return subprocess.Popen(
        [*before, script, *arguments], env=variables, text=True,
        **{"cwd": clone, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )  # fmt: skip


def run(clone, *arguments, **options):
    """Return (exit status, stdout, stderr) of a script."""
    process = start(clone, *arguments, **options)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def calls(clone):
    path = clone.parent / "calls"
    return [line.split()[1] for line in path.read_text().splitlines()] if path.exists() else []


def test_the_first_start_makes_an_environment_and_a_later_one_does_not(clone):
    assert run(clone, "scripts/train.sh", "pong", "a label")[:2] == (0, "train pong a label\n")
    assert calls(clone) == ["venv", "pip"]
    assert run(clone, "scripts/test.sh", "x") == (0, "test x\n", "")
    assert run(clone, "scripts/plot.sh", "x")[:2] == (0, "plot x\n")
    assert calls(clone) == ["venv", "pip", "pip"]
    assert ".[analysis]" in (clone.parent / "calls").read_text()
    run(clone)
    run(clone, "scripts/visualize.sh")
    assert len(calls(clone)) == 3


def test_of_three_first_starts_two_wait(clone):
    started = [start(clone, "scripts/train.sh", str(n)) for n in range(3)]
    ended = [process.communicate(timeout=60) for process in started]
    assert [process.returncode for process in started] == [0, 0, 0]
    assert [out for out, _ in ended] == ["train 0\n", "train 1\n", "train 2\n"]
    assert calls(clone) == ["venv", "pip"]
    lines = sorted(err.count("waiting") for _, err in ended)
    assert sorted(err.count("setting up") for _, err in ended) == [1, 1, 1]
    assert lines == [0, 1, 1]
    assert all(err.count("\n") == 1 for _, err in ended)


def test_starts_that_need_different_extras_wait_for_one_another(clone):
    started = [start(clone, f"scripts/{name}.sh") for name in ("train", "plot", "play")]
    assert [process.communicate(timeout=60)[0] for process in started] == [
        "train\n", "plot\n", "play\n",
    ]  # fmt: skip
    assert calls(clone).count("venv") == 1
    assert {p.name for p in (clone / ".venv").glob("installed*")} == {
        "installed", "installed-analysis", "installed-watch",
    }  # fmt: skip


def test_a_killed_set_up_blocks_nobody(clone):
    (clone.parent / "slow").touch()
    killed = start(clone, start_new_session=True)
    limit = time.monotonic() + 30
    while "pip" not in calls(clone):
        assert time.monotonic() < limit
        time.sleep(0.05)
    waiting = start(clone, "scripts/train.sh", "pong")
    assert "waiting" in waiting.stderr.readline()
    (clone.parent / "slow").unlink()
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert waiting.communicate(timeout=60)[0] == "train pong\n"
    assert calls(clone) == ["venv", "pip", "venv", "pip"]  # what was half made is made afresh


def test_a_failed_set_up_is_repeated(clone):
    (clone.parent / "broken").touch()
    status, out, err = run(clone)
    assert (status, out) == (2, "")
    assert "has failed, see above; the next start repeats it" in err
    (clone.parent / "broken").unlink()
    assert run(clone, "scripts/train.sh", "pong")[1] == "train pong\n"
    assert calls(clone) == ["venv", "pip", "pip"]


def test_an_extra_that_was_killed_takes_nothing_from_running_programs(clone):
    run(clone)
    (clone / ".venv.lock").write_text("unfinished\n")
    run(clone, "scripts/plot.sh")
    assert calls(clone) == ["venv", "pip", "pip"]


def test_the_callers_python_and_pip_have_no_say(clone):
    settings = (
        ":env:.index-url='https://mine/simple'\n:env:.user='1'\nglobal.index-url='https://no'\n"
        "global.user='true'\nglobal.target='/elsewhere'\nglobal.extra-index-url='file:///a\\nb=c'\n"
        "install.no-deps='true'\nglobal.proxy='http://p:1'"
    )
    hostile = dict(
        PIP_LIST=settings, PIP_USER="1", PIP_TARGET="/x", PIP_PREFIX="/x", PIP_NO_DEPS="1",
        PIP_REQUIRE_VIRTUALENV="1", PIP_INDEX_URL="https://mine/simple", PYTHONHOME="/nowhere",
        PYTHONPATH="/x", PYTHONSTARTUP="/x", PYTHONINSPECT="1", PYTHONWARNINGS="error",
        GREP_OPTIONS="--color=always", CDPATH="/:/tmp", POSIXLY_CORRECT="1",
        SHELLOPTS="nounset:errexit:noclobber",
        **{"BASH_FUNC_cd%%": "() { echo no; return 1; }"},
    )  # fmt: skip
    assert run(clone, "scripts/train.sh", "pong", env=hostile)[:2] == (0, "train pong\n")
    assert (clone.parent / "environment").read_text().splitlines() == [
        "PIP_CONFIG_FILE=/dev/null",
        "PIP_CONSTRAINT=constraints.txt",
        "PIP_extra_index_url=file:///a b=c",
        "PIP_index_url=https://mine/simple",
        "PIP_proxy=http://p:1",
    ]
    assert run(clone, "scripts/train.sh", "pong", env=hostile) == (0, "train pong\n", "")


def test_a_script_is_found_behind_links(clone, tmp_path):
    links = tmp_path / "bin"
    links.mkdir()
    (links / "one").symlink_to("../my clone/scripts/train.sh")
    (links / "two").symlink_to(links / "one")
    (tmp_path / "three").symlink_to("bin/two")
    (tmp_path / "folder").symlink_to("my clone/scripts")
    for script in ("bin/one", "bin/two", "./three", "folder/train.sh"):
        assert run(clone, script, "pong", cwd=tmp_path)[:2] == (0, "train pong\n"), script
    assert run(clone, "bin/one", before=["bash"], cwd=tmp_path)[0] == 0
    path = dict(PATH=f"{links}:{os.environ['PATH']}")
    assert run(clone, "three", before=["bash"], cwd=tmp_path, env=path)[0] == 0
    assert run(clone, "two", before=["env"], env=path)[:2] == (0, "train\n")
    assert calls(clone) == ["venv", "pip"]  # it is the same clone, whatever it is called


@pytest.mark.parametrize("shell", ["sh", "dash", "bash", "zsh", "ksh"])
def test_any_shell_may_be_asked_to_run_a_script(clone, shell):
    if not shutil.which(shell):
        pytest.skip(f"no {shell}")
    for script in ("train.sh", "./train.sh"):
        found = run(clone, script, "pong", before=[shell], cwd=clone / "scripts")
        assert found[:2] == (0, "train pong\n")


@pytest.mark.parametrize("closed", ["2>&-", "<&- 2>&-", "<&-", "<&- 2>&- 3>&-"])
def test_closed_streams_do_not_matter(clone, closed):
    command = f"exec scripts/train.sh pong {closed}"
    for _ in range(2):
        assert run(clone, command, before=["bash", "-c"])[:2] == (0, "train pong\n")
    assert run(clone, "exec scripts/train.sh >&-", before=["bash", "-c"])[0] == 0


def test_a_clone_that_was_moved_or_lost_its_python_is_set_up_again(clone):
    run(clone)
    moved = clone.with_name("moved")
    clone.rename(moved)
    assert run(moved)[:2] == (0, "train\n")
    assert calls(clone) == ["venv", "pip", "venv", "pip"]
    assert run(moved) == (0, "train\n", "")
    (moved / ".venv/bin/python").unlink()
    assert run(moved)[0] == 0
    assert calls(clone)[4:] == ["venv", "pip"]


def test_files_of_tomorrow_are_no_reason_to_begin_again_each_time(clone):
    os.utime(clone / "pyproject.toml", (2**31 - 10, 2**31 - 10))
    run(clone)
    assert run(clone) == (0, "train\n", "")
    assert calls(clone) == ["venv", "pip"]


def test_no_python_or_an_old_one_is_one_line(clone):
    for python in ("/no/python", "false"):
        assert run(clone, env=dict(PYTHON=python)) == (
            2, "", f"simple-dqn: '{python}' is no Python 3.10 or newer: name one with PYTHON=...\n",
        )  # fmt: skip
