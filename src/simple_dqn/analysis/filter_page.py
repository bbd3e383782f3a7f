"""The filter page, one HTML file: each filter's strongest state and the pixels that excite it.

The last three frames of a state are shown as red, green and blue, so pixels that did not change are
grey and new ones are blue. The page contains all its data and scripts and needs no server.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from bokeh.embed import file_html
from bokeh.layouts import column, row
from bokeh.models import (
    CDSView,
    ColumnDataSource,
    CrosshairTool,
    CustomJS,
    CustomJSHover,
    HoverTool,
    IndexFilter,
    Range1d,
    TabPanel,
    Tabs,
)
from bokeh.models.annotations import Span
from bokeh.models.renderers import DataRenderer
from bokeh.models.widgets import Div, RadioButtonGroup, Slider
from bokeh.plotting import figure
from bokeh.resources import INLINE
from numpy.typing import NDArray

from simple_dqn.agent import Agent
from simple_dqn.analysis.filters import Layer, StrongestStates, attribute
from simple_dqn.options.option import short_text
from simple_dqn.statistics import Statistics
from simple_dqn.storage.files import write_atomically
from simple_dqn.storage.snapshot import Snapshot

logger = logging.getLogger(__name__)

KINDS = ("guided backpropagation", "plain gradient", "control: random weights")
ZERO = 128  # the byte for an attribution of 0; ±127 around it stand for ± the largest
FIGURE_WIDTH, BORDER = 520, 40  # pixels on the page
ORANGE = "#ffb000"

HOVER = """
const [x, y] = [Math.floor(special_vars.x), Math.floor(special_vars.y)]
if (format == "pixel") return `x ${x}, y ${y}`
if (format == "state") {
    const rgba = states.data.image[state_row.indices[0]]
    const pixel = rgba[y * rgba.shape[1] + x]
    return [0, 8, 16].map(shift => pixel >> shift & 255).join(", ")
}
const j = attribution_row.indices[0]
const values = attributions.data.values[j], [, height, width] = values.shape
const [row, column] = [y - attributions.data.top[j], x - attributions.data.left[j]]
const inside = row >= 0 && row < height && column >= 0 && column < width
return [0, 1, 2].map(frame => {
    const value = inside ? values[(frame * height + row) * width + column] : 0
    return (value > 0 ? "+" : "") + Number(value.toPrecision(3))
}).join(", ")
"""

SHOW = """
const i = slider.value - 1, j = i * 3 + kind.active
state_row.indices = [i]
attribution_row.indices = [j]
caption.text = states.data.caption[i]
right.title.text = attributions.data.title[j]
"""

EXPLANATION = """
<style>p { margin: 0 0 8px; break-inside: avoid }</style>
<div style="columns: 2 340px; column-gap: 32px; color: #333; line-height: 1.4">
<p><b>Left:</b> the state of this game that excites the filter most. <b>Right:</b> the pixels that
excite it. {colours} On the right, mid-grey is zero: where it is lighter, a brighter pixel excites
the filter more; where it is darker, less. The orange frame is the receptive field, everything the
unit can see. The mouse wheel zooms both pictures, dragging moves them, hovering reads a pixel, and
the arrow keys move the slider.</p>
<p><b>What this does not show.</b> Guided backpropagation (Springenberg et al. 2015) shows what in a
state excites a filter, never why an action was chosen. In image classifiers it mostly survived
randomised weights (Adebayo et al. 2018, <i>Sanity Checks for Saliency Maps</i>). So compare it with
the <b>plain gradient</b> (Simonyan et al. 2014) and with the <b>control</b>: the same filter on the
same state in an untrained network, at the position where it is strongest there. Whatever the
control shows too is not a result of training. In the first convolution there is no rectifier
between filter and pixels, so the picture only shows the filter's own weights.</p>
</div>
"""


COLOURS = """The last three frames of a state are its colours: <b style="color: #c00">red</b> is the
oldest, then <b style="color: #080">green</b>, and <b style="color: #00d">blue</b> is the newest;
pixels that did not change are grey. The first state of a game is all blue: no frames precede it."""
FEWER = "States of this network have {history} frames: the titles give the colour of each."


def visualize(
    agent: Agent,
    statistics: Statistics,
    snapshot: Snapshot,
    path: Path,
    *,
    game: str,
    seed: int,
    filters: int,
    weight_init: str,
) -> None:
    """Play one game and write the page of it.

    Args:
        agent: plays with the snapshot's weights.
        statistics: one of the agent's callbacks; they count the game.
        snapshot: named on the page.
        path: the HTML file.
        game: its name.
        seed: the random seed of the game, for the page.
        filters: how many filters of each convolution to show, from the first on.
        weight_init: initialization of the control network, see ``q_network.INITIALIZERS``.

    Raises:
        UsageError: the network has no convolution.
    """
    network = agent.network.network
    strongest = StrongestStates(network, filters)
    agent.callbacks.append(strongest)
    logger.info("playing a game of %s to see what excites the filters", game)
    agent.play(1)
    layers = attribute(network, weight_init, strongest.layers)
    score, rate = statistics.row["average_reward"], agent.exploration_rate
    facts = (
        f"{snapshot.path.name}: epoch {snapshot.epoch}, {snapshot.total_train_steps} training "
        f"steps. One game of {strongest.steps} steps: score {short_text(score)}, ε {rate:g}, "
        f"seed {seed}"
    )
    write_page(path, f"{game}: what excites the filters", facts, layers, strongest.steps)
    logger.info("wrote %s", path)


def write_page(path: Path, title: str, facts: str, layers: Sequence[Layer], steps: int) -> None:
    """Write the page.

    Args:
        path: the HTML file.
        title: the heading.
        facts: one line on how the page was made.
        layers: the convolutions, from ``filters.attribute``.
        steps: length of the game, in agent steps.
    """
    history = layers[0].strongest.states.shape[1]
    colours = COLOURS if history >= 3 else FEWER.format(history=history)
    head = f'<h1 style="margin: 0; font-size: 20px">{escape(title)}</h1>{escape(facts)}'
    page = column(
        Div(text=head, sizing_mode="stretch_width"),
        Tabs(tabs=[layer_panel(layer, steps) for layer in layers], sizing_mode="stretch_width"),
        Div(text=EXPLANATION.replace("{colours}", colours), sizing_mode="stretch_width"),
        sizing_mode="stretch_width",
        max_width=2 * FIGURE_WIDTH + 20,
        styles={"margin": "0 auto", "padding": "0 10px"},
    )
    write_atomically(path, file_html(page, INLINE, title).encode())


def layer_panel(layer: Layer, steps: int) -> TabPanel:
    """Return the tab of a layer: slider, buttons, the two pictures and a caption."""
    data: dict[str, Any] = dict(
        states=state_source(layer, steps),
        attributions=attribution_source(layer),
        state_row=IndexFilter(indices=[0]),  # the rows shown
        attribution_row=IndexFilter(indices=[0]),
    )
    left, right = picture_pair(layer, data)
    shown = len(layer.strongest.steps)
    slider = Slider(
        start=1, end=max(shown, 2), value=1, step=1, title="filter", disabled=shown == 1
    )
    kind = RadioButtonGroup(labels=list(KINDS), active=0)
    caption = Div(text=data["states"].data["caption"][0], sizing_mode="stretch_width")
    controls = dict(slider=slider, kind=kind, caption=caption, right=right)
    show = CustomJS(args=data | controls, code=SHOW)
    slider.js_on_change("value", show)
    kind.js_on_change("active", show)
    child = column(
        row(slider, kind, sizing_mode="stretch_width"),
        row(left, right, sizing_mode="stretch_width"),
        caption,
        sizing_mode="stretch_width",
    )
    return TabPanel(child=child, title=layer.name)


def picture_pair(layer: Layer, data: dict[str, Any]) -> tuple[figure, figure]:
    """Return the pictures of state and attribution, which share their zoom and crosshair."""
    _, history, height, width = layer.strongest.states.shape
    frames = ", ".join(last_three(np.array(["t−2", "t−1", "t"])[-history:]))
    inner_height = (FIGURE_WIDTH - 2 * BORDER) * height / width
    look: dict[str, Any] = dict(
        x_range=Range1d(start=0, end=width, bounds="auto"),
        y_range=Range1d(start=height, end=0, bounds="auto"),  # row 0 at the top
        sizing_mode="scale_width",
        max_width=FIGURE_WIDTH,
        aspect_ratio=FIGURE_WIDTH / (2 * BORDER + inner_height),
        tools="pan,wheel_zoom,reset",
        active_scroll="wheel_zoom",
        min_border=BORDER,
    )
    left_title = f"strongest state: {frames} as red, green, blue"
    left = figure(title=left_title, toolbar_location=None, **look)
    right = figure(title=data["attributions"].data["title"][0], toolbar_location="right", **look)

    state = dict(source=data["states"], view=CDSView(filter=data["state_row"]))
    seen = dict(source=data["attributions"], view=CDSView(filter=data["attribution_row"]))
    pictures: list[DataRenderer] = [  # what hovering reads
        left.image_rgba("image", x=0, y=0, dw=width, dh=height, **state),
        right.quad(left=0, top=0, right=width, bottom=height, color=(ZERO, ZERO, ZERO)),
    ]
    right.image_rgba("image", x="left", y="top", dw="width", dh="height", **seen)
    line: dict[str, Any] = dict(line_color=ORANGE, line_alpha=0.6)
    crosshair = Span(dimension="width", **line), Span(dimension="height", **line)
    for plot, picture in zip((left, right), pictures, strict=True):
        plot.quad(
            left="left", top="top", right="right", bottom="bottom", **seen,
            fill_color=None, line_color=ORANGE, line_width=2,
        )  # fmt: skip
        plot.grid.visible = False
        plot.toolbar.logo = None
        plot.add_tools(
            CrosshairTool(overlay=crosshair),
            HoverTool(
                renderers=[picture],
                tooltips=[
                    ("pixel", "$x{pixel}"),
                    (f"state at {frames}", "$x{state}"),
                    (f"attribution to {frames}", "$x{attribution}"),
                ],
                formatters={"$x": CustomJSHover(args=data, code=HOVER)},
            ),
        )
    return left, right


def state_source(layer: Layer, steps: int) -> ColumnDataSource:
    """Return a row per filter: the picture of its strongest state, and its caption."""
    best = layer.strongest
    shown = len(best.steps)
    images, captions = [], []
    for k, activation in enumerate(best.activations):
        text = f"<b>{layer.name}: filter {k + 1}</b> (of the first {shown}): "
        image = rgba(last_three(best.states[k]))
        if activation > 0:
            (y, x), step = best.positions[k], best.steps[k]
            text += (
                f"strongest activation {short_text(activation, 4)}, in row {y}, column {x} of its "
                f"map, after {step} of {steps} steps ({step / steps:.0%} into the game)"
            )
        else:
            text += "never active in this game: no state excites this filter"
            image = np.zeros_like(image)  # transparent
        images.append(image)
        captions.append(text)
    return ColumnDataSource(dict(image=images, caption=captions))


def attribution_source(layer: Layer) -> ColumnDataSource:
    """Return a row per filter and kind, at 3·filter + kind: the receptive field and its values."""
    rows = []
    for k, activation in enumerate(layer.strongest.activations):
        for kind, views in zip(KINDS, (layer.guided, layer.gradient, layer.control), strict=True):
            top, left, bottom, right = views.fields[k].tolist()
            values = last_three(views.values[k])[:, top:bottom, left:right]
            if activation > 0:
                title = f"{kind}, full colour ± {np.abs(values).max():.3g}"
                image = attribution_rgba(values)
            else:  # at nan nothing is drawn
                title, top = kind, np.nan
                image = np.zeros(values.shape[1:], np.uint32)
            rows.append(
                dict(
                    image=image, values=values, title=title,
                    left=left, top=top, right=right, bottom=bottom,
                    width=right - left, height=bottom - top,
                )
            )  # fmt: skip
    return ColumnDataSource({name: [row[name] for row in rows] for name in rows[0]})


def last_three(frames: NDArray[Any]) -> NDArray[Any]:
    """Return the last three of H frames, oldest first; if H < 3, the oldest is repeated."""
    count = len(frames)
    return frames[np.maximum(np.arange(count - 3, count), 0)]


def attribution_rgba(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Colour signed values [3, h, w] symmetrically: 0 is mid-grey, the largest black or white."""
    scaled = values / (np.abs(values).max() or 1)
    return rgba(np.rint(ZERO + 127 * scaled).astype(np.uint8))


def rgba(channels: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Pack red, green and blue [3, h, w] into opaque pixels [h, w]."""
    red, green, blue = channels.astype(np.uint32)
    packed: NDArray[np.uint32] = red | green << 8 | blue << 16 | np.uint32(255 << 24)
    return packed
