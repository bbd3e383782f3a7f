"""State dicts of torch and the archives around them.

Only tensors are read (``weights_only``), and no more bytes are allocated than a small multiple of
the file's: what an archive says about its own size is checked before.
"""

from __future__ import annotations

import io
import json
import pickletools
import re
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from simple_dqn.storage.foreign.network import ForeignNetwork, Layer, make_layer

LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # how torch's files began before 1.6
SLACK = 1_000_000  # bytes by which an archive may grow: names and pickled shapes
GROWTH = 8  # times the tensors' own bytes that layers may take as float32: some were bytes
TENSORS = {
    ("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_parameter"),
    ("collections", "OrderedDict"),
}  # fmt: skip
WRAPPERS = ("model_weights", "state_dict", "model_state_dict", "q_network", "model")
NO_NORM = "if it was trained with VecNormalize, the statistics of that are not applied"
RELU = "its activation_fn is not in what is read: rectifiers, as by default, are assumed"
LIVES = "there, a lost life ended an episode and emptied the frames, also in its evaluation"


def read_archive(data: bytes) -> ForeignNetwork:
    """Return the network of a zip file: Stable-Baselines3's, or one that torch wrote.

    Raises:
        ValueError: it is neither, or damaged.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
        if sum(sizes.values()) > len(data) + SLACK:
            raise ValueError("an archive that grows when it is unpacked")
        if "policy.pth" in sizes:
            return _stable_baselines3(load_tensors(archive.read("policy.pth")))
    return _state_dict(load_tensors(data), ordered=True)


def read_safetensors(data: bytes) -> ForeignNetwork:
    """Return the network of a safetensors file.

    Raises:
        ValueError: it is damaged, or one of our own.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    length = int.from_bytes(data[:8], "little")
    if length > SLACK:
        raise ValueError("a safetensors header of more than 1 MB")
    header = json.loads(data[8 : 8 + length])
    if "simple_dqn" in (header.get("__metadata__") or {}):
        raise ValueError("already a file of Simple DQN")
    try:
        return _state_dict(load(data), ordered=False)
    except SafetensorError as error:
        raise ValueError(str(error).splitlines()[0]) from None


def load_tensors(data: bytes) -> Any:
    """Return what ``torch.save`` wrote: tensors in dicts and lists.

    Raises:
        ValueError: it contains something else, or is damaged.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        sizes = [info.file_size for info in archive.infolist()]
        if sum(sizes) > len(data) + SLACK:
            raise ValueError("an archive that grows when it is unpacked")
        for name in archive.namelist():
            if name.endswith("data.pkl"):
                _require_tensors(archive.read(name))
    try:
        found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds, for a file that anyone may have made
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise ValueError(f"more than tensors, or damaged: {reason}") from None
    for tensor in _tensors(found, set()):
        held = tensor.untyped_storage().nbytes()
        if held not in sizes or tensor.numel() * tensor.element_size() > held:
            raise ValueError("tensors that are larger than their data")
    return found


def _require_tensors(pickled: bytes) -> None:
    """Raise ValueError for a pickle that names anything but tensors: even bytearray takes memory.

    torch writes protocol 2, whose GLOBAL has "module name".
    """
    for operation, argument, _ in pickletools.genops(pickled):
        module, _, name = str(argument).partition(" ")
        tensors = (module, name) in TENSORS or (module == "torch" and name.endswith("Storage"))
        if operation.name in ("STACK_GLOBAL", "INST") or (
            operation.name == "GLOBAL" and not tensors
        ):
            raise ValueError(f"it names {str(argument).replace(' ', '.')}, which is no tensor")


def _tensors(found: Any, seen: set[int]) -> Iterator[Tensor]:
    """Yield the tensors in dicts; ``seen`` are the dicts that were looked into."""
    if isinstance(found, Tensor):
        if found.layout != torch.strided or found.device.type != "cpu" or found.is_quantized:
            raise ValueError("tensors of another layout")
        yield found
    elif isinstance(found, Mapping) and id(found) not in seen:
        seen.add(id(found))
        for value in found.values():
            yield from _tensors(value, seen)


def _stable_baselines3(found: Any) -> ForeignNetwork:
    """Return the network of ``policy.pth``: DQN's or, of sb3-contrib, QR-DQN's."""
    if not isinstance(found, Mapping):
        raise ValueError("Stable-Baselines3's, but without a state dict")
    for prefix, source in (("q_net.", "DQN"), ("quantile_net.", "QR-DQN")):
        own = {name: value for name, value in found.items() if str(name).startswith(prefix)}
        if own:
            # The feature extractor is registered before the fully connected layers.
            layers = _layers(own)
            screens = layers[0].weight.dim() == 4
            return ForeignNetwork(
                f"Stable-Baselines3 {source}", layers, dict(conv1_padding=0) if screens else {},
                presses_fire=screens, quantiles_first=source == "QR-DQN",
                differs=(RELU, LIVES) if screens else (RELU, NO_NORM),
            )  # fmt: skip
    raise ValueError("Stable-Baselines3's, but of neither DQN nor QR-DQN")


def _state_dict(found: Any, ordered: bool) -> ForeignNetwork:
    """Return the network of a state dict: CleanRL's, PFRL's, or any of layers in a row."""
    for wrapper in WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(wrapper), Mapping):
            found = found[wrapper]
    if not isinstance(found, Mapping) or not found:
        raise ValueError("without a state dict")
    if not all(isinstance(name, str) for name in found):
        raise ValueError("a dict whose keys are no names")
    names = list(found)
    if not ordered:  # a safetensors file does not keep the order of its layers: their numbers tell
        if len({re.sub(r"\d+", "", n.rpartition(".")[0]) for n in names}) > 1:
            raise ValueError("layers whose order the names do not tell: name them by numbers")
        names.sort(key=_natural)
    found = {name: found[name] for name in names}
    if "atoms" in found or "supports" in found:
        raise ValueError("of C51, which has fixed values of the return: no network here has")
    layers = _layers(found)
    screens = layers[0].weight.dim() == 4
    padding = dict(conv1_padding=0) if screens else {}
    if all(re.fullmatch(r"network\.\d+\.(weight|bias)", name) for name in names):
        return ForeignNetwork(
            "CleanRL", layers, padding, presses_fire=screens, differs=(LIVES,) if screens else ()
        )
    if {"0.layers.0.weight", "0.output.weight", "1.weight"} <= set(names):
        return ForeignNetwork("PFRL", layers, padding)
    differs = ("the padding of the first convolution is not known: 0 pixels, unless given",)
    return ForeignNetwork("a state dict", layers, padding, differs=differs if screens else ())


def _natural(name: str) -> list[Any]:
    """Return a key that sorts numbers in names by their value."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _layers(found: Mapping[str, Any]) -> list[Layer]:
    """Return the layers of "<name>.weight" and "<name>.bias", in their order.

    Raises:
        ValueError: there is something else.
    """
    values = [value for value in found.values() if isinstance(value, Tensor)]
    held = {v.untyped_storage().data_ptr(): v.untyped_storage().nbytes() for v in values}
    if sum(v.numel() for v in values) * 4 > GROWTH * sum(held.values()):
        raise ValueError("tensors that share their data")
    layers, used = [], set()
    for name, value in found.items():
        if name.endswith("weight") and isinstance(value, Tensor):
            bias = name.removesuffix("weight") + "bias"
            layers.append(make_layer(value, found.get(bias)))
            used |= {name, bias}
    rest = [name for name in found if name not in used]
    if rest or not layers:
        raise ValueError(f"with more than layers of weights and biases: {', '.join(rest):.80}")
    return layers
