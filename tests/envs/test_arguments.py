"""Arguments of environments: what they change, and every use that is explained rather than believed."""

import dataclasses
import functools
import hashlib
import json
import math
import shlex
from typing import Literal, Optional

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ppo_jax
from ppo_jax.cli.program import parse
from ppo_jax.envs.environment import Dynamics, Transition, make_batched
from ppo_jax.envs.make import make_dynamics, make_environment, parameters
from ppo_jax.envs.registry import ENVIRONMENTS
from ppo_jax.host.runs import request
from ppo_jax.host.runs.request import Request
from ppo_jax.host.training import start
from ppo_jax.spaces import Box, Discrete
from tests.host.conftest import run_command

KEY = jax.random.key(0)
MADE = sorted(ENVIRONMENTS.keys() - {"MNISTBandit-bsuite"})  # which downloads its data


def shape(name, **arguments):
    return make_environment(name, arguments).observation_space.shape


def actions(name, **arguments):
    return make_environment(name, arguments).action_space


def length(name, action=0, **arguments):
    """The steps until an episode is truncated."""
    dynamics = make_dynamics(name, arguments)
    state, _ = dynamics.reset(KEY)
    for step in range(1, 50):
        state, transition = jax.jit(dynamics.step)(KEY, state, action)
        if transition.truncated:
            return step
    return None


def after(name, action, steps=3, **arguments):
    """The observation after some steps of one action."""
    dynamics = make_dynamics(name, arguments)
    state, _ = dynamics.reset(KEY)
    for _ in range(steps):
        state, transition = dynamics.step(KEY, state, action)
    return transition.observation.ravel()


def differ(name, action, **arguments):
    return not jnp.allclose(after(name, action), after(name, action, **arguments))


def outcomes(name, action, **arguments):
    """The number of different observations that follow the same state, by chance."""
    dynamics = make_dynamics(name, arguments)

    def once(key):
        state, _ = dynamics.reset(KEY)
        return dynamics.step(key, state, action)[1].observation.ravel()

    seen = jax.vmap(once)(jax.random.split(KEY, 32))
    return len({tuple(row) for row in seen.tolist()})


ALL = {"use_minimal_action_set": False}
GOOD = {
    "a longer pole": lambda: differ("CartPole-v1", 1, length=1.0),
    "a stronger push": lambda: differ("CartPole-v1", 1, force_mag=20),
    "an earlier time limit": lambda: length("CartPole-v1", max_steps_in_episode=5) == 5,
    "heavier links": lambda: differ("Acrobot-v1", 2, link_mass_1=2.0),
    "a longer link": lambda: differ("Acrobot-v1", 2, link_length_1=1.5),
    "a steeper mountain": lambda: differ("MountainCar-v0", 2, gravity=0.005),
    "a limit of the mountain": lambda: length("MountainCar-v0", max_steps_in_episode=7) == 7,
    "a stronger motor": lambda: differ("MountainCarContinuous-v0", jnp.ones(1), power=0.01),
    "weaker actions": lambda: actions("MountainCarContinuous-v0", max_action=0.5).high == (0.5,),
    "more torque": lambda: actions("Pendulum-v1", max_torque=4.0).high == (4.0,),
    "another gravity": lambda: differ("Pendulum-v1", jnp.zeros(1), g=1.62),
    "all actions of MinAtar": lambda: actions("Breakout-MinAtar", **ALL) == Discrete(6),
    "a limit of Asterix": lambda: length("Asterix-MinAtar", max_steps_in_episode=3) == 3,
    "a limit of Freeway": lambda: length("Freeway-MinAtar", max_steps_in_episode=4) == 4,
    "all actions of Seaquest": lambda: actions("Seaquest-MinAtar", **ALL) == Discrete(6),
    "a limit of the invaders": lambda: length("SpaceInvaders-MinAtar", max_steps_in_episode=3) == 3,
    "a wider court": lambda: shape("Catch-bsuite", columns=7) == (10, 7),
    "a higher court": lambda: shape("Catch-bsuite", rows=12) == (12, 5),
    "a deeper sea": lambda: shape("DeepSea-bsuite", size=20) == (20, 20),
    "a sea by chance": lambda: outcomes("DeepSea-bsuite", 0, deterministic=False) > 1,
    "a longer chain": lambda: differ("MemoryChain-bsuite", 0, memory_length=3),
    "more bits": lambda: shape("MemoryChain-bsuite", num_bits=3) == (5,),
    "distractors": lambda: shape("UmbrellaChain-bsuite", n_distractor=4) == (7,),
    "more delays": lambda: actions("DiscountingChain-bsuite", n_actions=3) == Discrete(3),
    "more arms": lambda: actions("SimpleBandit-bsuite", num_actions=4) == Discrete(4),
    "rooms as pictures": lambda: len(shape("FourRooms-misc", use_visual_obs=True)) == 3,
    "a larger maze": lambda: shape("MetaMaze-misc", rf_size=5) != shape("MetaMaze-misc"),
    "a limit of the point": lambda: length("PointRobot-misc", jnp.zeros(2), max_steps_in_episode=6) == 6,
    "a limit of coins": lambda: length("BernoulliBandit-misc", max_steps_in_episode=4) == 4,
    "a limit of Gaussians": lambda: length("GaussianBandit-misc", max_steps_in_episode=4) == 4,
    "a stronger arm": lambda: differ("Reacher-misc", jnp.ones(2), torque_scale=3.0),
    "more urchins": lambda: shape("Swimmer-misc", num_urchins=7) != shape("Swimmer-misc"),
    "a smaller table": lambda: shape("Pong-misc", width=20) == (30, 20, 3),
    "a larger lake": lambda: shape("FrozenLake-misc", map_name="8x8") == (64,),
    "firm ice": lambda: outcomes("FrozenLake-misc", 2, is_slippery=False) == 1,
}


