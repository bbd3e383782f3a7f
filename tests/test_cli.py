from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from simple_dqn.errors import UsageError
from simple_dqn.main import EXTRAS, main
from simple_dqn.options.definitions import options
from simple_dqn.options.option import number_text, short_text
from simple_dqn.options.parser import COMMANDS, parse, top_level_help


def test_parse_returns_only_given_options():
    positionals, given = parse(
        "train", ["pong", "--learning-rate", "0.5", "mine", "--batch_norm", "--num_envs=4"]
    )
    assert positionals == {"game": "pong", "label": "mine"}
    assert given == {"learning_rate": 0.5, "batch_norm": True, "num_envs": 4}
    assert parse("train", ["pong"]) == ({"game": "pong", "label": ""}, {})


@pytest.mark.parametrize(("text", "value"), [("true", True), ("no", False), ("FALSE", False)])
def test_boolean_values(text, value):
    assert parse("train", ["pong", "--color_averaging", text])[1] == {"color_averaging": value}
    assert parse("train", [f"--color_averaging={text}", "pong"])[1] == {"color_averaging": value}


def test_flags_before_positionals_and_negative_numbers():
    positionals, given = parse("train", ["--overwrite", "pong", "--batch_norm", "mine"])
    assert positionals == {"game": "pong", "label": "mine"}
    assert given == {"overwrite": True, "batch_norm": True}
    for text in ("-2", "-1e3", "-.5"):
        assert parse("train", ["pong", "--min_reward", text])[1] == {"min_reward": float(text)}
    assert parse("train", ["pong", "--overwrite"])[1] == {"overwrite": True}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: GAME"),
        (["pong", "--lerning_rate", "1"], "'--lerning_rate': did you mean --learning_rate"),
        (["pong", "a", "b"], "unknown argument 'b'"),
        (["pong", "a", " "], "unknown argument ''"),
        (["pong", "--epochs", "many"], "invalid int value: 'many'"),
        (["pong", "--batch_norm=maybe"], "must be true or false, not 'maybe'"),
        (["pong", "--test_games", "3"], "unknown argument '--test_games'"),
    ],
)
def test_errors_are_one_line(arguments, message, capsys):
    with pytest.raises(UsageError, match=re.escape(message)):
        parse("train", arguments)
    assert main(["train", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("simple-dqn: ")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_lists_every_option_of_the_command(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    for _, field, _ in options():
        shown = f"--{field.name} " in text
        assert shown == (command in field.metadata["commands"]), field.name
    assert "%%" not in text
    assert "None" not in text
    assert not re.search(r"\de\+", text), "a whole number is shown in full"


def test_help_shows_defaults(capsys):
    def shown(command, option):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        text = " ".join(capsys.readouterr().out.split())
        (shown,) = (part for part in text.split(" --") if part.startswith(f"{option} "))
        defaults = re.findall(r"\(default: ([^()]*)\)", shown)
        return defaults[-1] if defaults else None

    assert shown("train", "replay_size") == "1000000 screens"
    assert shown("train", "learning_rate") == "0.00025"
    assert shown("train", "batch_norm") == "false"
    assert shown("train", "stop_at") is None
    assert shown("train", "load_weights") is None
    assert shown("resume", "batch_size") == "the snapshot's"
    assert shown("resume", "no_checkpoint") == "false"
    assert shown("play", "test_frame_cap") == "0 frames"
    assert shown("play", "frame_skip") == "the snapshot's"
    assert shown("profile_random", "random_steps") == "10000 steps"
    assert shown("plot", "figure_width") == "16 inches"


def test_top_level(capsys):
    assert main([]) == main(["--help"]) == 0
    assert all(command in top_level_help() for command in COMMANDS)
    assert main(["--version"]) == 0
    assert main(["trian"]) == 2
    assert "there is no command 'trian'" in capsys.readouterr().err


def test_help_imports_no_heavy_package():
    """This keeps --help fast. In a subprocess, because other tests have imported everything."""
    code = (
        "import sys; from simple_dqn.main import main\n"
        "try: main(['train', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = ('torch', 'numpy', 'cv2', 'ale_py', 'gymnasium', 'psutil')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1] == "[]"


def test_missing_packages_of_commands_are_named():
    project = (Path(__file__).parent.parent / "pyproject.toml").read_text()
    for extra in ("page", "watch", "analysis", "sweep"):
        listed = re.search(rf"^{extra} = \[(.*)\]", project, re.MULTILINE)[1]
        for package in re.findall(r'"([\w\[\]-]+)>', listed):
            assert any(package in value for value in EXTRAS.values()), package


def test_repeated_and_multiple_file_arguments():
    positionals, given = parse("train", ["pong", "x", "--load_experience", "a", "b"])
    assert (positionals["label"], given) == ("x", {"load_experience": ["a", "b"]})
    _, given = parse(
        "train", ["--load_experience", "a", "--load-experience=b", "--epochs=1", "pong"]
    )
    assert given == {"load_experience": ["a", "b"], "epochs": 1}


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (2147483647, "2147483647"), (1234567.0, "1234567"), (-999999999, "-999999999"), (0, "0"),
        (1e15, "1000000000000000"), (2.0**53, "9007199254740992"), (0.00025, "0.00025"),
        (100000.5, "100000.5"),
    ],
)  # fmt: skip
def test_whole_numbers_are_printed_in_full(number, text):
    assert number_text(number) == text
    assert short_text(number) == text


def test_measured_numbers_are_rounded_but_not_before_the_point():
    assert short_text(413.2199999997) == "413.22"
    assert short_text(1234567.25) == "1234567.2"
    assert short_text(-1234567.5, 4) == "-1234567.5"
    assert short_text(0.037291, 4) == "0.03729"
    assert short_text(98765.4321, 4) == "98765.4"
    assert [short_text(float(x)) for x in ("nan", "inf", "-inf")] == ["nan", "inf", "-inf"]


def test_closed_and_full_streams(in_tmp):
    """What a shell's 2>&-, >/dev/full and a reader that has gone do to a command."""
    program = f"{sys.executable} -m simple_dqn"
    small = "--random_steps 60 --train_steps 40 --test_steps 60 --epochs 1 --replay_size 1000"
    train = f"{program} train CartPole-v1 {small} --random_seed 1"
    expected = None
    for number, closed in enumerate(("2>&1", "2>&-", "<&- >&- 2>&-", "2</dev/null", "2>/dev/full")):
        command = train.replace("CartPole-v1", f"CartPole-v1 x{number}") + f" {closed}"
        assert subprocess.run(["bash", "-c", command], capture_output=True).returncode == 0, closed
        with open(f"results/CartPole-v1_x{number}.csv") as file:
            text = [line.split(",")[:13] for line in file]
        expected = expected or text
        assert text == expected, closed
    weights = "snapshots/CartPole-v1_x0_1.safetensors"
    for command, status, error in (
        (f"{program} test {weights} --test_steps 60 >/dev/full", 2, "No space left on device"),
        (f"{program} --version >/dev/full", 2, "No space left on device"),
        (f"{program} test {weights} --test_steps 60 >&-", 0, ""),
        (f"{program} nonsense 2>&-", 2, ""),
        (f"{program} nonsense 2>/dev/full", 2, ""),
        (f"{program} --help | true; exit ${{PIPESTATUS[0]}}", None, ""),
    ):
        found = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
        assert found.returncode in ((0, 141) if status is None else (status,)), command
        assert error in found.stderr
        assert "Traceback" not in found.stderr
        assert "Exception" not in found.stderr
