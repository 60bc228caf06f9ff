import importlib.util
import io
from functools import cache
from itertools import pairwise

import gymnax
import jax
import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot
from PIL import Image

import ppo_jax
from ppo_jax.envs import registry
from ppo_jax.envs.adapting import Painter
from ppo_jax.envs.make import make_visualizer
from ppo_jax.host.pictures import film
from ppo_jax.host.pictures.film import DRAWN_BY_GYMNASIUM, DRAWN_BY_GYMNAX
from ppo_jax.host.programs.episode import LONGEST, Episode, play
from tests.support.agents import Config, init_agent
from tests.support.marks import first_long


@pytest.fixture(scope="module")
def catch():
    """An episode of nine steps."""
    config = Config(env="Catch-bsuite")
    return play(config, init_agent(config), seed=0)


def frames(content):
    image = Image.open(io.BytesIO(content))
    for number in range(image.n_frames):
        image.seek(number)
        yield np.asarray(image.convert("RGB")).astype(int)


def test_a_gif_has_a_frame_for_each_state_and_successive_frames_differ(catch, tmp_path):
    output = tmp_path / "new" / "catch.gif"
    film.draw(catch, output)
    shown = list(frames(output.read_bytes()))
    assert len(shown) == catch.steps + 1
    below_the_caption = [frame[film.STRIP :] for frame in shown]
    for before, after in pairwise(below_the_caption):
        assert before.shape == after.shape
        assert (before != after).any()
    assert [file.name for file in output.parent.iterdir()] == ["catch.gif"]


def test_the_caption_says_the_step_and_the_return_so_far(catch, monkeypatch):
    captions, original = [], film._frame

    def note(picture, caption, colors):
        captions.append(caption)
        return original(picture, caption, colors)

    monkeypatch.setattr(film, "_frame", note)
    film.gif(catch)
    assert captions[:2] == ["Catch-bsuite: step 0, return 0", "Catch-bsuite: step 1, return 0"]
    assert captions[9] == f"Catch-bsuite: step 9, return {catch.returns[-1]:g}"


def test_the_caption_is_above_the_picture_and_hides_nothing_of_it():
    picture = np.full((40, 300, 3), (202, 152, 101), np.uint8)
    frame = np.asarray(film._frame(picture, "Catch-bsuite: step 0").convert("RGB"))
    np.testing.assert_array_equal(frame[film.STRIP :], picture)
    strip = frame[: film.STRIP]
    assert (strip[[0, -1]] == 255).all()
    assert (strip == 0).all(axis=-1).any()


def test_the_last_frame_stays_for_a_second(catch):
    image = Image.open(io.BytesIO(film.gif(catch)))
    durations = []
    for number in range(image.n_frames):
        image.seek(number)
        durations.append(image.info["duration"])
    assert durations == [100] * 9 + [1000]
    assert image.info["loop"] == 0


def test_a_long_episode_is_shown_by_evenly_spaced_states_and_the_last(catch, monkeypatch, tmp_path):
    everything = list(frames(film.gif(catch)))
    monkeypatch.setattr(film, "MAX_FRAMES", 5)
    some = list(frames(film.gif(catch)))
    assert len(some) == 4
    for mine, number in zip(some, (0, 3, 6, 9), strict=True):
        assert (mine == everything[number]).all()
    assert "9 steps (one frame for 3 of them), return" in film.describe(catch, tmp_path)


def test_there_are_never_more_than_the_maximum_of_frames():
    for steps in (1, 499, 500, 501, 999, 1000, 1001, LONGEST):
        shown = film._shown(Episode("Pong-misc", (), None, np.zeros(steps + 1), True))
        assert len(shown) <= film.MAX_FRAMES
        assert (shown[0], shown[-1]) == (0, steps)
        assert len(set(shown)) == len(shown)
        assert len(shown) == steps + 1 or steps > 500


@cache
def reset_states(env):
    """Two first states, drawn from two keys."""
    made, params = gymnax.make(env)
    states = jax.jit(jax.vmap(lambda key: made.reset_env(key, params)[1]))(
        jax.random.split(jax.random.key(0))
    )
    return jax.device_get(states)


@pytest.mark.parametrize("env", first_long(DRAWN_BY_GYMNAX, 4))
def test_gymnax_draws_more_than_empty_axes(env):
    episode = Episode(env, (), reset_states(env), np.zeros(2, np.float32), True)
    first, _ = frames(film.gif(episode))
    inside = first[100:500, 160:440].reshape(-1, 3)  # of the axes
    assert len(np.unique(inside, axis=0)) > 1


