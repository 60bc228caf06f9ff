"""Two small requests that tests share, so that each is compiled once; and the command line as a call."""

import dataclasses
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from matplotlib.figure import Figure

from ppo_jax import presets
from ppo_jax.config import Config, Hyperparams
from ppo_jax.host.programs import chunks, lanes
from ppo_jax.host.runs.directory import RunDirectory
from ppo_jax.host.runs.request import Request
from ppo_jax.host.training import start

_CONFIG, _HYPER = presets.preset("CartPole-v1")
# 31 updates of 128 steps.
SMALL = Request(
    preset="CartPole-v1",
    config=dataclasses.replace(_CONFIG, num_envs=4, num_steps=32, total_timesteps=4000, num_epochs=2),
    hyper=_HYPER,
    seed=0,
)
# All that a resume could lose: memory, statistics, scaled rewards, schedules, an adapted rate. 20 updates of
# 256 steps, in the shapes of the runs in `tests/support/runs_of_0_1_0`.
EVERYTHING = Request(
    preset=None,
    config=Config(
        num_envs=16,
        num_steps=16,
        total_timesteps=256 * 20,
        num_epochs=2,
        num_minibatches=2,
        hidden_sizes=(8,),
        memory_size=4,
        normalize_observations=True,
        normalize_rewards=True,
        learning_rate_schedule="adaptive_kl",
        entropy_schedule="cosine",
        clip_schedule="linear",
    ),
    hyper=Hyperparams(entropy_coefficient=0.01, final_entropy_coefficient=0.0, final_clip_epsilon=0.1),
    seed=3,
)


def changed(asked: Request, **changes) -> Request:
    """A request with other values, whether they belong to its config, hyperparameters, options or itself."""

    def belonging_to(names) -> dict:
        return {name: changes.pop(name) for name in names if name in changes}

    config = dataclasses.replace(asked.config, **belonging_to(vars(asked.config)))
    options = dataclasses.replace(asked.options, **belonging_to(vars(asked.options)))
    hyper = asked.hyper._replace(**belonging_to(asked.hyper._fields))
    return asked._replace(config=config, hyper=hyper, options=options, **changes)


def run_command(*arguments: str | Path) -> int:
    """Calls the command line as the shell would, and returns the exit status."""
    from ppo_jax.cli import main

    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


def remembering(compile_anew):
    """A function that compiles, but the same configuration and the same shapes only once."""
    programs = {}

    def remembered(config, traced, *others):
        make = sys.modules["ppo_jax.algorithm.train"].make_environment  # some tests replace it
        leaves, structure = jax.tree.flatten(traced)
        key = (config, make, structure, others, *map(np.shape, leaves))
        if key not in programs:
            programs[key] = compile_anew(config, traced, *others)
        return programs[key]

    return remembered


@pytest.fixture(scope="module")
def compiled_once():
    """For modules that train the same again and again: tracing takes longer than these trainings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "compile_program", remembering(chunks.compile_program))
        patch.setattr(lanes, "compile_lanes", remembering(lanes.compile_lanes))
        yield


@pytest.fixture(scope="module")
def blank_pictures():
    """For modules whose runs end with pictures that nobody looks at: drawing takes longer than training."""
    original = Figure.savefig

    def savefig(figure, *args, **kwargs):
        original(Figure(figsize=(0.1, 0.1)), *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", savefig)
        yield


@pytest.fixture(scope="module")
def four_devices():
    """Half of the devices that the tests have, so that a few members fill more than one block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "local_devices", lambda: jax.devices()[:4])
        yield


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> RunDirectory:
    """The run directory of SMALL, trained to its end."""
    path = tmp_path_factory.mktemp("runs") / "small"
    assert start.run(SMALL, path, quiet=True) == 0
    return RunDirectory(path)
