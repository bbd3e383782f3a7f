"""Films of games that are not Atari's, decoded again: each step is a picture, where it belongs."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

av = pytest.importorskip("av")
Image = pytest.importorskip("PIL.Image")

from simple_dqn.errors import UsageError  # noqa: E402
from simple_dqn.main import main  # noqa: E402
from simple_dqn.watch.film import GIF_ROOM, Delayed, Film  # noqa: E402
from simple_dqn.watch.gif import Gif, changed  # noqa: E402
from simple_dqn.watch.recorder import Pictures, Video  # noqa: E402
from simple_dqn.watch.scene import BACKGROUND, QMeter  # noqa: E402
from tests.test_recorder import Frame  # noqa: E402

STEPS = 9


class Lamp(gymnasium.Env):
    """A row of lamps, of which the one of the present step is lit; dark ones are grey."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 7}  # noqa: RUF012
    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    shape, lamp = (20, 10 * (STEPS + 1)), 10

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.now = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.now += 1
        return np.full(2, self.now / STEPS, np.float32), 1.0, self.now == STEPS, False, {}

    def render(self):
        picture = np.full((*self.shape, 3), 100, np.uint8)
        picture[:, self.lamp * self.now : self.lamp * (self.now + 1)] = 255, 255, 0
        return picture


class Corridor(Lamp):
    """Thirty times as wide as high."""

    shape, lamp = (30, 900), 90


class Shades(Lamp):
    """Two dimensions, fractions, a size that changes from step to step, and a part that stays."""

    def render(self):
        picture = np.full((9, 9 + self.now % 2), 0.2)
        picture[0, 0] = 1
        return picture


@pytest.fixture(autouse=True)
def _registered():
    games = {"Lamp-v0": Lamp, "Corridor-v0": Corridor, "Shades-v0": Shades}
    for name, game in games.items():
        gymnasium.register(name, game)
    yield
    for name in games:
        del gymnasium.registry[name]


def gif_of(path):
    """The pictures of a GIF and the hundredths of a second for which each is shown."""
    pictures, delays = [], []
    with Image.open(path) as image:
        for number in range(image.n_frames):
            image.seek(number)
            pictures.append(np.array(image.convert("RGB")))
            delays.append(round(image.info["duration"] / 10))
    return pictures, delays


