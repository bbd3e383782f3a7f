"""export: ONNX, other packages' state dicts and a folder compute what the snapshot does."""

from __future__ import annotations

import json
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from simple_dqn.main import main
from simple_dqn.storage.files import load_tensors, save_tensors
from simple_dqn.storage.snapshot import load_snapshot
from tests.test_import import PEERS, ROOT, q_values

TINY = ("--epochs", "1", "--random_steps", "50", "--train_steps", "40", "--test_steps", "200",
        "--replay_size", "200", "--batch_size", "8", "--random_seed", "1", "--threads", "1",
        "--test_workers", "0")  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def trained(game: str, *options: str) -> str:
    assert main(["train", game, "x", *TINY, *options]) == 0
    return f"snapshots/{game}_x_1.safetensors"


def random_states(snapshot: str, count: int) -> np.ndarray:
    read, rng = load_snapshot(Path(snapshot)), np.random.default_rng(0)
    shape = (count, read.config["history_length"], *read.observation_shape)
    if read.observation_dtype == "uint8":
        return rng.integers(0, 256, shape, np.uint8)
    return rng.normal(size=shape).astype(np.float32)


VARIANTS = {
    "nature": ("breakout", ()),
    "rainbow": ("pong", ("--preset", "rainbow", "--filters", "8", "--hidden_units", "32")),
    "batch_norm": ("pong", ("--batch_norm", "--filters", "8", "--hidden_units", "32")),
    "vector": ("CartPole-v1", ("--dueling",)),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_onnxruntime_gives_our_q_values(name):
    onnxruntime = pytest.importorskip("onnxruntime")
    game, options = VARIANTS[name]
    snapshot = trained(game, *options)
    assert main(["export", snapshot]) == 0
    session = onnxruntime.InferenceSession(f"exports/{game}_x_1.onnx")
    for count in (1, 32):
        states = random_states(snapshot, count)
        (theirs,) = session.run(None, {"states": states})
        np.testing.assert_allclose(theirs, q_values(snapshot, states), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("game", "options"),
    [
        ("breakout", ("--conv1_padding", "0", "--hidden_units", "32")),
        ("CartPole-v1", ("--hidden_layers", "2", "--hidden_units", "24")),
        ("CartPole-v1", ("--quantiles", "5", "--hidden_units", "24")),
    ],
)
def test_exported_and_imported_again_the_weights_are_equal(game, options):
    snapshot = trained(game, *options)
    weights = load_snapshot(Path(snapshot)).weights
    for kind, suffix in (("stable_baselines3", ".pth"), ("cleanrl", ".cleanrl_model")):
        code = main(["export", snapshot, "--format", kind])
        if kind == "cleanrl" and "--quantiles" in options:
            assert code == 2
            continue
        assert code == 0
        file = Path(f"exports/{game}_x_1{suffix}")
        if kind == "stable_baselines3":  # as in its zip
            with zipfile.ZipFile("zipped", "w") as archive:
                archive.writestr("policy.pth", file.read_bytes())
            file = Path("zipped")
        assert main(["import", str(file), "--game", game, kind]) == 0
        again = load_snapshot(Path(f"snapshots/{game}_{kind}_0.safetensors")).weights
        assert list(again) == list(weights)
        assert all(torch.equal(again[name], weights[name]) for name in weights)


@pytest.mark.skipif(not PEERS.exists(), reason="needs benchmarks/.venv with the peers")
def test_other_packages_load_them_and_compute_the_same(folder):
    for name, game, options in (
        ("screens", "breakout", ("--conv1_padding", "0")),
        ("vectors", "CartPole-v1", ("--quantiles", "5", "--hidden_units", "24")),
    ):
        snapshot = trained(game, *options)
        file = f"{name}.pth"
        assert (
            main(["export", snapshot, "--format", "stable_baselines3", "--export_file", file]) == 0
        )
        states = random_states(snapshot, 64)
        np.savez(f"{name}.npz", states=states, q_values=q_values(snapshot, states))
    assert main(["export", "snapshots/breakout_x_1.safetensors", "--format", "cleanrl",
                 "--export_file", "screens.cleanrl_model"]) == 0  # fmt: skip
    ours = {name: np.load(f"{name}.npz") for name in ("screens", "vectors")}
    np.savez(
        "states.npz", screens=ours["screens"]["states"], vectors=ours["vectors"]["states"][:, 0]
    )
    script = ROOT / "tests/foreign/load_files.py"
    subprocess.run([PEERS, script, folder], check=True, capture_output=True)
    theirs = np.load("q_values.npz")
    for name, own in (("screens", "screens"), ("cleanrl", "screens"), ("vectors", "vectors")):
        np.testing.assert_allclose(theirs[name], ours[own]["q_values"], rtol=0, atol=1e-5)


def test_half_a_snapshot_is_a_snapshot(capsys):
    snapshot = trained("breakout")
    assert main(["export", snapshot, "--format", "float16"]) == 0
    half = "exports/breakout_x_1.safetensors"
    assert Path(half).stat().st_size < 0.51 * Path(snapshot).stat().st_size
    whole, read = load_snapshot(Path(snapshot)), load_snapshot(Path(half))
    assert read._replace(path=whole.path, weights={}) == whole._replace(weights={})
    for name, weights in whole.weights.items():
        assert read.weights[name].dtype == torch.float32
        assert torch.equal(read.weights[name], weights.half().float())
    assert main(["test", half, "--test_games", "1", "--random_seed", "1"]) == 0
    assert "epoch 1, 40 training steps" in capsys.readouterr().out


def test_a_snapshot_with_large_weights_is_not_halved(capsys):
    snapshot = Path(trained("breakout"))
    weights, metadata = load_tensors(snapshot, "snapshot")
    weights["layers.0.bias"][0] = 7e4
    save_tensors(snapshot, "snapshot", weights, metadata)
    assert main(["export", str(snapshot), "--format", "float16"]) == 2
    assert "weights above 65,504" in capsys.readouterr().err
    assert not list(Path().glob("exports/*"))


def test_a_snapshot_from_a_gpu_is_for_every_machine(capsys):
    snapshot = Path(trained("breakout"))
    weights, metadata = load_tensors(snapshot, "snapshot")
    metadata["config"] |= {"backend": "gpu", "device_id": 3}
    save_tensors(snapshot, "snapshot", weights, metadata)
    assert main(["test", str(snapshot), "--test_games", "1", "--random_seed", "1"]) == 0
    if not torch.cuda.is_available():
        asked = ["test", str(snapshot), "--test_games", "1", "--backend", "gpu"]
        assert main(asked) == 2
        assert "no CUDA GPU; try --backend cpu" in capsys.readouterr().err


def test_a_folder_to_share():
    snapshot = trained("breakout", "--filters", "8", "--hidden_units", "32")
    assert main(["export", snapshot, "--format", "folder"]) == 0
    folder = Path("exports/breakout_x_1")
    assert (folder / "snapshot.safetensors").read_bytes() == Path(snapshot).read_bytes()
    about = json.loads((folder / "config.json").read_text())
    assert (about["game"], about["options"]["filters"]) == ("breakout", 8)
    card = (folder / "README.md").read_text()
    assert "at ε 0.05, at most 30 no-op frames, cut off after 18,000 frames" in card
    assert "simple-dqn train breakout x --epochs 1" in card
    assert "| seed | 1 |" in card
    assert main(["test", str(folder / "snapshot.safetensors"), "--test_steps", "100"]) == 0


@pytest.mark.parametrize("column", ["steps", "last_exploration_rate", "std_game_reward"])
def test_a_card_of_damaged_statistics(capsys, column):
    snapshot = trained("breakout", "--filters", "8", "--hidden_units", "32")
    path = Path("results/breakout_x.csv")
    lines = [line.split(",") for line in path.read_text().splitlines()]
    lines[-1][lines[0].index(column)] = "x"
    path.write_text("".join(",".join(line) + "\n" for line in lines))
    assert main(["export", snapshot, "--format", "folder"]) == 2
    assert f"'{path}' is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "--conv1_padding 0"),
        (("--conv1_padding", "0", "--filters", "8"), "with 32 filters: export ONNX"),
        (("--conv1_padding", "0", "--dueling"), "no DuelingHead: export ONNX"),
        (("--conv1_padding", "0", "--hidden_layers", "2"), "one hidden layer"),
    ],
)
def test_a_network_that_no_other_package_has(capsys, options, message):
    snapshot = trained("pong", "--hidden_units", "16", *options)
    capsys.readouterr()
    assert main(["export", snapshot, "--format", "stable_baselines3"]) == 2
    assert message in capsys.readouterr().err
    assert not Path("exports/pong_x_1.pth").exists()


def test_what_exists_is_not_replaced(capsys):
    snapshot = trained("CartPole-v1")
    Path("there").write_bytes(b"mine")
    for kind in ("cleanrl", "folder"):
        assert main(["export", snapshot, "--format", kind, "--export_file", "there"]) == 2
        assert "exists: give another --export_file" in capsys.readouterr().err
    assert Path("there").read_bytes() == b"mine"