AT_ONCE = ("a longer pole", "an earlier time limit", "a larger lake")  # of each kind; the others take longer


@pytest.mark.parametrize(
    "use", [use if use in AT_ONCE else pytest.param(use, marks=pytest.mark.long) for use in GOOD]
)
def test_an_argument_reaches_the_environment(use):
    assert GOOD[use]()


def test_without_these_arguments_a_sea_is_sure_and_ice_is_not():
    assert outcomes("DeepSea-bsuite", 0) == 1
    assert outcomes("FrozenLake-misc", 2) > 1


def test_no_environment_is_left_out():
    named = {constant for holds in GOOD.values() for constant in holds.__code__.co_consts}
    assert named >= set(MADE)


@pytest.mark.parametrize("name", MADE)
def test_every_environment_takes_its_own_defaults(name):
    defaults = {
        key: one.default for key, one in parameters(name).items() if one.kinds and one.default is not None
    }
    assert defaults
    with_them, without = make_environment(name, defaults), make_environment(name)
    assert with_them[2:5] == without[2:5]  # the spaces


def test_what_follows_from_a_changed_parameter_changes_with_it():
    """gymnax keeps the old product of mass and length: half of the equations would use another pole."""
    both = {"length": 1.0, "polemass_length": 0.1}
    assert jnp.array_equal(after("CartPole-v1", 1, length=1.0), after("CartPole-v1", 1, **both))
    heavy = {"masspole": 0.3, "total_mass": 1.3, "polemass_length": 0.15}
    assert jnp.array_equal(after("CartPole-v1", 1, masspole=0.3), after("CartPole-v1", 1, **heavy))
    assert jnp.array_equal(after("CartPole-v1", 1), after("CartPole-v1", 1, length=0.5))


def nothing(key):
    return jnp.int32(0), jnp.zeros(1)


def stay(key, state, action):
    return state, Transition(jnp.zeros(1), jnp.float32(0), jnp.array(True), jnp.array(False))


DYNAMICS = Dynamics(nothing, stay, Box((1,)), Discrete(2))


def sized(size: int, speed: float = 1.0):
    assert size < 10, "too large"
    return DYNAMICS


