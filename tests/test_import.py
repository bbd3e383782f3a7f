"""import: networks of other packages compute here what they compute there; hostile files."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from simple_dqn.commands.snapshots import snapshot_config, snapshot_run
from simple_dqn.main import main
from simple_dqn.storage.snapshot import load_snapshot

ROOT = Path(__file__).parent.parent
PEERS = ROOT / "benchmarks/.venv/bin/python"
FILES = (
    "sb3_breakout.zip", "sb3_cartpole.zip", "qrdqn_breakout.zip", "qrdqn_cartpole.zip",
    "cleanrl_breakout.cleanrl_model", "cleanrl_cartpole.cleanrl_model", "pfrl_breakout.pt",
)  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def q_values(snapshot: str, states: np.ndarray) -> np.ndarray:
    """Return our Q-values of states [B, H, ...]; vectors have no H."""
    read = load_snapshot(Path(snapshot))
    with snapshot_run(read, snapshot_config(read, {})) as run:
        states = states if states.ndim == 4 else states[:, None]
        return run.network.predict(np.ascontiguousarray(states))


def imported(path: Path | str, game: str, *options: str) -> str:
    """Import a file and return the snapshot."""
    assert main(["import", str(path), "--game", game, "x", *options]) == 0
    (snapshot,) = Path("snapshots").glob("*.safetensors")
    return str(snapshot)


def convolutions(filters: int = 4, hidden: int = 16, outputs: int = 4) -> nn.Sequential:
    """Return a small network of Nature's kind, with padding 0."""
    return nn.Sequential(
        nn.Conv2d(4, filters, 8, 4), nn.ReLU(), nn.Conv2d(filters, 2 * filters, 4, 2), nn.ReLU(),
        nn.Conv2d(2 * filters, 2 * filters, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(2 * filters * 49, hidden), nn.ReLU(), nn.Linear(hidden, outputs),
    )  # fmt: skip


def screens(count: int = 16) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, 4, 84, 84), np.uint8)


