"""The original simple_dqn's snapshots: pickles of Neon, with weights alone.

    {"epoch_index": n, "model": {"config": {"layers": [{"params": {"W": array}, ...}, ...]}}, ...}
    {"epoch_index": n, "layer_params_states": [{"params": array, "states": [...]}, ...]}  (before)

A convolution's W is [channels · rows · columns, filters], a linear layer's [out, in]; there are no
biases. Neon convolves without flipping, as torch does.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simple_dqn.networks.q_network import CONVOLUTIONS
from simple_dqn.options.presets import PRESETS
from simple_dqn.storage.foreign.network import ForeignNetwork, Layer, make_layer

MOST_EPOCHS = 1_000_000
GROWTH = 8  # times the file that layers may take as float32: some were of smaller numbers
SIMPLE_DQN = {**PRESETS["simple_dqn"], "preset": "simple_dqn"}


class Array:
    """An array as numpy pickles it; made only of bytes that the file has."""

    def __init__(self, *_: Any) -> None:
        self.array: NDArray[Any] = np.zeros(0)

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, by_columns, data = state
        data = data.encode("latin1") if isinstance(data, str) else data
        kind = dtype.dtype
        if math.prod(shape) * kind.itemsize != len(data):
            raise ValueError("an array of another size than its data")
        order: Any = "F" if by_columns else "C"
        self.array = np.frombuffer(data, kind).reshape(shape, order=order)


class Kind:
    """A dtype as numpy pickles it: of numbers only."""

    def __init__(self, code: Any, *_: Any) -> None:
        code = code.decode("ascii") if isinstance(code, bytes) else code
        if code not in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"):
            raise ValueError("an array of something else than numbers")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        order = state[1].decode("ascii") if isinstance(state[1], bytes) else state[1]
        self.dtype = self.dtype.newbyteorder(order)


def scalar(kind: Kind, data: Any) -> Any:
    """Return a number as numpy pickles it."""
    data = data.encode("latin1") if isinstance(data, str) else data
    return np.frombuffer(data, kind.dtype)[0].item()


def encode(text: str, encoding: str) -> bytes:
    """Return the bytes that Python 2 wrote as a text."""
    if encoding != "latin1":
        raise ValueError("a text of another encoding")
    return text.encode("latin1")


ALLOWED = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): Array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): scalar for core in ("core", "_core")},
    ("numpy", "ndarray"): Array,
    ("numpy", "dtype"): Kind,
    ("_codecs", "encode"): encode,
}


class NumbersUnpickler(pickle.Unpickler):
    """Builds numpy arrays, dicts, lists and numbers, and calls nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for numpy's functions; see ``pickle.Unpickler``."""
        if (module, name) not in ALLOWED:
            raise ValueError(f"a pickle that calls {module}.{name}: it is not run")
        return ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> Any:
        """Refuse references to other files."""
        raise ValueError("a pickle that refers to something else")


def read_pickle(data: bytes) -> ForeignNetwork:
    """Return the network of a Neon pickle.

    Raises:
        ValueError: it is something else, or damaged.
    """
    try:
        # The memo is a list as long as its largest index: a small file could demand any size.
        for operation, argument, _ in pickletools.genops(data):
            if "PUT" in operation.name and int(argument or 0) > len(data):
                raise ValueError("a pickle with a memo larger than the file")
        found = NumbersUnpickler(io.BytesIO(data), encoding="latin1").load()
        arrays = list(_weights(found))
        epoch = found.get("epoch_index", 0)
    except ValueError:
        raise
    except Exception as error:  # of many kinds, for a file that anyone may have made
        raise ValueError(f"damaged ({type(error).__name__})") from None
    if sum(array.size for array in arrays) * 4 > GROWTH * len(data):
        raise ValueError("a pickle that repeats its arrays")
    layers: list[Layer] = []
    for number, array in enumerate(arrays):
        if array.ndim != 2:
            raise ValueError(f"with weights {array.shape}, which Neon does not write")
        if number < len(CONVOLUTIONS):
            kernel = CONVOLUTIONS[number][1]
            array = array.reshape(-1, kernel, kernel, array.shape[1]).transpose(3, 0, 1, 2)
        layers.append(make_layer(np.array(array, np.float32, order="C")))
    known = isinstance(epoch, int) and 0 <= epoch <= MOST_EPOCHS
    return ForeignNetwork("simple_dqn (Neon)", layers, SIMPLE_DQN, epoch=epoch if known else 0)


def _weights(found: Any) -> Iterator[NDArray[Any]]:
    """Yield the weights of each layer that has some, of both layouts."""
    if "layer_params_states" in found:
        layers = found["layer_params_states"]
    else:
        layers = found["model"]["config"]["layers"]
    for layer in layers:
        params = layer.get("params")
        if isinstance(params, dict):
            params = params.get("W")
        elif isinstance(params, list):
            params = params[0] if params else None
        if isinstance(params, Array):
            yield params.array