OWN = {"dynamics": DYNAMICS, "batch": make_batched(DYNAMICS), "sized": sized, "wrong": lambda: 3}
BAD = [
    (
        "CartPole-v1",
        {"lenght": 1.0},
        r"lenght = 1\.0 is unknown.*'CartPole-v1'; did you mean 'length'",
    ),
    ("CartPole-v1", {"length": "long"}, r"length = 'long' does not fit.*give a number \(default: 0\.5\)"),
    ("CartPole-v1", {"length": float("nan")}, r"length = nan does not fit.*give a number"),
    ("CartPole-v1", {"length": True}, r"length = True does not fit.*give a number"),
    (
        "CartPole-v1",
        {"max_steps_in_episode": 2.5},
        r"= 2\.5 does not fit.*a whole number \(default: 500\)",
    ),
    ("CartPole-v1", {"max_steps_in_episode": 0}, r"max_steps_in_episode = 0 is not at least 1"),
    ("CartPole-v1", {"max_steps_in_episode": -3}, r"max_steps_in_episode = -3 is not at least 1"),
    (
        "Acrobot-v1",
        {"available_torque": 1.0},
        r"takes something that is no number.*choose one of",
    ),
    ("DeepSea-bsuite", {"size": -1}, r"'DeepSea-bsuite' does not work with size = -1: TypeError"),
    ("DeepSea-bsuite", {"size": 0}, r"does not work with size = 0: observations are of Box with a size of 0"),
    ("DeepSea-bsuite", {"size": 8.0}, r"size = 8\.0 does not fit.*give a whole number"),
    ("DeepSea-bsuite", {"deterministic": 1}, r"deterministic = 1 does not fit.*give true or false"),
    ("Catch-bsuite", {"rows": 0}, r"does not work with rows = 0"),
    ("SimpleBandit-bsuite", {"num_actions": 0}, r"does not work with num_actions = 0"),
    (
        "FrozenLake-misc",
        {"map_name": "9x9"},
        r"with map_name = '9x9': ValueError: map_name must be",
    ),
    ("FrozenLake-misc", {"map_name": 8}, r"map_name = 8 does not fit.*give a text \(default: 4x4\)"),
    ("Breakout-MinAtar", {"use_minimal_action_set": "no"}, r"= 'no' does not fit.*give true or false"),
    ("dynamics", {"size": 3}, r"size = 3 is unknown for env = 'dynamics'; it takes none; leave env_args out"),
    ("batch", {"size": 3}, r"size = 3 is unknown for env = 'batch'; it takes none"),
    ("sized", {}, r"env = 'sized' needs size; give env_args size=VALUE"),
    ("sized", {"size": 3, "sped": 1.0}, r"sped = 1\.0 is unknown for env = 'sized'; did you mean 'speed'"),
    (
        "sized",
        {"size": 12},
        r"'sized' failed: AssertionError: too large.*arguments\.py, line \d+",
    ),
    (
        "wrong",
        {},
        r"env = 'wrong' returned a int; return a Dynamics, an Environment or",
    ),
]


@pytest.fixture(autouse=True)
def own():
    for name, made_from in OWN.items():
        ppo_jax.register(name, made_from)


@pytest.mark.parametrize(("name", "arguments", "problem"), BAD)
def test_a_bad_argument_is_explained(name, arguments, problem):
    with pytest.raises(ppo_jax.UsageError, match=problem) as caught:
        make_environment(name, arguments)
    assert len(caught.value.problems) == 1
    assert "\n" not in str(caught.value)


def test_all_bad_arguments_are_found_at_once():
    with pytest.raises(ppo_jax.UsageError) as caught:
        make_environment("CartPole-v1", {"lenght": 1.0, "gravity": "low", "masscart": True})
    assert len(caught.value.problems) == 3


def test_a_function_takes_its_arguments_and_whole_numbers_become_floats():
    seen = []

    def make(speed: float, name: str = "x", **others):
        seen.append((speed, name, others))
        return DYNAMICS

    def typed(speed: float, steps=3):
        seen.append((speed, type(speed), steps))
        return DYNAMICS

    ppo_jax.register("any", make)
    ppo_jax.register("typed", typed)
    make_environment("any", {"speed": 2, "more": True})
    make_environment("typed", {"speed": 2})
    assert seen == [(2, "x", {"more": True}), (2.0, float, 3)]


def of_float(speed: float = 1):
    return DYNAMICS


def of_union(speed: int | str = 3):
    return DYNAMICS


def of_optional(speed: Optional[float] = None):  # noqa: UP045
    return DYNAMICS


def of_choices(speed: Literal["slow", "fast"]):
    return DYNAMICS


