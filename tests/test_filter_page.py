"""The filter page: colours worked out by hand, data decoded from the file, a short real game."""

from __future__ import annotations

import base64
import gzip
import html
import json
import logging
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

from simple_dqn.analysis.filter_page import (
    attribution_rgba,
    last_three,
    rgba,
    visualize,
    write_page,
)
from simple_dqn.analysis.filters import attribute
from simple_dqn.commands.build import build
from simple_dqn.errors import UsageError
from simple_dqn.options.resolve import resolve
from simple_dqn.storage.snapshot import Snapshot

from .test_filters import make, random_states, watch


def channels(pixels):
    """Return (red, green, blue, alpha) [4, h, w] of packed pixels, byte by byte."""
    return np.stack([pixels >> shift & 255 for shift in (0, 8, 16, 24)])


def test_frames_become_red_green_and_blue():
    frames = np.uint8([[[1, 2]], [[30, 40]], [[255, 0]]])
    assert channels(rgba(frames)).tolist() == [[[1, 2]], [[30, 40]], [[255, 0]], [[255, 255]]]


def test_last_three_frames():
    assert last_three(np.arange(5)).tolist() == [2, 3, 4]
    assert last_three(np.arange(4)).tolist() == [1, 2, 3]
    assert last_three(np.arange(3)).tolist() == [0, 1, 2]
    assert last_three(np.arange(2)).tolist() == [0, 0, 1]
    assert last_three(np.arange(1)).tolist() == [0, 0, 0]


def test_zero_is_grey_and_the_extremes_black_or_white():
    values = np.float32([[[0.0, 0.5]], [[-2.0, 1.0]], [[2.0, -0.5]]])
    expected = [[[128, 160]], [[1, 192]], [[255, 96]], [[255, 255]]]  # 128 + 127·v/2
    assert channels(attribution_rgba(values)).tolist() == expected
    for scale in (1e-42, 1e30):
        assert channels(attribution_rgba(values * np.float32(scale)))[1, 0, 0] == 1
    assert (channels(attribution_rgba(np.zeros((3, 1, 2), np.float32)))[:3] == 128).all()


class Page(HTMLParser):
    """What a browser would load, and the embedded data."""

    def __init__(self, text):
        super().__init__()
        self.loads, self.json, self._in_json = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        self._in_json = named.get("type") == "application/json"
        if tag in ("link", "iframe", "img", "object", "embed", "base") or "src" in named:
            self.loads.append((tag, attrs))

    def handle_data(self, data):
        if self._in_json and data.strip():
            self.json.append(json.loads(html.unescape(data)))  # as Bokeh's script does


def decode(value):
    """Return a value of the page's data as a Python or numpy object."""
    if isinstance(value, dict) and value.get("type") == "ndarray":
        content = gzip.decompress(base64.b64decode(value["array"]["data"]))
        return np.frombuffer(content, value["dtype"]).reshape(value["shape"])
    if isinstance(value, dict) and value.get("type") == "number":
        return float(value["value"])
    return [decode(v) for v in value] if isinstance(value, list) else value


def sources(page):
    """Return the columns of every data source of the page, in the order of the tabs."""
    found = []

    def walk(value):
        if isinstance(value, dict):
            if value.get("name") == "ColumnDataSource":
                entries = value["attributes"]["data"].get("entries", [])
                found.append({name: decode(column) for name, column in entries})
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    walk(page.json)
    return [s for s in found if "caption" in s], [s for s in found if "values" in s]


@pytest.fixture(scope="module")
def layers():
    torch.manual_seed(0)
    network = make()
    network.layers[2].bias.data[3] = -1e6  # filter 4 of the second convolution is dead
    return attribute(network, "fan_in", watch(network, random_states(5), filters=16).layers)


