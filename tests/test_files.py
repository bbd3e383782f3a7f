"""Files: written atomically, safe to read, byte-identical for equal contents."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import pickle
import stat

import pytest
import torch

from simple_dqn.errors import UsageError
from simple_dqn.options.resolve import resolve
from simple_dqn.storage.files import (
    _checksum,
    load_tensors,
    locked,
    save_tensors,
    set_aside,
    write_atomically,
)
from simple_dqn.storage.snapshot import (
    load_snapshot,
    load_training_state,
    resume_path,
    save_snapshot,
)


def save(prefix, epoch=3, **kwargs):
    values = {
        "weights": {"a": torch.arange(6.0).reshape(2, 3)},
        "training_state": {"target.a": torch.ones(2, 3)},
        "game": "pong", "action_meanings": ["NOOP", "FIRE"], "observation_shape": (84, 84),
        "observation_dtype": "uint8", "epoch": epoch, "total_train_steps": 3000,
        "weight_updates": 700, "config": resolve({"csv_file": "somewhere.csv"}),
    }  # fmt: skip
    return save_snapshot(str(prefix), **{**values, **kwargs})


def test_snapshot_describes_its_training(tmp_path):
    path = save(tmp_path / "pong_mine")
    assert path.name == "pong_mine_3.safetensors"
    snapshot = load_snapshot(path)
    assert (snapshot.weights["a"] == torch.arange(6.0).reshape(2, 3)).all()
    assert snapshot.game == "pong"
    assert snapshot.action_meanings == ["NOOP", "FIRE"]
    assert snapshot.observation_shape == (84, 84)
    assert (snapshot.epoch, snapshot.total_train_steps, snapshot.weight_updates) == (3, 3000, 700)
    assert snapshot.prefix == str(tmp_path / "pong_mine")
    assert "csv_file" not in snapshot.config
    assert resolve({}, snapshot.config).network == resolve({}).network
    assert (load_training_state(snapshot)["target.a"] == 1).all()
    resume_path(path).unlink()
    assert load_training_state(snapshot) is None


def config(csv_file, **kwargs):
    return resolve({"csv_file": csv_file, "random_seed": 1, **kwargs})


def test_equal_contents_give_equal_bytes_at_any_path(tmp_path):
    one = save(tmp_path / "one", config=config("x.csv", log_level="ERROR"))
    two = save(tmp_path / "two", config=config("y.csv"))
    assert one.read_bytes() == two.read_bytes()


def test_training_state_of_other_weights_is_refused(tmp_path):
    snapshot = load_snapshot(save(tmp_path / "pong"))
    other = save(tmp_path / "other", weights={"a": torch.zeros(2, 3)})
    os.replace(resume_path(other), resume_path(snapshot.path))
    with pytest.raises(UsageError, match="does not belong to"):
        load_training_state(snapshot)


class Evil:
    def __reduce__(self):
        return os.mkdir, ("evil",)


def test_invalid_snapshots_are_refused_in_one_line(in_tmp):
    good = save(in_tmp / "pong").read_bytes()
    length = int.from_bytes(good[:8], "little")
    header = json.loads(good[8 : 8 + length])
    meta = json.loads(header["__metadata__"]["simple_dqn"])

    def with_meta(honest=True, **changes):
        """Return the file with changed metadata, by default with a matching checksum."""
        if honest:
            tensors, _ = load_tensors(in_tmp / "pong_3.safetensors", "snapshot")
            changes["checksum"] = _checksum(tensors, {**meta, **changes})
        new = json.dumps({**meta, **changes})
        text = json.dumps({**header, "__metadata__": {"simple_dqn": new}}).encode()
        return len(text).to_bytes(8, "little") + text + good[8 + length :]

    bad = {
        "empty": b"",
        "text": b"hello",
        "pickle": pickle.dumps(Evil()),
        "cut": good[:-1],
        "header cut": good[:40],
        "long": good + b"x",
        "huge header": (2**62).to_bytes(8, "little") + good[8:],
        "no metadata": torch_only(),
        "flipped": good[:9] + b"\xff" + good[10:],
        "another kind": with_meta(kind="training state"),
        "newer": with_meta(format_version=99),
        "no version": with_meta(format_version="one"),
        "infinite version": with_meta(format_version=float("inf")),
        "dishonest": with_meta(honest=False, epoch=4),
        "a weight": good[:-1] + bytes([good[-1] ^ 1]),
        "no checksum": with_meta(honest=False, checksum=None),
        "version zero": with_meta(format_version=0),
        "epoch": with_meta(epoch="3"),
        "actions": with_meta(action_meanings=[1, 2]),
        "shape": with_meta(observation_shape=5),
        "config": with_meta(config=[]),
    }
    assert load_snapshot(write("same", with_meta())).epoch == 3
    assert load_snapshot(write("old", with_meta(format_version=1, checksum="none"))).epoch == 3
    for name, content in bad.items():
        with pytest.raises(UsageError) as error:
            load_snapshot(write(name, content))
        assert "\n" not in str(error.value), name
    assert not (in_tmp / "evil").exists()
    with pytest.raises(UsageError, match="there is no file"):
        load_snapshot(in_tmp / "missing.safetensors")
    with pytest.raises(UsageError, match="there is no file"):
        load_snapshot(in_tmp)


def torch_only():
    from safetensors.torch import save as save_bytes

    return save_bytes({"a": torch.ones(1)})


def write(name, content):
    from pathlib import Path

    path = Path(f"{name}.safetensors")
    path.write_bytes(content)
    return path


def test_failed_write_leaves_only_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_set_aside_never_overwrites(tmp_path):
    path = tmp_path / "file"
    assert set_aside(path) is None
    for content in (b"1", b"2", b"3"):
        path.write_bytes(content)
        set_aside(path)
    names = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert names == {"file.bak": b"1", "file.bak2": b"2", "file.bak3": b"3"}


def test_kinds_are_distinguished(tmp_path):
    save_tensors(tmp_path / "x", "thing", {"a": torch.ones(1)}, {})
    assert load_tensors(tmp_path / "x", "thing")[0]["a"] == 1
    with pytest.raises(UsageError, match="is a thing, not a snapshot"):
        load_tensors(tmp_path / "x", "snapshot")


def test_only_regular_files_are_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "pipe", tmp_path / "folder"):
        with pytest.raises(FileExistsError, match="exists and is not a regular file"):
            write_atomically(path, b"x")
    assert stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)
    assert sorted(os.listdir(tmp_path)) == ["folder", "pipe"]


def test_lock_does_not_follow_symlinks(tmp_path):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "x.lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match=r"x\.lock"), locked(tmp_path / "x.lock", "x"):
        pass
    assert (tmp_path / "precious").read_text() == "precious"


def test_run_continues_with_a_warning_without_lock_support(tmp_path, monkeypatch, caplog):
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with locked(tmp_path / "x.lock", "x_..."):
        assert "no lock on x_... (No locks available)" in caplog.text


def test_label_ending_in_best(tmp_path):
    assert load_snapshot(save(tmp_path / "pong_lr_best")).prefix == str(tmp_path / "pong_lr_best")
    best = save(tmp_path / "pong_lr").rename(tmp_path / "pong_lr_best.safetensors")
    assert load_snapshot(best).prefix == str(tmp_path / "pong_lr")