@pytest.mark.parametrize(
    ("make", "value"), [(of_float, 0.5), (of_union, "fast"), (of_optional, 0.5), (of_choices, "slow")]
)
def test_a_function_takes_what_its_annotation_allows(make, value):
    ppo_jax.register("annotated", make)
    make_environment("annotated", {"speed": value})


def of_quoted(speed: "int | NoSuchName" = 3):  # noqa: F821
    return DYNAMICS


def of_alias(speed: jnp.ndarray = 0.5):
    return DYNAMICS


@pytest.mark.parametrize(
    ("make", "value", "words"),
    [
        (of_choices, "slov", "give 'slow' or 'fast'"),
        (of_choices, 1, "give 'slow' or 'fast'"),
        (of_union, 0.5, r"give a whole number or a text \(default: 3\)"),
        (of_quoted, 0.5, r"give a whole number \(default: 3\)"),
        (of_alias, "fast", r"give a number \(default: 0\.5\)"),
    ],
)
def test_a_function_refuses_what_its_annotation_does_not_allow(make, value, words):
    ppo_jax.register("annotated", make)
    with pytest.raises(ppo_jax.UsageError, match=f"does not fit env = 'annotated'; {words}$"):
        make_environment("annotated", {"speed": value})


def test_all_types_of_a_union_are_taken_and_no_others():
    def make(size: int | str, later: "float | None" = None):
        return DYNAMICS

    ppo_jax.register("annotated", make)
    for value in (4, "large"):
        make_environment("annotated", {"size": value, "later": 1})
    with pytest.raises(ppo_jax.UsageError) as caught:
        make_environment("annotated", {"size": 4.5, "later": "soon"})
    assert caught.value.problems == (
        "env_args size = 4.5 does not fit env = 'annotated'; give a whole number or a text",
        "env_args later = 'soon' does not fit env = 'annotated'; give a number (default: None)",
    )


# On the command line


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[("1", 1), ("1.0", 1.0), ("-2e-3", -2e-3), ("true", True), ("False", False), ("8x8", "8x8")],
        *[('"5"', "5"), ("", ""), ("a b", "a b"), ("null", "null"), ("[1]", "[1]")],
    ],
)
def test_a_word_is_a_number_a_switch_or_a_text(text, value):
    given = parse(["train", "--env-args", f"key={text}"]).config.env_args
    assert given == (("key", value),)
    assert type(given[0][1]) is type(value)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["length"], "'length' is not KEY=VALUE, such as length=1.0"),
        (["=1"], "'' is not KEY=VALUE, such as length=1.0"),
        (["length=1", "length=2"], "'length' is given twice"),
    ],
)
def test_words_that_are_no_pairs_are_refused_with_exit_status_2(words, problem, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as caught:
        parse(["train", "--env-args", *words])
    assert caught.value.code == 2
    shown = capsys.readouterr().err
    assert problem in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["lenght=1"], "env_args lenght = 1 is unknown for env = 'CartPole-v1'; did you mean 'length'"),
        (["max_steps_in_episode=9.5"], "max_steps_in_episode = 9.5 does not fit env = 'CartPole-v1'; give a"),
    ],
)
def test_the_command_says_what_is_wrong_and_leaves_no_directory(words, problem, tmp_path, capsys):
    assert run_command("train", "--env-args", *words, "--quiet", "--run-dir", tmp_path / "run") == 2
    assert problem in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_number_that_is_not_finite_is_refused_before_a_directory_is_made(value, tmp_path):
    config = ppo_jax.Config(env_args={"length": value})
    asked = Request(None, config, ppo_jax.Hyperparams(), seed=0)
    with pytest.raises(ppo_jax.UsageError, match="length = "):
        start.run(asked, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        {"length": 1.0},
        {"map_name": "a b'c", "size": 3, "on": True, "five": "5", "yes": "true"},
        {"small": 1e-5, "large": 1e22, "below": -1, "half": -0.5, "huge": 10**20},
        {"none": "", "sign": "=", "flag": "--seed", "dash": "-", "quoted": '"q"', "nan": "NaN"},
    ],
)
def test_the_command_of_a_run_gives_the_same_arguments(arguments):
    config = ppo_jax.Config("CartPole-v1", env_args=arguments, network="nets.py:make")
    asked = Request(None, config, ppo_jax.Hyperparams(), seed=3)
    _, *words = shlex.split(request.command(asked))
    assert parse(words).config == config
    assert request.from_json(json.loads(json.dumps(request.to_json(asked)))) == asked


