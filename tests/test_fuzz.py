"""Calls of the public surface with wrong types, odd values and swapped arguments, 500 of them, seeded.

A call with a wrong argument raises UsageError, never anything else, and never goes on in silence; a call with
right ones gives a result. Each argument has a list of right values and a list of wrong ones.
"""

import random
import types
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ppo_jax
from ppo_jax.algorithm.train import make_ppo
from ppo_jax.conformance import check
from ppo_jax.envs.make import make_environment
from ppo_jax.host.programs.player import Player
from ppo_jax.networks.make import make_network
from ppo_jax.networks.network import network_for
from ppo_jax.spaces import Box, Discrete

NUM_CALLS = 500
CONFIG = ppo_jax.Config(num_envs=4, num_steps=8, total_timesteps=64, num_minibatches=2, hidden_sizes=(4,))
NORMALIZING = ppo_jax.Config(**{**vars(CONFIG), "normalize_observations": True})
OTHER = ppo_jax.Config(**{**vars(CONFIG), "env": "Pendulum-v1"})
KEY = jax.random.key(0)
KEYS_OF_THREE = jax.random.split(KEY, 3)


@cache
def state_of(config: ppo_jax.Config) -> Any:
    """The first state of a run."""
    return make_ppo(config).init(ppo_jax.Hyperparams(), KEY)


@cache
def network() -> Any:
    return network_for(CONFIG, make_environment("CartPole-v1"), make_network)


# What is wrong for nearly every argument; what is right for one of them is taken away there

NOTHING = object()
ODD: list[Any] = [
    *(None, "", "CartPole-v1", "\x00", b"bytes", 0, 1, -1, 1.5, float("nan"), float("inf"), True, 2**70, 1j),
    *((), [], {}, {1, 2}, [None], object, print, NOTHING, ppo_jax.Config, ppo_jax.Hyperparams, types),
    *(CONFIG, ppo_jax.Hyperparams(), KEY, KEYS_OF_THREE, np.zeros(3), np.array("text")),
    *(
        np.zeros((2, 2), object),
        jnp.zeros((2, 3)),
        jnp.zeros(2, jnp.int8),
        jnp.zeros(0),
        np.datetime64("2020"),
    ),
]


def odd(*right: Any, but: Callable[[Any], bool] = lambda value: False) -> list[Any]:
    """The odd values that are of no given class, and for which `but` does not hold."""
    return [value for value in ODD if not isinstance(value, tuple(right)) and not but(value)]


class Call(NamedTuple):
    """A function, and the right and wrong values of each of its arguments."""

    function: Callable
    arguments: dict[str, tuple[list[Any], list[Any]]]


def is_legacy_key(value: Any) -> bool:
    return getattr(value, "dtype", None) == np.uint32


FIELDS = {
    "num_envs": 0, "num_steps": 1.5, "total_timesteps": -1, "num_epochs": None, "num_minibatches": 7,
    "env": 3, "hidden_sizes": (4, "4"), "activation": "sigmoid",
    "encoder": None, "shared_torso": 1, "memory_size": -1,
    "precision": 32, "objective": [], "learning_rate_schedule": {}, "env_args": 7, "network": "nothing",
    "normalize_rewards": "yes",
}  # fmt: skip
NUMBERS = {
    "learning_rate": 1e-50, "gamma": 2, "gae_lambda": -0.1, "clip_epsilon": 0, "value_coefficient": "0.5",
    "entropy_coefficient": None, "max_grad_norm": -1, "adam_epsilon": float("nan"), "target_kl": 0,
    "desired_kl": True, "kl_coefficient": [], "final_learning_rate": 1j,
}  # fmt: skip
BAD_CONFIGS = [ppo_jax.Config(**{**vars(CONFIG), name: value}) for name, value in FIELDS.items()]
BAD_CONFIGS += [ppo_jax.Config(**{**vars(CONFIG), "hidden_sizes": [[4]]})]
BAD_HYPERS = [ppo_jax.Hyperparams(**{name: value}) for name, value in NUMBERS.items()]
BAD_HYPERS += [ppo_jax.Hyperparams(gamma=jnp.array([0.9, 0.99]))]
GOOD_HYPERS = [
    ppo_jax.Hyperparams(),
    ppo_jax.Hyperparams(gamma=1, entropy_coefficient=0),
    ppo_jax.Hyperparams(learning_rate=np.float32(1e-3), target_kl=jnp.float32(0.1)),
]
CONFIGS = [CONFIG, ppo_jax.Config(**{**vars(CONFIG), "hidden_sizes": [4]})], odd(ppo_jax.Config) + BAD_CONFIGS
HYPERS = GOOD_HYPERS, odd(ppo_jax.Hyperparams) + BAD_HYPERS
KEYS = (
    [KEY, jax.random.PRNGKey(0), jax.random.key(1, impl="rbg")],
    odd(but=lambda value: value is KEY or is_legacy_key(value)),
)
OWN_ENVIRONMENTS = (
    [None, make_environment("CartPole-v1"), make_environment("Pendulum-v1")],
    [value for value in ODD if value is not None],
)
MAKERS = [make_network], odd(but=lambda value: value is NOTHING)
COUNTS = [1, 3, np.int64(2)], odd(but=lambda value: type(value) is int and 0 < value < 100)
BOOLS = [True, False], odd(bool)


