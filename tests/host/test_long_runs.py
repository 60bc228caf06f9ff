"""A run directory across the limits of 32 bits: resumed from a checkpoint just before one, to its end."""

import dataclasses
import json

import jax
import numpy as np
import pytest

import ppo_jax
from ppo_jax.count import Count
from ppo_jax.host.pictures import plots
from ppo_jax.host.programs import chunks
from ppo_jax.host.runs import records, request
from ppo_jax.host.runs.checkpoints import directories, store
from ppo_jax.host.runs.checkpoints.store import Progress, Store
from ppo_jax.host.runs.directory import RunDirectory
from ppo_jax.host.training import start
from tests.host.conftest import EVERYTHING, changed

pytestmark = pytest.mark.usefixtures("blank_pictures")

BATCH = EVERYTHING.config.batch_size
MORE = 6


@pytest.fixture(scope="module")
def first_state():
    program = chunks.compile_program(EVERYTHING.config, EVERYTHING.hyper)
    return jax.device_get(program.init(EVERYTHING.hyper, np.uint32(3)))


@pytest.mark.parametrize(
    "steps", [2**31, *(pytest.param(x, marks=pytest.mark.long) for x in (2**32, 10**15))]
)
def test_a_run_goes_on_across_them_and_all_its_files_say_the_same(tmp_path, first_state, steps):
    done = steps // BATCH - 3
    asked = changed(EVERYTHING, total_timesteps=(done + MORE) * BATCH, learning_rate_schedule="linear")
    run = RunDirectory(tmp_path / "long")
    run.path.mkdir()
    request.write(run, asked)
    state = first_state._replace(num_updates=Count.of(done), horizon=Count.of(asked.config.num_updates))
    store.save(Store(run.checkpoints, request.digest(asked), 2), state, Progress(done, None, 0))

    assert start.run(asked, run.path, resume=True, quiet=True) == 0

    rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    updates = [done + number for number in range(1, MORE + 1)]
    assert [row["update"] for row in rows] == updates
    assert [row["env_steps"] for row in rows] == [BATCH * update for update in updates]
    progress = (np.array(updates) - 1) / (done + MORE)
    rate = asked.hyper.learning_rate * (1 - progress)
    tolerance = asked.hyper.learning_rate * 2**-22  # progress is a quotient of two float32
    np.testing.assert_allclose([row["learning_rate"] for row in rows], rate, atol=tolerance)
    summary = json.loads(run.summary.read_text())
    assert (summary["updates"], summary["env_steps"]) == (updates[-1], BATCH * updates[-1])
    opened = ppo_jax.open_run(run.path)
    assert opened.metrics["env_steps"].astype(int).tolist() == [BATCH * update for update in updates]
    saved = directories.newest_first(run.checkpoints)[0]
    assert directories.read(saved).manifest.leaves["num_updates"] == {"shape": [], "dtype": "int64"}
    assert int(saved.name) == updates[-1]
    assert plots.draw([run]).exists()


def test_steps_of_a_chunk_become_ints_of_python():
    metrics = ppo_jax.Metrics(**dict.fromkeys(ppo_jax.Metrics._fields, np.zeros(4, np.float32)))
    steps = Count.of(np.array([2**31 - 256, 2**31, 2**53 - 1, 0]))
    rows = records.from_metrics(metrics._replace(env_steps=steps), 3, records.Clock(1, 0.0, 1.0))
    assert [row["env_steps"] for row in rows] == [2**31 - 256, 2**31, 2**53 - 1]
    assert all(type(row["env_steps"]) is int for row in rows)


def test_configurations_of_1e15_steps_are_asked_for_like_any_other(tmp_path):
    config = dataclasses.replace(EVERYTHING.config, total_timesteps=10**15, num_envs=4, num_steps=128)
    ppo_jax.validate(config)
    asked = EVERYTHING._replace(config=config)
    run = RunDirectory(tmp_path / "long")
    run.path.mkdir()
    request.write(run, asked)
    assert request.read(run) == asked
