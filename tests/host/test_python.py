"""Runs from Python: the same files, bits and messages as the command line, and an object per chunk."""

import json
import math
import os
import signal
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ppo_jax
from ppo_jax.envs.environment import Dynamics, Transition
from ppo_jax.host.runs.options import RunOptions
from ppo_jax.host.training import start
from ppo_jax.spaces import Box, Discrete
from tests.host.conftest import SMALL, run_command

pytestmark = pytest.mark.usefixtures("compiled_once", "blank_pictures")

CONFIG, HYPER = SMALL.config, SMALL.hyper
UPDATES = CONFIG.num_updates


def without_time(run):
    return {name: column for name, column in run.metrics.items() if name != "seconds"}


def same(one, other):
    return (
        all(np.array_equal(one[name], other[name], equal_nan=True) for name in one)
        and one.keys() == other.keys()
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A whole run through the one call."""
    options = RunOptions(evaluate_every=15)
    path = tmp_path_factory.mktemp("python") / "run"
    return ppo_jax.run(CONFIG, HYPER, run_dir=path, options=options, quiet=True)


def test_a_run_has_the_bits_of_the_command_line(trained, tmp_path):
    assert start.run(SMALL, tmp_path / "run", quiet=True) == 0
    other = ppo_jax.open_run(tmp_path / "run")
    assert same(without_time(trained), without_time(other))
    tensors = [path / "policy.safetensors" for path in (trained.path, other.path)]
    assert tensors[0].read_bytes() == tensors[1].read_bytes()


def test_a_run_holds_what_was_asked_and_what_came_out(trained):
    assert (trained.config, trained.hyper, trained.seed) == (CONFIG, HYPER, 0)
    assert trained.metrics["update"].tolist() == list(range(1, UPDATES + 1))
    assert all(column.shape == (UPDATES,) for column in trained.metrics.values())
    assert [row["update"] for row in trained.evaluations] == [15, 30]
    assert trained.summary["status"] == "done"
    assert "CartPole-v1" in repr(trained)
    assert len(repr(trained)) < 1500  # no columns


def test_its_agent_evaluates_as_the_command_does(trained, capsys):
    result = trained.evaluate(5, seed=3)
    assert run_command("evaluate", trained.path, "--episodes", "5", "--seed", "3") == 0
    assert f"mean return {result.mean:.2f}" in capsys.readouterr().out


def test_its_agent_acts_on_one_observation_and_on_batches(trained):
    player = trained.player()
    one = player.act(np.array([0.0, 0.0, 0.2, 1.0]))
    assert one.shape == ()
    player.reset()
    leaning = np.array([[0, 0, 0.2, 1.0], [0, 0, -0.2, -1.0], [0, 0, 0.2, 1.0]])
    assert player.act(leaning).tolist() == [1, 0, 1]  # the cart follows the pole
    with pytest.raises(ppo_jax.UsageError, match=r"batch of 1, but the one before was of 3; call reset"):
        player.act(leaning[0])
    with pytest.raises(ppo_jax.UsageError, match=r"shape \[3\]; give \[4\] or N of them"):
        player.act(np.zeros(3))


@pytest.mark.long
def test_it_writes_report_plot_and_film(trained, tmp_path):
    assert trained.plot(tmp_path / "plot.png").read_bytes()[1:4] == b"PNG"
    assert "Repeat this run" in trained.report(tmp_path / "report.html").read_text()
    assert trained.render(tmp_path / "film.gif").read_bytes()[:3] == b"GIF"


def test_each_chunk_is_handed_over_and_together_they_are_the_run(trained, tmp_path):
    with ppo_jax.start_run(CONFIG, HYPER, run_dir=tmp_path / "run", quiet=True) as training:
        chunks = list(training)
    assert training.is_over
    joined = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}
    run = ppo_jax.open_run(training.path)
    assert same(joined, run.metrics)
    assert same(without_time(run), without_time(trained))


@pytest.mark.long
def test_a_loop_of_the_users_own_stops_early_and_goes_on_later_to_the_same_bits(trained, tmp_path):
    path = tmp_path / "run"
    with ppo_jax.start_run(CONFIG, HYPER, run_dir=path, quiet=True) as training:
        first = training.advance()
        second = training.advance()
    assert second["update"][0] == first["update"][-1] + 1
    stopped = ppo_jax.open_run(path)
    assert stopped.summary["status"] == "interrupted"
    assert len(stopped.metrics["update"]) == second["update"][-1] < UPDATES
    finished = ppo_jax.run(CONFIG, HYPER, run_dir=path, resume=True, quiet=True)
    assert same(without_time(finished), without_time(trained))


def test_the_agent_of_a_run_in_progress_is_the_one_that_is_saved(tmp_path):
    with ppo_jax.start_run(CONFIG, HYPER, run_dir=tmp_path / "run", quiet=True) as training:
        training.advance()
        agent = training.agent()
    saved = ppo_jax.open_run(training.path).agent()
    jax.tree.map(np.testing.assert_array_equal, agent, saved)


def test_an_error_of_the_users_loop_comes_out_as_itself_and_the_state_is_saved(trained, tmp_path):
    path = tmp_path / "run"

    def fail_after_one_chunk():
        with ppo_jax.start_run(CONFIG, HYPER, run_dir=path, quiet=True) as training:
            for _ in training:
                raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        fail_after_one_chunk()
    assert list((path / "checkpoints").iterdir())
    finished = ppo_jax.run(CONFIG, HYPER, run_dir=path, resume=True, quiet=True)
    assert same(without_time(finished), without_time(trained))


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_a_signal_saves_says_how_to_go_on_and_then_does_what_it_always_does(tmp_path, capsys, number, error):
    path = tmp_path / "run"

    def train():
        with ppo_jax.start_run(CONFIG, HYPER, run_dir=path) as training:
            for _ in training:
                os.kill(os.getpid(), number)

    with pytest.raises(error) as caught:
        train()
    if error is KeyboardInterrupt:
        assert f"to continue: ppo-jax resume {path}" in str(caught.value)
    else:
        assert caught.value.code == 128 + signal.SIGTERM
    assert f"to continue: ppo-jax resume {path}" in capsys.readouterr().out
    assert ppo_jax.open_run(path).summary["status"] == "interrupted"


def test_a_second_interrupt_does_not_end_the_process_of_the_user(tmp_path):
    before = signal.getsignal(signal.SIGINT)  # ignored, if the tests run in the background of a shell

    def train():
        with ppo_jax.start_run(CONFIG, HYPER, run_dir=tmp_path / "run", quiet=True) as training:
            training.advance()
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train()
    assert signal.getsignal(signal.SIGINT) is before


def test_it_runs_in_a_thread_too(trained, tmp_path):
    runs = []

    def train():
        runs.append(ppo_jax.run(CONFIG, HYPER, run_dir=tmp_path / "run", quiet=True))

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert same(without_time(runs[0]), without_time(trained))


def lever_that_breaks(at):
    """A lever whose reward is NaN from some step on."""

    def reset(key):
        return jnp.int32(0), jnp.ones(1)

    def step(key, state, action):
        reward = jnp.where(state >= at, jnp.nan, (action == 1).astype(jnp.float32))
        return state + 1, Transition(jnp.ones(1), reward, terminated=state > 99, truncated=jnp.array(False))

    return Dynamics(reset, step, Box((1,)), Discrete(2))


LEVER = ppo_jax.Config(env="lever", num_envs=4, num_steps=8, total_timesteps=640, hidden_sizes=(4,))


def test_a_failed_run_raises_and_leaves_its_directory(tmp_path, capsys):
    ppo_jax.register("lever", lever_that_breaks(at=40))
    with pytest.raises(ppo_jax.RunError, match=r"rewards are NaN or infinite at update 6"):
        ppo_jax.run(LEVER, run_dir=tmp_path / "run", quiet=True)
    run = ppo_jax.open_run(tmp_path / "run")
    assert run.summary["status"] == "failed"
    assert len(run.metrics["update"]) == 6


@pytest.mark.long
def test_a_registered_environment_is_named_in_what_says_how_to_go_on(tmp_path, capsys):
    ppo_jax.register("lever", lever_that_breaks(at=math.inf))
    with ppo_jax.start_run(LEVER, run_dir=tmp_path / "run") as training:
        training.advance()
    out = capsys.readouterr().out
    assert f"to continue: ppo_jax.run(config, hyper, run_dir='{tmp_path / 'run'}', resume=True)" in out
    run = ppo_jax.run(LEVER, run_dir=tmp_path / "run", resume=True, quiet=True)
    assert run.summary["status"] == "done"
    assert run.evaluate(3).episodes == 3


def test_a_complete_run_is_returned_as_it_is(trained):
    before = trained.summary
    again = ppo_jax.run(CONFIG, HYPER, run_dir=trained.path, resume=True, quiet=True)
    assert again.summary == before
    with ppo_jax.start_run(CONFIG, HYPER, run_dir=trained.path, resume=True, quiet=True) as training:
        assert training.is_over
        assert training.advance() == {}


def test_mistakes_are_found_at_once_and_leave_no_directory(tmp_path):
    path = tmp_path / "run"
    with pytest.raises(ppo_jax.UsageError, match="gamma = 2"):
        ppo_jax.run(CONFIG, HYPER._replace(gamma=2.0), run_dir=path)
    with pytest.raises(ppo_jax.UsageError, match=r"lenght = 1\.0 is unknown"):
        ppo_jax.run(ppo_jax.Config(env_args={"lenght": 1.0}), run_dir=path, quiet=True)
    assert not path.exists()
    with pytest.raises(ppo_jax.UsageError, match="is not a directory"):
        ppo_jax.open_run(path)


@pytest.mark.long
def test_the_preset_of_the_environment_gives_the_hyperparameters(tmp_path):
    config = ppo_jax.Config(num_envs=4, num_steps=8, total_timesteps=32)
    run = ppo_jax.run(config, run_dir=tmp_path / "run", quiet=True)
    assert run.hyper == ppo_jax.preset("CartPole-v1")[1]
    assert json.loads((run.path / "config.json").read_text())["preset"] == "CartPole-v1"