def test_they_are_a_part_of_the_configuration_in_any_order():
    one, other = ({"a": 1, "b": 2.0}, {"b": 2.0, "a": 1})
    assert ppo_jax.Config(env_args=one) == ppo_jax.Config(env_args=other)
    assert hash(ppo_jax.Config(env_args=one)) == hash(ppo_jax.Config(env_args=other))
    with pytest.raises(ppo_jax.UsageError, match=r"env_args has 'a' = \[1\]"):
        ppo_jax.validate(ppo_jax.Config(env_args={"a": [1]}))


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (3, "env_args = 3 is not a dictionary; give one such as {'length': 1.0}"),
        ("ab", "env_args = 'ab' is not a dictionary"),
        (("length", 1.0), "env_args = ('length', 1.0) is not a dictionary"),
        ({1: 2, "a": 3}, "env_args = {1: 2, 'a': 3} is not a dictionary"),
        ({"-x": 3}, "env_args has '-x', which is not the name of a parameter"),
        ({"a": None}, "env_args has 'a' = None, which is no number, bool or string"),
    ],
)
def test_what_is_no_dictionary_of_arguments_is_said_to_be_none(given, problem):
    with pytest.raises(ppo_jax.UsageError) as caught:
        ppo_jax.validate(ppo_jax.Config(env_args=given))
    assert caught.value.problems[0].startswith(problem)


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.asarray, jnp.float32])
def test_numbers_of_numpy_and_jax_are_numbers(kind):
    config = ppo_jax.Config(env_args={"length": kind(0.25)})
    assert config == ppo_jax.Config(env_args={"length": 0.25})
    assert json.dumps(config.env_args) == '[["length", 0.25]]'
    assert make_environment(config.env, config.env_args).action_space == Discrete(2)


def test_an_argument_that_is_given_twice_in_python_is_refused_too():
    with pytest.raises(ppo_jax.UsageError, match="length"):
        ppo_jax.validate(ppo_jax.Config(env_args=(("length", 1.0), ("length", 2.0))))


@pytest.mark.parametrize("other", [1.0, True])
def test_arguments_that_differ_only_in_their_type_are_two_tasks_to_compiled_programs(other):
    """To the digest of a run they are. A function may take any type, and branch on it."""

    def make(mode=None):
        return DYNAMICS._replace(action_space=Discrete({int: 2, float: 3, bool: 4}[type(mode)]))

    ppo_jax.register("moody", make)

    @functools.partial(jax.jit, static_argnums=0)
    def count(config):
        return make_environment(config.env, config.env_args).action_space.n

    one = ppo_jax.Config("moody", env_args={"mode": 1})
    assert count(one) == 2
    assert count(dataclasses.replace(one, env_args={"mode": other})) != 2


def test_they_decide_the_digest_of_a_run_and_without_them_it_is_what_it_always_was():
    plain = Request(None, ppo_jax.Config(), ppo_jax.Hyperparams(), seed=0)
    longer = plain._replace(config=ppo_jax.Config(env_args={"length": 1.0}))
    whole = plain._replace(config=ppo_jax.Config(env_args={"length": 1}))
    own = plain._replace(config=ppo_jax.Config(network="nets.py:make"))
    digests = {request.digest(asked) for asked in (plain, longer, whole, own)}
    assert len(digests) == 4
    before = {"seed": 0, **plain.fields}
    for name in ("total_timesteps", *request.ADDED):
        before.pop(name, None)
    values = {name: "inf" if value == float("inf") else value for name, value in before.items()}
    expected = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    assert request.digest(plain) == expected


def test_another_task_has_no_mark_of_being_solved():
    config = ppo_jax.Config("CartPole-v1")
    asked = Request(None, config, ppo_jax.Hyperparams(), 0)
    assert asked.solved_return == 475
    harder = dataclasses.replace(config, env_args={"length": 0.1})
    assert asked._replace(config=harder).solved_return is None