def floats(*shape: int) -> tuple[list[Any], list[Any]]:
    """Arrays of a shape, and what is none of them."""
    right = [np.ones(shape, np.float32), jnp.ones(shape), np.ones(shape, int)]
    return right, [*odd(but=lambda value: isinstance(value, bool | int | float)), np.ones((*shape, 2))]


def train_in_the_abstract(**given: Any) -> Any:
    """Traces a training whose hyperparameters are known, without compiling or running it."""
    return jax.eval_shape(lambda: ppo_jax.train(**given))


def evaluate_in_the_abstract(**given: Any) -> Any:
    return jax.eval_shape(lambda: ppo_jax.evaluate(**given))


def init(config: Any, hyper: Any, key: Any) -> Any:
    return jax.eval_shape(lambda: ppo_jax.make_ppo(config).init(hyper, key))


def step(hyper: Any, state: Any) -> Any:
    return jax.eval_shape(lambda: ppo_jax.make_ppo(CONFIG).step(hyper, state))


def play(seed: Any, observation: Any) -> Any:
    agent = ppo_jax.agent_of(state_of(CONFIG))
    return Player(CONFIG, agent, seed=seed).act(observation)


def calls() -> dict[str, Call]:
    """The public surface."""
    state = state_of(CONFIG)
    params, agent = state.learner.params, ppo_jax.agent_of(state)
    wrong_params = [state, agent, state_of(OTHER).learner.params, {"actor": params["actor"]}]
    statistics = state_of(NORMALIZING).collector.statistics
    observation, memory = state.collector.observation, state.collector.memory
    return {
        "train": Call(
            train_in_the_abstract,
            {"config": CONFIGS, "hyper": HYPERS, "key": KEYS, "environment": OWN_ENVIRONMENTS},
        ),
        "train with a network": Call(
            train_in_the_abstract,
            {
                "config": ([CONFIG], []),
                "hyper": (GOOD_HYPERS, []),
                "key": ([KEY], []),
                "make_network": MAKERS,
            },
        ),
        "init": Call(
            init, {"config": CONFIGS, "hyper": (GOOD_HYPERS, odd(ppo_jax.Hyperparams)), "key": KEYS}
        ),
        "step": Call(
            step,
            {
                "hyper": (GOOD_HYPERS, odd(ppo_jax.Hyperparams) + BAD_HYPERS[-1:]),
                "state": ([state], [*ODD, params, agent]),
            },
        ),
        "evaluate": Call(
            evaluate_in_the_abstract,
            {
                "config": CONFIGS,
                "key": KEYS,
                "params": ([params], [*ODD, *wrong_params]),
                "num_episodes": COUNTS,
                "greedy": BOOLS,
                "statistics": ([None], [value for value in ODD if value is not None] + [statistics]),
            },
        ),
        "evaluate, normalized": Call(
            evaluate_in_the_abstract,
            {
                "config": ([NORMALIZING], []),
                "key": ([KEY], []),
                "params": ([params], [state, agent]),
                "statistics": ([statistics], [*ODD, statistics.mean, state]),
            },
        ),
        "validate": Call(
            ppo_jax.validate, {"config": CONFIGS, "hyper": ([*GOOD_HYPERS, None], [*HYPERS[1][1:-1]])}
        ),
        "gae": Call(
            ppo_jax.gae,
            {
                **dict.fromkeys(("rewards", "values", "next_values"), floats(5, 2)),
                **dict.fromkeys(("terminated", "done"), ([np.ones((5, 2), bool)], floats(5, 2)[1])),
                **dict.fromkeys(
                    ("gamma", "gae_lambda"), ([0, 1, 0.99, np.float32(0.5)], ["0.9", None, 2, -1, 1j, {}])
                ),
            },
        ),
        "probability_ratio": Call(
            ppo_jax.probability_ratio, {"log_prob": floats(5), "old_log_prob": floats(5)}
        ),
        "clipped_surrogate": Call(
            ppo_jax.clipped_surrogate,
            {
                "ratio": floats(5),
                "advantage": floats(5),
                "clip_epsilon": ([0.2, float("inf"), 1], ["0.2", None, -1, 1j, {}, float("nan")]),
            },
        ),
        "act": Call(
            ppo_jax.act,
            {
                "network": ([network()], odd()),
                "agent": ([agent], [*ODD, params, state]),
                "memory": ([memory], []),
                "observation": ([observation], []),
                "start": ([state.collector.start], []),
            },
        ),
        "agent_of": Call(ppo_jax.agent_of, {"state": ([state], [*ODD, params, agent])}),
        "sweep": Call(
            lambda **given: jax.eval_shape(lambda: ppo_jax.sweep(**given)),
            {
                "config": CONFIGS,
                "hyper": ([ppo_jax.Hyperparams(gamma=jnp.array([0.9, 0.99]))], odd() + BAD_HYPERS[:-1]),
                "keys": (
                    [jax.random.split(KEY, 3)],
                    odd(but=lambda value: value is KEYS_OF_THREE),
                ),
            },
        ),
        "preset": Call(
            ppo_jax.preset,
            {
                "name": (
                    ["CartPole-v1"],
                    [*odd(str), "CartPole"],
                )
            },
        ),
        "register": Call(
            ppo_jax.register,
            {
                "name": (["fuzzed"], [*odd(str), "", "a:b", "CartPole-v1"]),
                "environment": (
                    [make_environment("CartPole-v1"), lambda: None],
                    odd(but=callable),
                ),
                "solved_return": ([None, 1, 2.5], ["1", [], {}, True, 1j]),
            },
        ),
        "register_network": Call(
            ppo_jax.register_network,
            {
                "name": (["fuzzed"], [*odd(str), "", "a:b"]),
                "make_network": ([make_network], odd(but=callable)),
            },
        ),
        "environment": Call(ppo_jax.environment, {"function": ([lambda: None], odd(but=callable))}),
        "network": Call(ppo_jax.network, {"function": ([lambda: None], odd(but=callable))}),
        "open_run": Call(ppo_jax.open_run, {"path": ([], ODD)}),
        "run": Call(
            ppo_jax.run,
            {
                "config": ([CONFIG], [*odd(ppo_jax.Config), *BAD_CONFIGS]),
                "hyper": ([None], [value for value in HYPERS[1] if value is not None]),
                "seed": ([0], odd(but=lambda value: type(value) is int and 0 <= value < 2**32)),
                "run_dir": (["/proc/nothing"], [3, 1.5, [], {}, NOTHING, KEY]),
                "options": ([None], [value for value in ODD if value is not None]),
            },
        ),
        "check": Call(check, {"environment": ([], ODD)}),
        "play": Call(
            play,
            {
                "seed": ([0, 7], odd(but=lambda value: type(value) is int and 0 <= value < 2**32)),
                "observation": ([np.zeros(4), [0, 0, 0, 0], jnp.zeros((3, 4))], odd()),
            },
        ),
        "Box": Call(
            lambda space: make_network(CONFIG, Box((4,)), space),
            {
                "space": (
                    [Discrete(3), Box((2,), -1.0, 1.0)],
                    [*ODD, Box((2,), 1.0, -1.0), Box((2, 2)), Discrete(0)],
                )
            },
        ),
    }


