"""A training with its checkpoints, in one process: to the same bits whatever happens on the way."""

import dataclasses
import json
import math
import shutil
import sys
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import psutil
import pytest

import ppo_jax
from ppo_jax.envs.environment import Dynamics, Transition, make_batched
from ppo_jax.host.monitor.screen import QuietScreen
from ppo_jax.host.programs import chunks
from ppo_jax.host.runs.checkpoints import arrays, directories
from ppo_jax.host.runs.directory import RunDirectory
from ppo_jax.host.runs.options import RunOptions
from ppo_jax.host.runs.request import Request
from ppo_jax.host.training import loop, session
from ppo_jax.host.training.session import Session
from ppo_jax.host.training.signals import Stop
from ppo_jax.spaces import Box, Discrete

# Everything a resume could lose: memory, statistics, scaled rewards, schedules, an adapted rate.
EVERYTHING = ppo_jax.Config(
    num_envs=2,
    num_steps=8,
    total_timesteps=16 * 50,
    num_epochs=2,
    num_minibatches=2,
    hidden_sizes=(8,),
    memory_size=4,
    normalize_observations=True,
    normalize_rewards=True,
    learning_rate_schedule="adaptive_kl",
    entropy_schedule="cosine",
    clip_schedule="linear",
)
HYPER = ppo_jax.Hyperparams(entropy_coefficient=0.01, final_entropy_coefficient=0.0, final_clip_epsilon=0.1)


class Place(NamedTuple):
    """Where a training takes place: its session, and its program."""

    session: Session
    compiled: chunks.Program

    @property
    def run(self):
        return self.session.run

    def train(self):
        with self.run.metrics.open("a") as file:
            made = session.make_trainer(self.session, self.compiled, file)
            made.run()
        return made

    def lines(self):
        """The metrics without the time."""
        records = map(json.loads, self.run.metrics.read_text().splitlines())
        return [{name: value for name, value in record.items() if name != "seconds"} for record in records]

    def elsewhere(self, path, **changes):
        """The same training in another directory."""
        path.mkdir()
        return self._replace(session=self.session._replace(run=RunDirectory(path), **changes))


class Told(QuietScreen):
    """A screen that remembers what it was to say."""

    def __init__(self):
        super().__init__(0, None)
        self.lines = []

    def say(self, text):
        self.lines.append(text)


def make_place(path, config, options):
    path.mkdir()
    asked = Request(None, config, HYPER, 3)
    here = Session(asked, options, RunDirectory(path), Told(), Stop())
    return Place(here, chunks.compile_program(config, HYPER))


