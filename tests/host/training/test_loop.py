"""A training with its checkpoints, in one process: to the same bits whatever happens on the way."""

import dataclasses
import json
import math
import shutil
import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import psutil
import pytest

from ppo_jax.envs.environment import Dynamics, Transition, make_batched
from ppo_jax.host.monitor.screen import QuietScreen
from ppo_jax.host.programs import chunks
from ppo_jax.host.runs.checkpoints import arrays, directories
from ppo_jax.host.runs.directory import RunDirectory
from ppo_jax.host.runs.options import RunOptions
from ppo_jax.host.training import loop, session
from ppo_jax.host.training.session import Session
from ppo_jax.host.training.signals import Stop
from ppo_jax.spaces import Box, Discrete
from tests.host.conftest import EVERYTHING, changed

pytestmark = pytest.mark.usefixtures("blank_pictures")

UPDATES = EVERYTHING.config.num_updates  # 20


def run(made):
    """Trains to the end, to a failure, or until asked to stop."""
    with made.running():
        for _ in made.chunks():
            pass


class Place(NamedTuple):
    """Where a training takes place: its session, and its program."""

    session: Session
    program: chunks.Program

    @property
    def run(self):
        return self.session.run

    def prepare(self, file):
        return session.prepare(self.session, self.program, file)

    def train(self):
        with self.run.metrics.open("a") as file:
            made = self.prepare(file)
            run(made)
        return made

    def lines(self):
        """The metrics without the time."""
        records = map(json.loads, self.run.metrics.read_text().splitlines())
        return [{name: value for name, value in record.items() if name != "seconds"} for record in records]

    def elsewhere(self, path, options=None, config=None, **changes):
        """The same training in another directory."""
        path.mkdir()
        asked = self.session.asked
        asked = asked._replace(options=options or asked.options, config=config or asked.config)
        return self._replace(session=self.session._replace(asked=asked, run=RunDirectory(path), **changes))


class Told(QuietScreen):
    """A screen that remembers what it was told to say."""

    def __init__(self):
        super().__init__(total_steps=EVERYTHING.total_steps, solved_return=None)
        self.lines = []

    def say(self, text):
        self.lines.append(text)

    def update(self, records, steps_per_second):
        pass


def make_place(path, asked, options):
    path.mkdir()
    here = Session(asked=asked._replace(options=options), run=RunDirectory(path), screen=Told(), stop=Stop())
    return Place(here, chunks.compile_program(asked.config, asked.hyper))


def lasting(num_updates):
    """The configuration of a run of that many updates."""
    return dataclasses.replace(EVERYTHING.config, total_timesteps=256 * num_updates)


