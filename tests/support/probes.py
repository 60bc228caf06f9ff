"""Probe environments: each isolates one thing an agent must learn, and its answer is known.

Every probe observes one number and has two actions, so all share one network and one compilation.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ppo_jax.envs.environment import Dynamics, Environment, Transition, make_batched
from ppo_jax.spaces import Box, Discrete


class Sight(NamedTuple):
    """What a copy shows, how many steps its episode has lasted, and what it keeps to itself."""

    shown: jax.Array  # [] float32
    time: jax.Array  # [] int32
    hidden: jax.Array = np.float32(0)  # [] float32


def constant_reward() -> Environment:
    """One step, nothing to see, reward 1: V = 1."""
    return _probe(_blank, lambda sight, action: (sight, 1.0, True, False))


def value_from_observation() -> Environment:
    """One step, reward = the sign that is shown: V(s) = s."""
    return _probe(_coin, lambda sight, action: (sight, sight.shown, True, False))


def discounting() -> Environment:
    """Two steps, of which the second is rewarded with 1: V(0) = gamma, V(1) = 1."""
    return _probe(_blank, _two_steps)


def action_chooses_reward() -> Environment:
    """One step, nothing to see, reward 1 for action 1 and -1 for action 0."""
    return _probe(_blank, lambda sight, action: (sight, jnp.where(action == 1, 1.0, -1.0), True, False))


def policy_and_value() -> Environment:
    """One step; the action that matches the sign is rewarded, twice as much under +1: V(-1) = 1, V(1) = 2."""
    return _probe(_coin, _match)


def endless_reward(time_limit: float = float("inf")) -> Environment:
    """Reward 1 for ever: V = 1 / (1 - gamma), and a time limit that cuts episodes must not change it."""

    def step(sight: Sight, action: jax.Array) -> tuple:
        return sight, 1.0, False, sight.time >= time_limit

    return _probe(_blank, step)


def counter(time_limit: int) -> Environment:
    """Shows and pays the number of the step, and ends after so many; nothing is random but the actions."""

    def step(sight: Sight, action: jax.Array) -> tuple:
        number = sight.time.astype(jnp.float32)
        return sight._replace(shown=number), number, sight.time >= time_limit, False

    return _probe(_blank, step)


def one_of(environments: Sequence[Environment], index: jax.Array) -> Environment:
    """The probe of a traced index: one compilation trains them all."""

    def reset(num_envs, key):
        return jax.lax.switch(index, [partial(e.reset, num_envs) for e in environments], key)

    def draw(num_steps, num_envs, key):
        return jax.lax.switch(index, [partial(e.draw, num_steps, num_envs) for e in environments], key)

    def prepare(drawn):
        return jax.lax.switch(index, [e.prepare for e in environments], drawn)

    def step(*arguments):
        return jax.lax.switch(index, [e.step for e in environments], *arguments)

    return Environment(reset, step, Box((1,)), Discrete(2), draw=draw, prepare=prepare)


def _probe(reset, step) -> Environment:
    return make_batched(Dynamics(_with_observation(reset), _with_time(step), Box((1,)), Discrete(2)))


def _with_observation(reset):
    def observed(key):
        sight = reset(key)
        return sight, sight.shown[None]

    return observed


def _with_time(step):
    def timed(key, sight, action):
        sight = sight._replace(time=sight.time + 1)
        sight, reward, terminated, truncated = step(sight, action)
        transition = Transition(
            observation=sight.shown[None],
            reward=jnp.asarray(reward, jnp.float32),
            terminated=jnp.asarray(terminated),
            truncated=jnp.asarray(truncated),
        )
        return sight, transition

    return timed


def _blank(key: jax.Array) -> Sight:
    return Sight(jnp.zeros(()), jnp.zeros((), jnp.int32))


def _coin(key: jax.Array) -> Sight:
    return Sight(jax.random.rademacher(key, (), jnp.float32), jnp.zeros((), jnp.int32))


def _two_steps(sight: Sight, action: jax.Array) -> tuple:
    last = sight.time == 2
    return sight._replace(shown=jnp.ones(())), jnp.where(last, 1.0, 0.0), last, False


def _match(sight: Sight, action: jax.Array) -> tuple:
    matches = (action == 1) == (sight.shown > 0)
    return sight, jnp.where(matches, 1.5 + sight.shown / 2, 0.0), True, False


# The same in other forms

SIGNED = Box((1,), -1.0, 1.0)  # one number; as an action of the discrete probes, 1 if it is positive


def continuous(environment: Environment) -> Environment:
    """A probe whose action is a number, of which only the sign counts."""

    def step(drawn, state, action):
        return environment.step(drawn, state, (action[:, 0] > 0).astype(jnp.int32))

    return environment._replace(step=step, action_space=SIGNED)


def nearest(target: float) -> Environment:
    """One step, nothing to see, reward -(a - target)^2: the best mean is the target, V = 0."""

    def step(sight: Sight, action: jax.Array) -> tuple:
        return sight, -((action[0] - target) ** 2), True, False

    return _probe(_blank, step)._replace(action_space=SIGNED)


def recall() -> Environment:
    """Two steps: a sign is shown in the first, and the action that matches it rewarded in the second.

    V(s) = gamma and V(0) = 1 for who remembers; a policy that does not is right half of the time.
    """

    def reset(key: jax.Array) -> Sight:
        sight = _coin(key)
        return sight._replace(hidden=sight.shown)

    def step(sight: Sight, action: jax.Array) -> tuple:
        matches = (action == 1) == (sight.hidden > 0)
        last = sight.time == 2
        return sight._replace(shown=jnp.zeros(())), jnp.where(last & matches, 1.0, 0.0), last, False

    return _probe(reset, step)
