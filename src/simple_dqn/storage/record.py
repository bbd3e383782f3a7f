"""The record of a run, ``results/<name>.json``: all that is needed to repeat it.

A list of entries with configuration, command line and versions: one for the training and one for
each time it was resumed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from simple_dqn.errors import UsageError
from simple_dqn.networks.acceleration import has_bfloat16
from simple_dqn.options.definitions import Config
from simple_dqn.storage.files import write_atomically
from simple_dqn.storage.run_files import record_path
from simple_dqn.storage.states import typed

OPENCV = ("opencv-python-headless", "opencv-python", "opencv-contrib-python")


def read_records(config: Config, game: str, seed: int | None) -> list[Any]:
    """Return the entries of the record so far; none if there is no such file.

    Raises:
        UsageError: the file is damaged, or belongs to another ``game`` or ``seed``.
    """
    path = record_path(config)
    try:
        text = path.read_text() if path.exists() else '{"runs": []}'
        records: list[Any] = typed(json.loads(text)["runs"], list)
        runs = {(record["game"], record["config"]["random_seed"]) for record in records}
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UsageError(f"'{path}' is damaged: move it away to continue") from None
    if runs and (game, seed) not in runs:
        raise UsageError(
            f"'{config.run.csv_file}' has the results of another run according to '{path}': "
            f"give another --csv_file"
        )
    return records


def read_record(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the entry of the training in a record, and the entries of its resumptions.

    Raises:
        UsageError: there is no such file, or it is not a record.
    """
    if not path.is_file():
        raise UsageError(f"there is no file '{path}'")
    try:
        records = typed(json.loads(path.read_text())["runs"], list)
        for record in records:
            typed(record["game"], str)
            typed(record["config"], dict)
        begins_with = typed(records[0]["command_line"], list)[1]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        raise UsageError(f"'{path}' is not the record of a run, or is damaged") from None
    if begins_with != "train":
        raise UsageError(f"'{path}' begins with {begins_with}: it does not say how the run started")
    return records[0], records[1:]


def differences(record: dict[str, Any], rom: Path | None) -> list[tuple[str, Any, Any]]:
    """Return (what, recorded, current) for every difference that can change the run's results."""
    here = circumstances(rom)
    flat = {**here.pop("versions"), **here}
    versions = record.get("versions")
    theirs = {**(versions if isinstance(versions, dict) else {}), **record}
    theirs.setdefault("bfloat16", flat["bfloat16"])  # not in older records, nor was "auto"
    return [(what, theirs.get(what), own) for what, own in flat.items() if theirs.get(what) != own]


def circumstances(rom: Path | None) -> dict[str, Any]:
    """Return what a run depends on besides its options."""
    packages = ("simple-dqn", "torch", "numpy", "ale-py", "gymnasium", OPENCV[0])
    return dict(
        rom=hashlib.sha256(rom.read_bytes()).hexdigest() if rom else None,
        commit=_commit(),
        versions={package: _version(package) for package in packages},
        python=platform.python_version(),
        platform=platform.platform(),
        threads=torch.get_num_threads(),
        bfloat16=has_bfloat16(),  # which --datatype auto depends on
    )


def write_record(
    config: Config, game: str, rom: Path | None, command_line: list[str], records: list[Any]
) -> None:
    """Write the record: an entry for the training, and one for each time it was resumed."""
    command = ["simple-dqn", *command_line]
    options = config.to_dict()
    records.append(dict(command_line=command, game=game, config=options, **circumstances(rom)))
    text = json.dumps(dict(format_version=1, runs=records), indent=2)
    write_atomically(record_path(config), (text + "\n").encode())


def _version(package: str) -> str | None:
    """Return the installed version of a package; OpenCV has several equivalent packages."""
    for name in OPENCV if package in OPENCV else (package,):
        with contextlib.suppress(PackageNotFoundError):
            return version(name)
    return None


def _commit() -> str | None:
    """Return the commit of this checkout; None for an installed package."""
    root = Path(__file__).parents[3]
    if not (root / ".git").exists():
        return None
    try:
        git = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return None
    return git.stdout.strip()
