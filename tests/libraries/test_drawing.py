"""An episode of each library becomes a film, without a display."""

import io

import numpy as np
import pytest
from PIL import Image

from ppo_jax.errors import UsageError
from ppo_jax.host.pictures import film
from ppo_jax.host.programs.episode import play
from tests.support.agents import Config, init_agent

pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries


@pytest.fixture(scope="module")
def name(library, case):
    return f"{library}:{case.name}"


@pytest.fixture(scope="module")
def episode(name):
    config = Config(env=name)
    return play(config, init_agent(config), seed=0, greedy=False, max_steps=12)


def test_an_episode_becomes_a_gif_with_a_frame_for_each_state(name, episode, tmp_path):
    output = tmp_path / "film.gif"
    try:
        film.check(name, output)
    except UsageError as error:
        if "OpenGL" not in str(error):
            raise
        pytest.skip(str(error))
    film.draw(episode, output)
    image, shown = Image.open(io.BytesIO(output.read_bytes())), []
    for number in range(image.n_frames):
        image.seek(number)
        shown.append(np.asarray(image.convert("RGB"))[film.STRIP :])
    assert len(shown) == episode.steps + 1 > 2
    assert len({frame.shape for frame in shown}) == 1
    assert shown[0].shape[1] >= film.NARROWEST
    assert len(np.unique(shown[0].reshape(-1, 3), axis=0)) > 2
    assert any((frame != shown[0]).any() for frame in shown[1:])


def test_brax_also_becomes_a_page(library, name, episode, tmp_path):
    output = tmp_path / "film.html"
    if library == "brax":
        film.check(name, output)
        film.draw(episode, output)
        assert "brax/visualizer" in output.read_text()
    else:
        with pytest.raises(UsageError, match=r"does not end in \.gif; give"):
            film.check(name, output)


def test_what_its_library_draws_empty_is_refused(library, tmp_path):
    if library != "jumanji":
        pytest.skip("nothing is known to be drawn empty")
    with pytest.raises(UsageError, match=r"env = 'jumanji:MMST-v0' cannot be drawn: .* empty; choose"):
        film.check("jumanji:MMST-v0", tmp_path / "film.gif")


def test_a_misspelled_name_is_refused_before_anything_is_played(library, case, tmp_path):
    wrong, reason = case.refused[0]
    with pytest.raises(UsageError, match=f"env = '{library}:{wrong}'") as caught:
        film.check(f"{library}:{wrong}", tmp_path / "film.gif")
    assert reason in str(caught.value)