def test_the_player_of_minatar_stands_out_from_black():
    """gymnax's own color for it is almost black."""
    episode = Episode("Seaquest-MinAtar", (), reset_states("Seaquest-MinAtar"), np.zeros(2, np.float32), True)
    first, _ = frames(film.gif(episode))
    blue = np.abs(first - (31, 119, 180)).max(axis=-1) < 4
    assert blue.sum() > 30 * 30


def test_environments_that_gymnax_has_no_picture_of_are_refused():
    for env in registry.ENVIRONMENTS.keys() - {*DRAWN_BY_GYMNASIUM, *DRAWN_BY_GYMNAX, "MNISTBandit-bsuite"}:
        visualizer = make_visualizer(env, (), [])
        visualizer.init()  # draws nothing: with something to draw it would fail, as there is no state
        pyplot.close(visualizer.fig)
        assert not hasattr(visualizer, "im")
        assert not film.can_draw(env)


def test_pyplot_opens_no_window_and_keeps_its_backend_and_figures(catch, monkeypatch):
    def make(env, arguments, states):
        assert matplotlib.get_backend() == "agg"
        return make_visualizer(env, arguments, states)

    monkeypatch.setattr(film, "make_visualizer", make)
    matplotlib.use("svg")
    mine = pyplot.figure()
    try:
        film.gif(catch)
        assert pyplot.get_fignums() == [mine.number]
        assert matplotlib.get_backend() == "svg"
    finally:
        pyplot.close("all")
        matplotlib.use("agg")


@pytest.mark.parametrize("env", DRAWN_BY_GYMNASIUM)
def test_gymnasium_draws_the_same_as_through_gymnax(env):
    pytest.importorskip("pygame")
    from gymnax.visualize.vis_gym import render_gym_frame

    _, params = gymnax.make(env)
    states = reset_states(env)
    rng = np.random.default_rng(0)
    states = states.replace(**{name: rng.normal(size=2) / 4 for name in DRAWN_BY_GYMNASIUM[env]})
    if env == "Pendulum-v1":
        states = states.replace(last_u=np.array([-1.5, 0.5]))
    ones = [jax.tree.map(lambda leaf, index=index: leaf[index], states) for index in range(2)]
    pictures = list(film._draw_with_gymnasium(Episode(env, (), None, np.zeros(2), True), ones))
    for picture, state in zip(pictures, ones, strict=True):
        np.testing.assert_array_equal(picture, render_gym_frame(env, state, params))
    assert (pictures[0] != pictures[1]).any()


def test_an_environment_without_a_picture_is_refused_by_name(tmp_path):
    with pytest.raises(ppo_jax.UsageError) as error:
        film.check("FrozenLake-misc", tmp_path / "lake.png")
    env, output = error.value.problems
    assert "env = 'FrozenLake-misc' cannot be drawn" in env
    assert "CartPole-v1" in env
    assert "Catch-bsuite" in env
    assert f"output = '{tmp_path / 'lake.png'}' does not end in .gif" in output


def test_without_pygame_the_refusal_says_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pygame" else object())
    assert not film.can_draw("CartPole-v1")
    assert film.can_draw("Catch-bsuite")
    with pytest.raises(
        ppo_jax.UsageError, match=r"pygame, which is not installed; pip install 'ppo-jax\[render\]'"
    ):
        film.check("CartPole-v1", tmp_path / "cartpole.gif")