@pytest.fixture(scope="module")
def page(layers, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "results" / "game.html"
    write_page(path, "a <game>", "facts & <figures>", layers, steps=5)
    assert path.stat().st_size < 15e6
    return path.read_text(encoding="utf-8")


def test_page_contains_the_images(layers, page):
    states, attributions = sources(Page(page))
    assert len(states) == len(attributions) == len(layers) == 3
    for layer, left, right in zip(layers, states, attributions, strict=True):
        assert len(left["image"]) == 16
        for k, best in enumerate(layer.strongest.states):
            if layer.strongest.activations[k] <= 0:
                continue
            assert (channels(left["image"][k])[:3] == best[1:]).all()
            for kind, view in enumerate((layer.guided, layer.gradient, layer.control)):
                row = {name: column[3 * k + kind] for name, column in right.items()}
                box = (
                    slice(row["top"], row["top"] + row["height"]),
                    slice(row["left"], row["left"] + row["width"]),
                )
                assert (row["right"], row["bottom"]) == (box[1].stop, box[0].stop)
                whole = np.zeros((3, 84, 84), np.float32)
                whole[:, box[0], box[1]] = row["values"]
                np.testing.assert_array_equal(whole, view.values[k][1:])
                largest = np.abs(whole).max()
                assert f"± {largest:.3g}" in row["title"]
                bytes_ = channels(row["image"])[:3].astype(int)
                np.testing.assert_allclose((bytes_ - 128) / 127 * largest, row["values"],
                                           atol=0.51 / 127 * largest)  # fmt: skip


def test_captions_say_where_and_when(layers, page):
    states, _ = sources(Page(page))
    best = layers[2].strongest
    (y, x), step = best.positions[6], best.steps[6]
    assert states[2]["caption"][6] == (
        f"<b>convolution 3, 3x3/1, 64 filters: filter 7</b> (of the first 16): strongest "
        f"activation {best.activations[6]:.4g}, in row {y}, column {x} of its map, after {step} of "
        f"5 steps ({step * 20}% into the game)"
    )


def test_dead_filter_shows_nothing(page):
    states, attributions = sources(Page(page))
    assert "filter 4</b> (of the first 16): never active" in states[1]["caption"][3]
    assert not states[1]["image"][3].any()  # transparent
    for row in (9, 10, 11):
        assert np.isnan(attributions[1]["top"][row])


def test_page_is_self_contained_and_states_its_limits(page):
    assert Page(page).loads == []
    assert not re.search(r"@import|url\(\s*['\"]?http", page)
    assert "<title>a &lt;game&gt;</title>" in page
    assert "facts &amp; &lt;figures&gt;" in html.unescape(page)
    assert "never why an action was chosen" in page
    assert "Sanity Checks for Saliency Maps" in page


def make_page(run, path, filters, page):
    snapshot = Snapshot(path, {}, "breakout", [], (), "uint8", 4, 1000, 250, {})
    visualize(
        run.agent, run.statistics, snapshot, page, game=run.game, filters=filters,
        seed=run.config.common.random_seed, weight_init=run.config.network.weight_init,
    )  # fmt: skip


def test_game_of_breakout(in_tmp, breakout, caplog):
    """Cut off after 400 frames: 100 steps."""
    caplog.set_level(logging.INFO)
    config = resolve(
        dict(
            environment="ale", screen_width=40, screen_height=36, hidden_units=8, random_seed=7,
            backend="cpu", threads=1, test_frame_cap=400, history_length=2, random_starts=0,
        )
    )  # fmt: skip
    path = Path("results/breakout.html")
    with build(config, "breakout", breakout, with_memory=False) as run:
        weights = {name: tensor.clone() for name, tensor in run.network.weights().items()}
        make_page(run, Path("snapshots/breakout_4.safetensors"), 3, path)
        assert all(torch.equal(t, weights[n]) for n, t in run.network.weights().items())
    steps = run.statistics.row["steps"]
    assert 95 <= steps <= 100
    text = path.read_text(encoding="utf-8")
    states, _ = sources(Page(text))
    assert [len(source["image"]) for source in states] == [3, 3, 3]
    assert states[0]["image"][0].shape == (36, 40)
    assert any("% into the game" in caption for caption in states[2]["caption"])
    facts = f"breakout_4.safetensors: epoch 4, 1000 training steps. One game of {steps} steps"
    assert facts in text
    assert caplog.messages[-1] == f"wrote {path}"


def test_vectors_are_refused_before_playing(in_tmp):
    config = resolve(dict(environment="gym", backend="cpu", threads=1, history_length=1))
    with build(config, "CartPole-v1", None, with_memory=False) as run:
        with pytest.raises(UsageError, match="no convolutional layer"):
            make_page(run, Path("a.safetensors"), 4, Path("results/a.html"))
        assert run.agent.phase == ""
    assert not Path("results").exists()