def bits(state):
    return {name: (x.dtype, x.tobytes()) for name, x in arrays.leaves(state).items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training without a break, all of whose states are kept, and where it ended."""
    path = tmp_path_factory.mktemp("trainer") / "whole"
    place = make_place(path, EVERYTHING, RunOptions(checkpoint_every=1, keep=100))
    return place, place.train()


def test_all_of_it_is_kept(whole):
    place, ended = whole
    assert [line["update"] for line in place.lines()] == list(range(1, 51))
    assert ended.is_done
    kept = [one.manifest for one in directories.readable(place.run.checkpoints)]
    assert [one.update for one in kept] == list(range(50, 0, -1))


def as_if_killed(place, path, update):
    """The directory as it is when a process dies after a checkpoint, a few updates and half a line later."""
    other = place.elsewhere(path, options=RunOptions())
    lines = place.run.metrics.read_text().splitlines(keepends=True)
    torn = "".join(lines[update + 3 : update + 4])[:40]
    other.run.metrics.write_text("".join(lines[: update + 3]) + torn)
    name = directories.name_of(update)
    if update:
        shutil.copytree(place.run.checkpoints / name, other.run.checkpoints / name)
    return other


@pytest.mark.parametrize("update", range(50))
def test_from_every_update_on_it_resumes_to_the_same_bits(whole, tmp_path, update):
    place, ended = whole
    other = as_if_killed(place, tmp_path / "killed", update)
    again = other.train()
    assert again.training.update == 50
    assert bits(again.training.state) == bits(ended.training.state)
    assert other.lines() == place.lines()
    assert again.journal.episodes == ended.journal.episodes
    seconds = [json.loads(line)["seconds"] for line in other.run.metrics.read_text().splitlines()]
    assert np.all(np.diff(seconds) >= 0)


@pytest.mark.parametrize("size", [1, 2, 5, 50])
def test_chunks_of_any_length_give_the_same_bits(whole, tmp_path, monkeypatch, size):
    monkeypatch.setattr(program, "_next_size", lambda *_: size)
    place, ended = whole
    other = place.elsewhere(tmp_path / "other", options=RunOptions())
    assert bits(other.train().training.state) == bits(ended.training.state)
    assert other.lines() == place.lines()


def test_evaluating_on_the_way_changes_no_bit_and_repeats_itself_after_a_resume(whole, tmp_path):
    place, ended = whole
    other = place.elsewhere(tmp_path / "other", options=RunOptions(evaluate_every=20, checkpoint_every=30))
    assert bits(other.train().training.state) == bits(ended.training.state)
    assert other.lines() == place.lines()
    written = other.run.evaluations.read_text()
    rows = [json.loads(line) for line in written.splitlines()]
    assert [(row["update"], row["env_steps"]) for row in rows] == [(20, 320), (40, 640)]
    assert [row["greedy"]["greedy"] for row in rows] == [True, True]
    assert [row["sampled"]["greedy"] for row in rows] == [False, False]
    assert rows[0]["greedy"]["episodes"] == 100

    shutil.rmtree(other.run.checkpoints / directories.name_of(50))
    other.train()  # from update 30 on
    assert other.run.evaluations.read_text() == written
    assert other.lines() == place.lines()


def test_a_stop_where_an_evaluation_is_due_saves_first_and_evaluates_when_it_goes_on(whole, tmp_path):
    place, _ = whole
    options = RunOptions(evaluate_every=20)
    other = place.elsewhere(tmp_path / "other", options=options)
    other.train()
    stopped = place.elsewhere(tmp_path / "stopped", options=options, stop=Stop())
    with stopped.run.metrics.open("a") as file:
        made = session.make_trainer(stopped.session, place.compiled, file)
        while made.training.update < 20:
            stopped.session.stop.signal = 15
            made.advance()
        made._save()
    assert made.saved_update == 20
    assert not stopped.run.evaluations.exists()
    stopped._replace(session=stopped.session._replace(stop=Stop())).train()
    assert stopped.run.evaluations.read_text() == other.run.evaluations.read_text()


def test_more_steps_move_the_end_of_the_schedules(whole, tmp_path):
    place, _ = whole
    other = as_if_killed(place, tmp_path / "longer", 25)
    longer = EVERYTHING.total_timesteps * 2
    config = dataclasses.replace(EVERYTHING, total_timesteps=longer)
    other = other._replace(session=other.session._replace(asked=other.session.asked._replace(config=config)))
    made = other.train()
    assert made.training.update == 100
    coefficients = [line["entropy_coefficient"] for line in other.lines()]
    assert coefficients[:25] == [line["entropy_coefficient"] for line in place.lines()[:25]]
    # A cosine from 0.01 to 0: at update 25 as far as a quarter of the new length, not half of the old.
    np.testing.assert_allclose(coefficients[25], 0.005 * (1 + math.cos(math.pi * 0.25)), rtol=1e-5)


def test_a_stop_saves_the_state_it_finds(whole, tmp_path):
    place, ended = whole
    other = place.elsewhere(tmp_path / "other", options=RunOptions(), stop=Stop())
    other.session.stop.signal = 15
    made = other.train()
    assert (made.training.update, made.saved_update) == (0, 0)
    other = other._replace(session=other.session._replace(stop=Stop()))
    assert bits(other.train().training.state) == bits(ended.training.state)


def test_by_default_a_checkpoint_is_made_when_its_time_has_come(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(program, "_next_size", lambda *_: 10)
    place, _ = whole
    other = place.elsewhere(tmp_path / "rarely", options=RunOptions(keep=100))
    other.train()
    assert [path.name for path in directories.directories(other.run.checkpoints)] == ["0000000050"]
    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", 0.0)
    other = place.elsewhere(tmp_path / "often", options=RunOptions(keep=100))
    other.train()
    saved = [int(path.name) for path in directories.directories(other.run.checkpoints)]
    assert saved == [50, 41, 31, 21, 11, 1]


def test_nothing_is_compiled_once_it_runs(whole, tmp_path):
    place, _ = whole
    compiled = []

    def note(event, *_, **__):
        compiled.extend([event] * event.endswith("backend_compile_duration"))

    other = place.elsewhere(tmp_path / "other", options=RunOptions(checkpoint_every=7))
    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        jax.jit(lambda x: x + 1).lower(0.0).compile()
        assert len(compiled) == 1
        other.train()
        assert len(compiled) == 1
    finally:
        jax.monitoring.unregister_event_duration_listener(note)


def test_memory_does_not_grow_with_chunks(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(program, "_next_size", lambda *_: 1)
    place, _ = whole
    config = dataclasses.replace(EVERYTHING, total_timesteps=16 * 1300)
    asked = place.session.asked._replace(config=config)
    other = place.elsewhere(tmp_path / "long", options=RunOptions(), asked=asked)
    sizes, advance = [], chunks.Training.advance

    def measured(self, until):
        sizes.append(psutil.Process().memory_info().rss)
        return advance(self, until)

    monkeypatch.setattr(chunks.Training, "advance", measured)
    other.train()
    assert len(sizes) == 1300
    assert sizes[-1] < 1.01 * sizes[300]


class Fuse(NamedTuple):
    """The state of an environment that puts one of BAD where a number should be, once."""

    time: jax.Array
    at: jax.Array
    observation: jax.Array
    reward: jax.Array
    odds: jax.Array


BAD = (0.0, math.nan, math.inf, -math.inf)


def fused(name):
    """An environment without an end, whose fuse is lit from outside."""

    def step(key, state, action):
        now = (state.time == state.at) & jax.random.bernoulli(key, state.odds)
        bad = jnp.asarray(BAD)
        transition = Transition(
            observation=jnp.sin(state.time + jnp.arange(4.0)) + jnp.where(now, bad[state.observation], 0),
            reward=action + jnp.where(now, bad[state.reward], 0),
            terminated=jnp.array(False),
            truncated=state.time == 49,
        )
        return state._replace(time=state.time + 1), transition

    unlit = Fuse(jnp.int32(0), jnp.int32(-1), jnp.int32(0), jnp.int32(0), jnp.float32(1))
    return make_batched(Dynamics(lambda key: (unlit, jnp.zeros(4)), step, Box((4,)), Discrete(2)))


@pytest.fixture(scope="module")
def fuse(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["ppo_jax.algorithm.train"], "make_environment", fused)
        return make_place(tmp_path_factory.mktemp("fuse") / "run", EVERYTHING, RunOptions())


def train_until(place, update, change):
    """Trains so far, changes the state, and goes on to the end."""
    with place.run.metrics.open("a") as file:
        made = session.make_trainer(place.session, place.compiled, file)
        made.asked = made.asked._replace(config=dataclasses.replace(EVERYTHING, total_timesteps=16 * update))
        made.run() if update else None
        made.asked = place.session.asked
        made.training.state = change(made.training.state)
        made.run()
    return made


def light(at, **what):
    """Lights the fuse of the first copy."""

    def change(state):
        old = state.collector.environment
        new = {name: getattr(old, name).at[0].set(value) for name, value in {"at": at, **what}.items()}
        return state._replace(collector=state.collector._replace(environment=old._replace(**new)))

    return change


def put(pick, value):
    """Puts a number into the learner's state."""

    def change(state):
        leaves, structure = jax.tree.flatten(state.learner)
        index = pick(state.learner)
        leaves[index] = jnp.asarray(leaves[index]).at[(0,) * leaves[index].ndim].set(value)
        return state._replace(learner=jax.tree.unflatten(structure, leaves))

    return change


def leaf_named(name):
    """Finds a leaf of the learner by a part of its path."""
    return lambda learner: next(i for i, path in enumerate(arrays._named(learner)) if name in path)


def assert_caught(place, made, update):
    """Found in the chunk in which it happened; the state before that chunk is kept, and nothing worse."""
    assert made.journal.failure.update == update
    assert made.journal.failure.is_nonfinite
    assert made.saved_update == (update - 1) // 5 * 5
    assert place.lines()[-1]["update"] == update
    for path in directories.directories(place.run.checkpoints):
        state = loop.store.load(made.store, directories.read(path), place.compiled.template)
        assert not arrays.nonfinite(arrays.leaves(state))


WORLD = [
    *[({"observation": code}, "numbers in observations are NaN") for code in (1, 2, 3)],
    *[({"reward": code}, "rewards are NaN") for code in (1, 2, 3)],
]


@pytest.mark.parametrize("step", [0, 7, 8, 49, 40])
@pytest.mark.parametrize(("what", "words"), WORLD)
def test_what_an_environment_makes_of_numbers_is_caught_in_its_chunk(
    fuse, tmp_path, monkeypatch, step, what, words
):
    monkeypatch.setattr(program, "_next_size", lambda *_: 5)
    monkeypatch.setattr(chunks.Training, "__post_init__", five_at_once)
    place = fuse.elsewhere(tmp_path / "run")
    made = train_until(place, 0, light(step, **what))
    assert_caught(place, made, step // 8 + 1)
    assert words in made.journal.failure.text


REWIND = RunOptions(on_nonfinite="rewind")


def test_with_other_random_numbers_a_training_gets_past_what_chance_put_in_its_way(fuse, tmp_path):
    place = fuse.elsewhere(tmp_path / "run", options=REWIND, screen=Told())
    made = train_until(place, 3, light(40, reward=1, odds=0.5))
    assert made.journal.failure is None
    assert made.is_done
    assert 1 <= made.rewinds <= loop.MAX_REWINDS
    with place.run.metrics.open("a") as file:
        assert session.make_trainer(place.session, place.compiled, file).rewinds == made.rewinds
    assert [line["update"] for line in place.lines()] == list(range(1, 51))
    assert "rewards are NaN" in place.session.screen.lines[0]
    assert f"(1 of at most {loop.MAX_REWINDS} times)" in place.session.screen.lines[0]


def test_it_goes_back_a_few_times_only(fuse, tmp_path):
    place = fuse.elsewhere(tmp_path / "run", options=REWIND)
    made = train_until(place, 3, light(40, reward=1))
    assert made.rewinds == loop.MAX_REWINDS
    assert made.journal.failure.update == 6
    assert made.saved_update <= 5


@pytest.mark.parametrize("options", [RunOptions(), REWIND])
def test_a_first_state_that_is_not_finite_is_named_and_nothing_is_saved(fuse, tmp_path, options):
    def break_it(state):
        broken = jnp.full_like(state.collector.observation, jnp.nan)
        return state._replace(collector=state.collector._replace(observation=broken))

    place = fuse.elsewhere(tmp_path / "run", options=options)
    made = train_until(place, 0, break_it)
    assert "collector/observation is NaN or infinite at update 0" in made.journal.failure.text
    assert (made.saved_update, made.rewinds) == (None, 0)
    assert not place.run.checkpoints.exists()


LEARNER = [
    *[("params", value) for value in BAD[1:]],
    *[("optimizer/1/mu", math.nan), ("optimizer/1/nu", math.inf), ("optimizer/1/nu", math.nan)],
]


@pytest.mark.parametrize(("name", "value"), LEARNER)
def test_what_becomes_of_the_learner_is_caught_in_its_chunk(fuse, tmp_path, monkeypatch, name, value):
    monkeypatch.setattr(chunks.Training, "__post_init__", five_at_once)
    monkeypatch.setattr(program, "_next_size", lambda *_: 5)
    place = fuse.elsewhere(tmp_path / "run")
    made = train_until(place, 10, put(leaf_named(name), value))
    assert made.journal.failure.is_nonfinite
    assert made.journal.failure.update == 10
    assert "diverged" in made.journal.failure.text
    state = loop.store.load_newest(made.store, place.compiled.template, print)[1]
    assert made.saved_update == 10
    assert not arrays.nonfinite(arrays.leaves(state))


def five_at_once(training):
    training._began, training._size = time.perf_counter(), 5