def draw(seed: int) -> tuple[Call, dict[str, Any], bool]:
    """A call, its arguments, and whether all of them are right."""
    source, surface = random.Random(seed), calls()
    call = surface[source.choice(sorted(surface))]
    given = {name: source.choice(right) if right else None for name, (right, _) in call.arguments.items()}
    wrong_ones = [name for name, (right, wrong) in call.arguments.items() if wrong]
    chosen = source.sample(wrong_ones, k=source.choice([0, 1, 1, 1, 2]) if len(wrong_ones) > 1 else 1)
    if not chosen and all(right for right, _ in call.arguments.values()):
        return call, given, True
    chosen = chosen or [name for name, (right, _) in call.arguments.items() if not right]
    for name in chosen:
        given[name] = source.choice(call.arguments[name][1])
    return call, given, False


def is_never_carried_out(call: Call) -> bool:
    return call.function is ppo_jax.run


@pytest.mark.long
@pytest.mark.parametrize("block", range(10))
def test_a_wrong_argument_is_a_usage_error_and_a_right_one_gives_a_result(block):
    size = NUM_CALLS // 10
    for seed in range(size * block, size * (block + 1)):
        call, given, is_right = draw(seed)
        told = f"seed {seed}: {call.function.__name__}({given})"
        if is_right:
            if not is_never_carried_out(call):
                call.function(**given)
            continue
        try:
            call.function(**given)
        except ppo_jax.UsageError:
            continue
        except BaseException as error:
            raise AssertionError(f"{told} raised {type(error).__name__}: {error}") from error
        raise AssertionError(f"{told} went on in silence")