def torchs(network: nn.Module, states: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return network(torch.as_tensor(states).float() / 255).numpy()


@pytest.mark.skipif(not PEERS.exists(), reason="needs benchmarks/.venv with the peers")
def test_q_values_equal_those_of_the_packages_themselves(folder):
    """256 random states of each file that its own package wrote: to 1e-5, the same best actions."""
    script = ROOT / "tests/foreign/make_files.py"
    subprocess.run([PEERS, script, folder], check=True, capture_output=True)
    for file in FILES:
        game = "breakout" if "breakout" in file else "CartPole-v1"
        assert main(["import", file, "--game", game, file.replace(".", "-")]) == 0
        theirs = np.load(f"{file}.npz")
        ours = q_values(
            f"snapshots/{game}_{file.replace('.', '-')}_0.safetensors", theirs["states"]
        )
        np.testing.assert_allclose(ours, theirs["q_values"], rtol=0, atol=1e-5, err_msg=file)
        best = np.sort(theirs["q_values"], axis=1)
        clear = best[:, -1] - best[:, -2] > 2e-5  # else rounding decides
        same = ours.argmax(1) == theirs["q_values"].argmax(1)
        assert same[clear].all(), file


@pytest.mark.parametrize("kind", ["network", "plain", "safetensors", "wrapped"])
def test_state_dicts(kind):
    torch.manual_seed(0)
    network = convolutions()
    prefix = "network." if kind == "network" else ""
    state = {prefix + name: value for name, value in network.state_dict().items()}
    if kind == "safetensors":
        save_file(state, "file")
    else:
        torch.save({"model_weights": state} if kind == "wrapped" else state, "file")
    snapshot = imported("file", "breakout")
    np.testing.assert_allclose(
        q_values(snapshot, screens()), torchs(network, screens()), rtol=0, atol=1e-6
    )
    config = load_snapshot(Path(snapshot)).config
    assert config["fire_on_reset"] == (kind == "network")
    assert config["conv1_padding"] == 0


def test_padding_of_a_state_dict_may_be_given():
    torch.manual_seed(0)
    network = convolutions()
    torch.save(network.state_dict(), "file")
    network[0].padding = (1, 1)
    snapshot = imported("file", "breakout", "--conv1_padding", "1")
    np.testing.assert_allclose(
        q_values(snapshot, screens()), torchs(network, screens()), rtol=0, atol=1e-6
    )


def test_quantiles_are_reordered_and_hidden_layers_made_equal():
    """sb3-contrib has the outputs of quantile 1 first; a smaller hidden layer gets silent units."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 7), nn.ReLU(), nn.Linear(7, 6)
    )
    state = {f"quantile_net.quantile_net.{k}": v for k, v in network.state_dict().items()}
    write_sb3(state)
    states = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    with torch.no_grad():
        expected = network(torch.as_tensor(states)).reshape(20, 3, 2).mean(dim=1).numpy()
    snapshot = imported("file", "CartPole-v1")
    assert load_snapshot(Path(snapshot)).config["quantiles"] == 3
    np.testing.assert_allclose(q_values(snapshot, states), expected, rtol=0, atol=1e-6)


def test_eighteen_actions_are_all_of_the_console():
    torch.save(convolutions(outputs=18).state_dict(), "file")
    assert len(load_snapshot(Path(imported("file", "breakout"))).action_meanings) == 18


def write_sb3(state) -> None:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    with zipfile.ZipFile("file", "w") as archive:
        archive.writestr("data", '{"policy_class": {":serialized:": "never read"}}')
        archive.writestr("policy.pth", buffer.getvalue())


@pytest.mark.parametrize("layout", ["new", "old"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_neons_pickles(layout, protocol):
    """W of a convolution is [channels · rows · columns, filters], of a linear layer [out, in]."""
    rng = np.random.default_rng(0)
    shapes = [(4 * 8 * 8, 4), (4 * 4 * 4, 8), (8 * 3 * 3, 8), (16, 8 * 49), (4, 16)]
    weights = [rng.normal(size=shape).astype(np.float32) * 0.1 for shape in shapes]
    if layout == "new":
        layers = [{"config": {"name": "l"}, "params": {"W": w}, "states": [w * 0]} for w in weights]
        layers.insert(1, {"config": {"transform": "Rectlin"}})  # activations have no weights
        found = {"epoch_index": 77, "model": {"config": {"layers": layers}, "type": "Sequential"}}
    else:
        layers = [{"params": w, "states": [w * 0]} for w in weights]
        found = {"epoch_index": 77, "layer_params_states": layers}
    Path("file").write_bytes(pickle.dumps(found, protocol))
    snapshot = imported("file", "breakout")
    assert snapshot.endswith("_77.safetensors")
    x = torch.as_tensor(screens()).double() / 255
    for w, kernel, stride in zip(weights[:3], (8, 4, 3), (4, 2, 1), strict=True):
        channels = x.shape[1]
        w = torch.as_tensor(w).double().reshape(channels, kernel, kernel, -1).permute(3, 0, 1, 2)
        x = nn.functional.conv2d(x, w, stride=stride).relu()
    x = (x.flatten(1) @ torch.as_tensor(weights[3]).double().T).relu()
    expected = (x @ torch.as_tensor(weights[4]).double().T).numpy()
    np.testing.assert_allclose(q_values(snapshot, screens()), expected, rtol=0, atol=1e-4)
    config = load_snapshot(Path(snapshot)).config
    assert (config["preset"], config["resize"]) == ("simple_dqn", "linear")


def test_a_pickle_of_python_2_is_read():
    """What numpy and Python 2 wrote: texts of bytes, and numpy.core."""
    array = np.arange(12, dtype="<f4").reshape(4, 3)
    weights = [np.zeros(s, "<f4") for s in ((256, 4), (64, 8), (72, 8), (16, 392))]
    data = pickle.dumps({"layer_params_states": [{"params": w} for w in [*weights, array]]}, 2)
    assert b"numpy._core" in data or b"numpy.core" in data
    data = data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    Path("file").write_bytes(data)
    assert main(["import", "file", "--game", "breakout"]) == 2  # 3 inputs of 16: read, and refused


def test_an_imported_network_is_tested_and_trained_further():
    torch.manual_seed(0)
    torch.save(convolutions().state_dict(), "file")
    snapshot = imported("file", "breakout")
    assert main(["test", snapshot, "--test_steps", "300", "--test_workers", "0"]) == 0
    small = ["--filters", "4", "--hidden_units", "16", "--conv1_padding", "0", "--epochs", "1"]
    steps = ["--random_steps", "50", "--train_steps", "20", "--test_steps", "0", "--replay_size=99"]
    assert main(["train", "breakout", "y", "--load_weights", snapshot, *small, *steps]) == 0


# --- hostile and wrong files ----------------------------------------------------------------------


class Runs:
    def __reduce__(self):
        return os.system, ("touch ran",)


def huge_array() -> bytes:
    """A pickle that asks numpy for an array of 10**12 bytes."""
    return (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
        b"\x8a\x06\x00\x00\x10\x00\x00\x01\x85U\x01b\x87R."
    )


def bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("policy.pth", bytes(50_000_000))
    return buffer.getvalue()


def torch_bytes(found) -> bytes:
    buffer = io.BytesIO()
    torch.save(found, buffer)
    return buffer.getvalue()


def overclaiming() -> bytes:
    """A torch file whose pickle claims more numbers than its record has."""
    data = torch_bytes({"0.weight": torch.zeros(1000, 4)})
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            content = old.read(info)
            if info.filename.endswith("data/0"):
                content = content[:160]
            new.writestr(info.filename, content)
    return target.getvalue()


def many_names():
    one = torch.zeros(1000, 100, dtype=torch.uint8)
    return {f"{n}.weight": one for n in range(100)}


def safetensors_bytes(tensors, header: bytes = b"") -> bytes:
    if header:
        return len(header).to_bytes(8, "little") + header
    save_file(tensors, "made")
    data = Path("made").read_bytes()
    Path("made").unlink()
    return data


def zipped(policy: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("policy.pth", policy)
    return buffer.getvalue()


WRONG = {
    "a pickle that calls": lambda: pickle.dumps({"model": Runs()}),
    "an old pickle that calls": lambda: pickle.dumps({"model": Runs()}, 0),
    "a torch file that calls": lambda: torch_bytes({"0.weight": Runs()}),
    "a huge array": huge_array,
    "a huge memo": lambda: b"\x80\x02}r\xff\xff\xff\x7f.",
    "a bomb": bomb,
    "a stretched tensor": lambda: torch_bytes({"0.weight": torch.zeros(1).expand(10**9, 4)}),
    "a claim": overclaiming,
    "cut off": lambda: torch_bytes(convolutions().state_dict())[:-3000],
    "empty": lambda: b"",
    "text": lambda: b"hello, this is not a network",
    "a safetensors header without end": lambda: (10**9).to_bytes(8, "little") + b"{",
    "not finite": lambda: torch_bytes({"0.weight": torch.full((4, 4), np.nan)}),
    "one layer": lambda: torch_bytes({"0.weight": torch.zeros(4, 4), "0.bias": torch.zeros(4)}),
    "another network": lambda: torch_bytes(
        nn.Sequential(nn.Conv2d(4, 8, 5), nn.Linear(8, 4)).state_dict()
    ),
    "C51": lambda: torch_bytes({"atoms": torch.zeros(51), "network.0.weight": torch.zeros(4, 4)}),
    "another game's actions": lambda: torch_bytes(convolutions(outputs=5).state_dict()),
    "another screen": lambda: torch_bytes(
        {**convolutions().state_dict(), "7.weight": torch.zeros(16, 8 * 36)}
    ),
    "another game's observations": lambda: torch_bytes(
        nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4)).state_dict()
    ),
    "bytes of any number": lambda: torch_bytes({"0.weight": torch.zeros(4, 4), "x": bytearray(9)}),
    "one tensor under many names": lambda: torch_bytes(many_names()),
    "no rows": lambda: safetensors_bytes({"0.weight": torch.zeros(10**6, 0)}),
    "no order": lambda: safetensors_bytes(
        {f"{name}.weight": torch.zeros(8, 8) for name in ("first", "second", "third")}
    ),
    "a scalar": lambda: torch_bytes({"0.weight": torch.tensor(1.0)}),
    "a bias of text": lambda: torch_bytes({"0.weight": torch.zeros(4, 4), "0.bias": "x"}),
    "numbers as names": lambda: torch_bytes({0: torch.zeros(4, 4)}),
    "a policy of a tensor": lambda: zipped(torch_bytes(torch.zeros(3))),
    "a policy of a damaged file": lambda: zipped(b"PK nothing"),
    "safetensors without metadata": lambda: safetensors_bytes({}, b'{"__metadata__":null}'),
    "a list": lambda: torch_bytes([1, 2]),
    "a pickled number": lambda: pickle.dumps(7),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_gets_one_line_and_nothing_is_run(name, capsys):
    Path("file").write_bytes(WRONG[name]())
    assert main(["import", "file", "--game", "breakout"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith("simple-dqn: 'file'")
    assert "Traceback" not in err
    assert not Path("ran").exists()
    assert not Path("snapshots").exists() or not list(Path("snapshots").iterdir())


def test_a_snapshot_that_exists_is_not_replaced(capsys):
    torch.save(convolutions().state_dict(), "file")
    snapshot = imported("file", "breakout")
    before = Path(snapshot).read_bytes()
    torch.save(convolutions().state_dict(), "file")
    assert main(["import", "file", "--game", "breakout", "x"]) == 2
    assert "exists: give another label" in capsys.readouterr().err
    assert Path(snapshot).read_bytes() == before
    assert main(["import", "file", "--game", "breakout", "x", "--overwrite"]) == 0
    assert Path(snapshot).read_bytes() != before
    assert main(["import", snapshot, "--game", "breakout"]) == 2
    assert "already a file of Simple DQN" in capsys.readouterr().err