def test_with_pygame_every_environment_that_has_a_picture_can_be_drawn(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    for env in (*DRAWN_BY_GYMNASIUM, *DRAWN_BY_GYMNAX):
        assert film.can_draw(env)
        film.check(env, tmp_path / "any.gif")


def test_a_simulator_on_the_host_is_refused_with_the_reason(tmp_path):
    with pytest.raises(ppo_jax.UsageError, match="no states are kept") as error:
        film.check("gymnasium:CartPole-v1", tmp_path / "any.gif")
    assert "env = 'gymnasium:CartPole-v1' cannot be drawn" in str(error.value)


def test_without_its_library_the_refusal_says_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setattr(registry, "missing", lambda library: f"{library} is not here; install it")
    with pytest.raises(ppo_jax.UsageError) as error:
        film.check("navix:Navix-Empty-5x5-v0", tmp_path / "any.gif")
    assert str(error.value) == (
        "env = 'navix:Navix-Empty-5x5-v0' cannot be drawn: navix is not here; install it"
    )


def test_only_brax_can_be_drawn_as_a_page(monkeypatch, tmp_path):
    monkeypatch.setattr(registry, "missing", lambda library: None)
    monkeypatch.setattr(film, "make_painter", None)
    film.check("brax:ant", tmp_path / "ant.html")
    for env in ("jumanji:Snake-v1", "Catch-bsuite"):
        with pytest.raises(ppo_jax.UsageError, match=r"does not end in \.gif; give a name that does"):
            film.check(env, tmp_path / "any.html")
    with pytest.raises(ppo_jax.UsageError, match=r"does not end in \.gif \(or in \.html"):
        film.check("brax:ant", tmp_path / "ant.png")


def test_reports_leave_other_libraries_out_and_import_none(monkeypatch):
    monkeypatch.setattr(registry, "missing", lambda library: None)
    monkeypatch.setattr(film, "make_painter", None)
    assert not any(film.can_draw(f"{library}:{row.example}") for library, row in registry.LIBRARIES.items())


@pytest.mark.parametrize("is_traceable", [False, True])
def test_a_small_picture_of_a_library_is_enlarged_and_its_figures_are_closed(is_traceable, monkeypatch):
    opened = []

    def paint(state):
        opened.append(pyplot.figure().dpi)
        return state.astype(np.uint8)

    monkeypatch.setattr(film, "make_painter", lambda *asked: Painter(paint, is_traceable))
    pictures = np.arange(4 * 2 * 3 * 3).reshape(4, 2, 3, 3)
    episode = Episode("navix:any", (), pictures, np.zeros(4, np.float32), True)
    shown = list(frames(film.gif(episode)))
    factor = film.NARROWEST // 3
    for frame, picture in zip(shown, pictures, strict=True):
        enlarged = picture.repeat(factor, axis=0).repeat(factor, axis=1)
        np.testing.assert_array_equal(frame[film.STRIP :], enlarged)
    assert len(opened) == (1 if is_traceable else 4)
    assert {*opened} == {film.DOTS_PER_INCH}
    assert pyplot.get_fignums() == []


def test_a_long_caption_is_made_to_fit():
    picture = np.zeros((10, 300, 3), np.uint8)
    for caption in ("short", "a name that is rather long: step 1, return 2", 3 * "as long as it can be "):
        strip = np.asarray(film._frame(picture, caption).convert("RGB"))[: film.STRIP]
        assert (strip[:, -9:] == 255).all()
        assert (strip[:, :290] < 100).any()


def test_drawing_refuses_an_episode_that_cannot_be_drawn(catch, tmp_path):
    with pytest.raises(ppo_jax.UsageError, match="cannot be drawn"):
        film.draw(catch._replace(env="FrozenLake-misc"), tmp_path / "lake.gif")
    assert not list(tmp_path.iterdir())


def test_an_output_that_cannot_be_written_is_reported_before_anything_is_drawn(catch, monkeypatch, tmp_path):
    monkeypatch.setattr(film, "gif", None)
    (tmp_path / "file").touch()
    for output in (tmp_path / "file" / "catch.gif", tmp_path / f"{300 * 'long'}.gif"):
        with pytest.raises(
            ppo_jax.UsageError, match=rf"output = '{output}' cannot be written: .*; give another"
        ):
            film.draw(catch, output)


def test_a_directory_with_the_name_of_the_output_is_not_replaced(catch, monkeypatch, tmp_path):
    monkeypatch.setattr(film, "gif", lambda episode: b"content")
    output = tmp_path / "catch.gif"
    output.mkdir()
    with pytest.raises(ppo_jax.UsageError, match="cannot be written: Is a directory"):
        film.draw(catch, output)
    assert list(tmp_path.iterdir()) == [output]


def test_an_interrupted_drawing_leaves_the_older_gif(catch, monkeypatch, tmp_path):
    def interrupt(episode):
        raise KeyboardInterrupt

    monkeypatch.setattr(film, "gif", interrupt)
    output = tmp_path / "catch.gif"
    output.write_text("an older gif")
    with pytest.raises(KeyboardInterrupt):
        film.draw(catch, output)
    assert output.read_text() == "an older gif"
    assert list(tmp_path.iterdir()) == [output]


def test_a_reader_of_the_older_gif_reads_all_of_it(catch, monkeypatch, tmp_path):
    monkeypatch.setattr(film, "gif", lambda episode: b"content")
    output = tmp_path / "catch.gif"
    output.write_text("an older gif")
    with output.open() as reader:
        film.draw(catch, output)
        assert reader.read() == "an older gif"
    assert output.read_text() == "content"


def test_the_description_says_that_an_episode_was_cut_off(catch, tmp_path):
    cut = catch._replace(finished=False)
    said = f"wrote {tmp_path}: 9 steps, cut off before its end, return {catch.returns[-1]:g}"
    assert film.describe(cut, tmp_path) == said