def bits(state):
    return {name: (x.dtype, x.tobytes()) for name, x in arrays.leaves(state).items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training without a break, all of whose states are kept, and where it ended."""
    path = tmp_path_factory.mktemp("loop") / "whole"
    place = make_place(path, EVERYTHING, RunOptions(checkpoint_every=1, keep=100))
    return place, place.train()


def test_every_update_leaves_its_record_and_its_checkpoint(whole):
    place, ended = whole
    assert [line["update"] for line in place.lines()] == list(range(1, UPDATES + 1))
    assert ended.is_done
    kept = [one.manifest for one in directories.readable(place.run.checkpoints)]
    assert [one.update for one in kept] == list(range(UPDATES, 0, -1))


def as_if_killed(place, path, update, **changes):
    """The directory as it is when a process dies after a checkpoint, a few updates and half a line later."""
    other = place.elsewhere(path, options=RunOptions(), **changes)
    lines = place.run.metrics.read_text().splitlines(keepends=True)
    torn = "".join(lines[update + 3 : update + 4])[:40]
    other.run.metrics.write_text("".join(lines[: update + 3]) + torn)
    name = directories.name_of(update)
    if update:
        shutil.copytree(place.run.checkpoints / name, other.run.checkpoints / name)
    return other


@pytest.mark.parametrize("update", range(UPDATES))
def test_from_every_update_on_it_resumes_to_the_same_bits(whole, tmp_path, update):
    place, ended = whole
    other = as_if_killed(place, tmp_path / "killed", update)
    again = other.train()
    assert again.training.update == UPDATES
    assert bits(again.training.state) == bits(ended.training.state)
    assert other.lines() == place.lines()
    assert again.journal.episodes == ended.journal.episodes
    seconds = [json.loads(line)["seconds"] for line in other.run.metrics.read_text().splitlines()]
    assert np.all(np.diff(seconds) >= 0)


@pytest.mark.parametrize("size", [1, 2, 5, UPDATES])
def test_chunks_of_any_length_give_the_same_bits(whole, tmp_path, monkeypatch, size):
    monkeypatch.setattr(chunks, "next_size", lambda *_: size)
    place, ended = whole
    other = place.elsewhere(tmp_path / "other", options=RunOptions())
    assert bits(other.train().training.state) == bits(ended.training.state)
    assert other.lines() == place.lines()


class OnDevice:
    """A leaf of a state that may be handed on, but neither copied to the host nor even looked at."""

    def __init__(self, leaf):
        object.__setattr__(self, "leaf", leaf)

    def __getattribute__(self, name):
        raise AssertionError(f"the host asks an array of the state for its {name}")

    def __array__(self, *_, **__):
        raise AssertionError("an array of the state is copied to the host")


def reach(leaf):
    return object.__getattribute__(leaf, "leaf") if type(leaf) is OnDevice else leaf


def test_between_checkpoints_the_host_never_touches_the_state(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(chunks, "next_size", lambda *_: 2)
    place, ended = whole
    program, save, saved = place.program, loop.store.save, []

    def advance(hyper, state, num_updates):
        state, metrics = program.advance(hyper, jax.tree.map(reach, state), num_updates)
        return jax.tree.map(OnDevice, state), metrics

    def check(state):
        return program.check(jax.tree.map(reach, state))

    def save_what_is_within(store, state, progress):
        saved.append(progress.update)
        save(store, jax.tree.map(reach, state), progress)

    monkeypatch.setattr(loop.store, "save", save_what_is_within)
    other = place.elsewhere(tmp_path / "other", options=RunOptions(checkpoint_every=8))
    made = other._replace(program=program._replace(advance=advance, check=check)).train()
    assert saved == [8, 16, UPDATES]
    assert bits(jax.tree.map(reach, made.training.state)) == bits(ended.training.state)
    with pytest.raises(AssertionError, match=r"copied to the host|asks an array"):
        jax.device_get(made.training.state)


def test_evaluating_on_the_way_changes_no_bit_and_repeats_itself_after_a_resume(whole, tmp_path):
    place, ended = whole
    other = place.elsewhere(tmp_path / "other", options=RunOptions(evaluate_every=8, checkpoint_every=12))
    assert bits(other.train().training.state) == bits(ended.training.state)
    assert other.lines() == place.lines()
    written = other.run.evaluations.read_text()
    rows = [json.loads(line) for line in written.splitlines()]
    assert [(row["update"], row["env_steps"]) for row in rows] == [(8, 2048), (16, 4096)]
    assert [row["greedy"]["greedy"] for row in rows] == [True, True]
    assert [row["sampled"]["greedy"] for row in rows] == [False, False]
    assert rows[0]["greedy"]["episodes"] == 100

    shutil.rmtree(other.run.checkpoints / directories.name_of(UPDATES))
    other.train()  # from update 12 on
    assert other.run.evaluations.read_text() == written
    assert other.lines() == place.lines()


def test_a_stop_where_an_evaluation_is_due_saves_first_and_evaluates_when_it_is_resumed(whole, tmp_path):
    place, _ = whole
    options = RunOptions(evaluate_every=8)
    other = place.elsewhere(tmp_path / "other", options=options)
    other.train()
    stopped = place.elsewhere(tmp_path / "stopped", options=options, stop=Stop())
    with stopped.run.metrics.open("a") as file:
        made = stopped.prepare(file)
        while made.training.update < 8:
            stopped.session.stop.signal = 15
            made.advance()
        made._save()
    assert made.saved_update == 8
    assert not stopped.run.evaluations.exists()
    stopped._replace(session=stopped.session._replace(stop=Stop())).train()
    assert stopped.run.evaluations.read_text() == other.run.evaluations.read_text()


def test_more_steps_move_the_end_of_the_schedules(whole, tmp_path):
    place, _ = whole
    other = as_if_killed(place, tmp_path / "longer", UPDATES // 2, config=lasting(2 * UPDATES))
    made = other.train()
    assert made.training.update == 2 * UPDATES
    coefficients = [line["entropy_coefficient"] for line in other.lines()]
    first = [line["entropy_coefficient"] for line in place.lines()[: UPDATES // 2]]
    assert coefficients[: UPDATES // 2] == first
    # A cosine from 0.01 to 0: by then at a quarter of the new length, no longer at half of the old one.
    np.testing.assert_allclose(coefficients[UPDATES // 2], 0.005 * (1 + math.cos(math.pi * 0.25)), rtol=1e-5)


def test_a_stop_saves_the_state_it_finds(whole, tmp_path):
    place, ended = whole
    other = place.elsewhere(tmp_path / "other", options=RunOptions(), stop=Stop())
    other.session.stop.signal = 15
    made = other.train()
    assert (made.training.update, made.saved_update) == (0, 0)
    other = other._replace(session=other.session._replace(stop=Stop()))
    assert bits(other.train().training.state) == bits(ended.training.state)


def test_by_default_a_checkpoint_is_saved_whenever_enough_time_has_passed(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(chunks, "next_size", lambda *_: 5)
    place, _ = whole
    other = place.elsewhere(tmp_path / "rarely", options=RunOptions(keep=100))
    other.train()
    assert [path.name for path in directories.newest_first(other.run.checkpoints)] == [
        directories.name_of(UPDATES)
    ]
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    other = place.elsewhere(tmp_path / "often", options=RunOptions(keep=100))
    other.train()
    saved = [int(path.name) for path in directories.newest_first(other.run.checkpoints)]
    assert saved == [UPDATES, 16, 11, 6, 1]


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


@pytest.mark.long
def test_the_process_does_not_grow_with_the_number_of_chunks(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(chunks, "next_size", lambda *_: 1)
    place, _ = whole
    other = place.elsewhere(tmp_path / "long", options=RunOptions(), config=lasting(1300))
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


def fused(name, arguments, traced):
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
    plain = changed(EVERYTHING, memory_size=0, num_envs=2, num_steps=8, total_timesteps=16 * UPDATES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["ppo_jax.algorithm.train"], "make_environment", fused)
        return make_place(tmp_path_factory.mktemp("fuse") / "run", plain, RunOptions())


@pytest.fixture
def five_at_once(monkeypatch):
    """Makes every chunk five updates long."""
    monkeypatch.setattr(chunks, "next_size", lambda *_: 5)
    original = chunks.Training.__post_init__

    def begin(training):
        original(training)
        training._size = 5

    monkeypatch.setattr(chunks.Training, "__post_init__", begin)


def train_until(place, update, change):
    """Trains up to an update, changes the state, and continues to the end."""
    asked = place.session.asked
    with place.run.metrics.open("a") as file:
        made = place.prepare(file)
        if update:
            config = dataclasses.replace(asked.config, total_timesteps=16 * update)
            made.asked = asked._replace(config=config)
            run(made)
        made.asked = asked
        made.training.state = change(made.training.state)
        run(made)
    return made


def light(at, **what):
    """Lights the fuse of the first copy."""

    def change(state):
        old = state.collector.environment
        new = {name: getattr(old, name).at[0].set(value) for name, value in {"at": at, **what}.items()}
        return state._replace(collector=state.collector._replace(environment=old._replace(**new)))

    return change


def put(name, value):
    """Puts a number into the first array of floats with this in its path."""

    def change(state):
        target = next(path for path in chunks.float_arrays(state) if name in path)

        def put_there(path, leaf):
            if jax.tree_util.keystr(path, simple=True, separator="/") != target:
                return leaf
            return jnp.asarray(leaf).at[(0,) * leaf.ndim].set(value)

        return jax.tree.map_with_path(put_there, state)

    return change


def assert_caught(place, made, update):
    """Found in the chunk in which it happened; the state before that chunk is kept, and nothing worse."""
    assert made.journal.failure.update == update
    assert made.journal.failure.is_nonfinite
    assert made.saved_update == (update - 1) // 5 * 5
    assert place.lines()[-1]["update"] == update
    for path in directories.newest_first(place.run.checkpoints):
        state = loop.store.load(made.store, directories.read(path), place.program.template)
        assert not arrays.nonfinite(arrays.leaves(state))


WORLD = [
    *[({"observation": code}, "numbers in observations are NaN") for code in (1, 2, 3)],
    *[({"reward": code}, "rewards are NaN") for code in (1, 2, 3)],
]


@pytest.mark.parametrize("step", [0, 7, 8, 49, 40])
@pytest.mark.parametrize(("what", "words"), WORLD)
def test_numbers_of_the_environment_that_are_not_finite_are_caught_in_their_chunk(
    fuse, tmp_path, five_at_once, step, what, words
):
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
        assert place.prepare(file).rewinds == made.rewinds
    assert [line["update"] for line in place.lines()] == list(range(1, UPDATES + 1))
    assert "rewards are NaN" in place.session.screen.lines[0]
    assert f"(rewind 1 of at most {loop.MAX_REWINDS})" in place.session.screen.lines[0]


def test_a_run_rewinds_a_limited_number_of_times(fuse, tmp_path):
    place = fuse.elsewhere(tmp_path / "run", options=REWIND)
    made = train_until(place, 3, light(40, reward=1))
    assert made.rewinds == loop.MAX_REWINDS
    assert made.journal.failure.update == 6
    assert made.saved_update <= 5


PARTS = {
    "learner/params": "diverged: {path} is not finite at update {update}; lower --learning-rate",
    "learner/optimizer/1/mu": "diverged: {path} is not finite at update {update}; lower --learning-rate",
    "collector/environment": "error in the environment: {path} is NaN or infinite at update {update};",
    "collector/observation": "error in the environment: {path} is NaN or infinite at update {update};",
    "collector/statistics": "error in the environment: {path} is NaN or infinite at update {update};",
    "collector/reward_scaler": "error in the environment: {path} is NaN or infinite at update {update};",
}


@pytest.mark.parametrize("options", [RunOptions(), REWIND])
@pytest.mark.parametrize("name", PARTS)
def test_a_first_state_that_is_not_finite_is_named_and_nothing_is_saved(fuse, tmp_path, name, options):
    def init(hyper, key):
        return put(name, math.nan)(fuse.program.init(hyper, key))

    place = fuse.elsewhere(tmp_path / "run", options=options)
    made = place._replace(program=fuse.program._replace(init=init)).train()
    path = next(path for path in chunks.float_arrays(fuse.program.template) if name in path)
    assert made.journal.failure.text.startswith(PARTS[name].format(path=path, update=0))
    assert made.journal.failure.is_nonfinite
    assert (made.saved_update, made.rewinds, made.training.update) == (None, 0, 0)
    assert not place.run.checkpoints.exists()


LEARNER = [
    *[("params", value) for value in BAD[1:]],
    *[("optimizer/1/mu", math.nan), ("optimizer/1/nu", math.inf), ("optimizer/1/nu", math.nan)],
]


@pytest.mark.parametrize(("name", "value"), LEARNER)
def test_a_learner_that_is_no_longer_finite_is_caught_in_its_chunk(fuse, tmp_path, five_at_once, name, value):
    place = fuse.elsewhere(tmp_path / "run")
    made = train_until(place, 10, put(f"learner/{name}", value))
    assert made.journal.failure.is_nonfinite
    assert 10 < made.journal.failure.update <= 15
    assert "diverged" in made.journal.failure.text
    assert_saved(place, made, 10)


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("learner/optimizer/1/nu", math.inf, "learner/optimizer/1/mu"),
        ("collector/environment/odds", math.nan, "collector/environment"),
    ],
)
def test_what_no_metric_shows_is_found_in_the_state_after_its_chunk_and_named(
    fuse, tmp_path, five_at_once, name, value, part
):
    place = fuse.elsewhere(tmp_path / "run")
    made = train_until(place, 7, put(name, value))
    path = next(path for path in chunks.float_arrays(fuse.program.template) if name in path)
    assert made.journal.failure.text.startswith(PARTS[part].format(path=path, update=12))
    assert_saved(place, made, 7)


def assert_saved(place, made, update):
    """The newest checkpoint is from before anything was not finite."""
    state = loop.store.load_newest(made.store, place.program.template, print)[1]
    assert made.saved_update == update
    assert not arrays.nonfinite(arrays.leaves(state))