def video_of(path):
    """The pictures of a video, the seconds at which each appears, and the length."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [
            (frame.to_ndarray(format="rgb24"), frame.time) for frame in container.decode(stream)
        ]
        return (
            [p for p, _ in frames],
            [t for _, t in frames],
            float(stream.duration * stream.time_base),
        )


def lit(picture, columns):
    """The numbers of the lamps that are lit, of 10 in the first ``columns``."""
    yellow = (picture[:, :columns, 0] > 200) & (picture[:, :columns, 2] < 60)
    return sorted({int(column * 10 // columns) for column in np.flatnonzero(yellow.mean(0) > 0.9)})


SMALL = ["--random_steps", "30", "--train_steps", "20", "--test_steps", "0", "--epochs", "1",
         "--replay_size", "100", "--hidden_units", "4", "--validation_size", "5", "--threads", "1",
         "--random_seed", "1"]  # fmt: skip


@pytest.mark.parametrize("q_values", [[], ["--q_values"]])
def test_each_step_is_a_picture_with_the_lamp_where_it_belongs(in_tmp, capsys, q_values):
    assert main(["train", "Lamp-v0", *SMALL]) == 0
    assert main(["record", "snapshots/Lamp-v0_1.safetensors", "--gif", *q_values]) == 0
    said = capsys.readouterr().out
    assert f"videos/Lamp-v0_1.mp4: {STEPS + 1} pictures, 1.4 s, score {STEPS}" in said

    pictures, delays = gif_of("videos/Lamp-v0_1.gif")
    assert [lit(picture, 800) for picture in pictures] == [[n] for n in range(STEPS + 1)]
    assert set(delays) == {14, 15}  # 7 a second
    assert sum(delays) == round(100 * (STEPS + 1) / 7)

    pictures, times, length = video_of("videos/Lamp-v0_1.mp4")
    assert [lit(picture, 1900) for picture in pictures] == [[n] for n in range(STEPS + 1)]
    assert times == pytest.approx([n / 7 for n in range(STEPS + 1)], abs=0.001)
    assert length == pytest.approx((STEPS + 1) / 7, abs=0.001)  # the last one can be seen, too


def test_a_walk_along_the_cliff_is_filmed_step_by_step(in_tmp):
    """Thirteen steps, if one walks by the shortest way: the picture of each, at 4 a second."""
    from simple_dqn.environments.gymnasium_games import GymEnvironment

    env = GymEnvironment(
        "CliffWalking-v1", num_envs=1, seed=np.random.SeedSequence(1), resize="area",
        screen_width=84, screen_height=84, render=True,
    )  # fmt: skip
    shown = []
    gif = Gif("a.gif", env.frames_per_second, env.is_console, Film(0, 1, None, GIF_ROOM))
    video = Video("a.mp4", env.frames_per_second, 0, Film(0, 1, None))
    env.on_frame = (gif, video, lambda env: shown.append(env.screen()))
    env.restart()
    for action in [0, *[1] * 11, 2]:
        env.act(np.array([action]))
    gif.close()
    video.close()
    assert len(shown) == 14
    for pictures in (gif_of("a.gif")[0], video_of("a.mp4")[0]):
        assert len(pictures) == 14
        for picture, expected in zip(pictures, shown, strict=True):
            scale = picture.shape[0] // expected.shape[0]
            small = picture[scale // 2 :: scale, scale // 2 :: scale]
            differences = np.abs(small.astype(int) - expected).reshape(4, 64, 12, 64, 3)
            assert differences.mean(axis=(1, 3, 4)).max() < 5  # in every one of the 4x12 fields
    assert gif_of("a.gif")[1] == [25] * 14
    env.close()


@pytest.mark.parametrize(
    ("rate", "delays"),
    [
        (10, [10] * 6),
        (30, [3, 4, 3, 3, 4, 3]),
        (50, [2] * 6),
        (60, [2] * 6),  # no browser shows shorter ones
        (1000, [2] * 6),
        (0.5, [200] * 6),
        (4, [25] * 6),
    ],
)
def test_the_delays_of_a_gif_add_up_to_the_games_time(tmp_path, rate, delays):
    gif = Gif(tmp_path / "a.gif", rate, False, Film(1, 1, None))
    for grey in range(6):
        gif(Frame(np.full((5, 7, 3), 40 * grey, np.uint8), np.empty(0, np.uint8)))
    gif.close()
    pictures, read = gif_of(tmp_path / "a.gif")
    assert read == delays
    assert [int(picture[2, 3, 1]) for picture in pictures] == [40 * grey for grey in range(6)]


def test_a_step_that_changes_nothing_is_a_picture_too(tmp_path):
    gif = Gif(tmp_path / "a.gif", 10, False, Film(1, 1, None))
    for grey in (9, 9, 9, 50, 50):
        gif(Frame(np.full((5, 7, 3), grey, np.uint8), np.empty(0, np.uint8)))
    gif.close()
    pictures, delays = gif_of(tmp_path / "a.gif")
    assert [int(picture.mean()) for picture in pictures] == [9, 9, 9, 50, 50]
    assert delays == [10] * 5


def test_what_differs_between_two_pictures():
    before = np.zeros((6, 8, 3), np.uint8)
    after = before.copy()
    assert changed(before, after) == (0, 1, 0, 1)
    after[2, 3, 0] = after[4, 7, 2] = 1
    assert changed(before, after) == (2, 5, 3, 8)


def test_only_a_consoles_pictures_are_pooled(tmp_path):
    for console, expected in ((True, [[0, 1]]), (False, [[0], [1], [2]])):
        gif = Gif(tmp_path / f"{console}.gif", 60, console, Film(1, 1, None))
        for number in (2, 0, 1) if console else (0, 1, 2):
            screen = np.zeros((4, 40, 3), np.uint8)
            screen[:, 4 * number : 4 * number + 4] = 255, 255, 0
            gif(Frame(screen, np.empty(0, np.uint8)))
        gif.close()
        assert [lit(picture, 40) for picture in gif_of(tmp_path / f"{console}.gif")[0]] == expected


@pytest.mark.parametrize(
    ("shape", "aspect", "video", "small"),
    [
        ((210, 160), 7 / 4, (840, 1120), (420, 640)),  # Atari
        ((400, 600), 1, (800, 1200), (400, 600)),  # CartPole
        ((20, 400), 1, (80, 1600), (40, 800)),
        ((400, 20), 1, (800, 40), (400, 20)),
        ((8, 8), 1, (1000, 1000), (448, 448)),
        ((1, 1), 1, (1000, 1000), (450, 450)),
        ((1200, 10), 1, (1200, 10), (1200, 10)),
        ((900, 2500), 1, (900, 2500), (900, 2500)),
        ((3000, 8192), 1, (1500, 4096), (1500, 4096)),
        ((1, 9000), 1, (1, 4096), (1, 4096)),
        ((100, 100), 0.25, (1000, 200), (400, 100)),  # pixels higher than wide
    ],
)
def test_every_shape_has_a_size_that_can_be_encoded_and_seen(shape, aspect, video, small):
    assert Film(0, aspect, None).size(*shape) == video
    assert Film(0, aspect, None, GIF_ROOM).size(*shape) == small


def test_a_scale_that_no_encoder_takes_is_refused():
    assert Film(8, 1, None).size(400, 600) == (3200, 4800)
    with pytest.raises(UsageError, match=r"--video_scale 8 makes pictures of 20000x80 pixels"):
        Film(8, 1, None).size(10, 2500)


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (30, 1501), (2001, 3), (4097, 4)])
def test_any_picture_becomes_a_video(tmp_path, shape):
    video = Video(tmp_path / "a.mp4", 10, 0, Film(0, 1, None))
    for grey in (50, 200):
        video(Frame(np.full((*shape, 3), grey, np.uint8), np.empty(0, np.uint8)))
    video.close()
    pictures, _, _ = video_of(tmp_path / "a.mp4")
    assert [round(picture.mean()) for picture in pictures] == pytest.approx([50, 200], abs=3)


def test_a_picture_of_another_size_is_fitted_into_the_first(tmp_path):
    film = Film(0, 1, None, (100, 100))
    sizes = [(10, 10), (10, 20), (40, 10), (200, 200), (10, 10)]
    pictures = [film(np.full((*size, 3), 200, np.uint8)) for size in sizes]
    assert [picture.shape for picture in pictures] == [(100, 100, 3)] * 5
    lights = [(picture == 200).all(axis=2) for picture in pictures]
    assert [int(light.sum()) for light in lights] == [10_000, 5_000, 2_500, 10_000, 10_000]
    assert lights[1][25:75].all()  # centred, all of the width
    assert (pictures[1][:25] == BACKGROUND).all()
    for name, kind in (("a.gif", Gif), ("a.mp4", Video)):
        recorder = kind(tmp_path / name, 10, 0, Film(0, 1, None, (100, 100)))
        for size in sizes:
            recorder(Frame(np.full((*size, 3), 200, np.uint8), np.empty(0, np.uint8)))
        recorder.close()
    assert len(gif_of(tmp_path / "a.gif")[0]) == len(video_of(tmp_path / "a.mp4")[0]) == 5


def test_the_q_values_of_many_actions_fit_beside_a_flat_picture():
    film = Film(0, 1, QMeter([f"action {n}" for n in range(18)]))
    film.q = film.meter.read(np.arange(18, dtype=np.float32), 17)
    picture = film(np.full((20, 400, 3), 200, np.uint8))
    game = np.flatnonzero((picture[:, :1600] == 200).all(axis=(1, 2)))
    assert len(game) == 80
    assert game[0] == pytest.approx(picture.shape[0] - 1 - game[-1], abs=1)  # in the middle
    bars = np.flatnonzero((picture[:, 1600:] == (70, 90, 120)).all(axis=2).any(axis=1))
    runs = 1 + int((np.diff(bars) > 1).sum())
    assert runs == 17  # and the chosen one


def test_pictures_wait_for_the_q_values_of_their_state():
    got, now = [], {"q": None}
    late = Delayed([lambda environment: got.append((environment, now["q"]))])
    for step in range(3):
        late(f"picture {step}")
        now["q"] = step
        late.on_act(None, None)
    late("picture 3")
    late.on_phase_end(None)
    late.on_phase_end(None)
    assert got == [("picture 0", 0), ("picture 1", 1), ("picture 2", 2), ("picture 3", 2)]


def test_single_pictures_of_pixels_higher_than_wide(tmp_path):
    pictures = Pictures(tmp_path / "p", 0.4)
    pictures(Frame(np.zeros((4, 6, 3), np.uint8), np.empty(0, np.uint8)))
    with Image.open(tmp_path / "p" / "000000.png") as image:
        assert image.size == (6, 4)


@pytest.mark.parametrize("game", ["Corridor-v0", "Shades-v0"])
def test_games_of_odd_pictures_are_filmed(in_tmp, capsys, game):
    assert main(["train", game, *SMALL]) == 0
    assert main(["record", f"snapshots/{game}_1.safetensors", "--gif", "--q_values"]) == 0
    pictures, _ = gif_of(f"videos/{game}_1.gif")
    assert len(pictures) == len(video_of(f"videos/{game}_1.mp4")[0]) == STEPS + 1
    if game == "Corridor-v0":
        assert [lit(picture, 900) for picture in pictures] == [[n] for n in range(STEPS + 1)]
    else:
        assert {tuple(picture[449, 225]) for picture in pictures[::2]} == {(51, 51, 51)}


def test_a_game_that_draws_nothing_leaves_no_film_and_one_line(in_tmp, capsys, monkeypatch):
    import os

    assert main(["train", "Lamp-v0", *SMALL]) == 0
    monkeypatch.setattr(Lamp, "render", lambda self: None)
    capsys.readouterr()
    assert main(["record", "snapshots/Lamp-v0_1.safetensors", "--gif"]) == 2
    assert "'Lamp-v0' draws no picture: render() returned None" in capsys.readouterr().err
    assert os.listdir("videos") == []


def test_a_step_of_several_pictures_loses_none_of_them():
    got = []
    late = Delayed([got.append])
    for step in range(2):
        for number in range(3):
            late((step, number))
        late.on_act(None, None)
    assert got == [(step, number) for step in range(2) for number in range(3)]
