"""The contract of an environment, and the way from one copy that ends to N copies that never do.

A `Dynamics` is what an author writes: one copy, which says when an episode is over and is never asked
to go on. An `Environment` is what the trainer uses: a batch of N copies that reset themselves.
`make_batched` makes the one from the other, so auto-reset and the drawing of randomness are written once.
"""

from collections.abc import Callable
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ppo_jax.envs.spaces import Space


class Observation(NamedTuple):
    """An observation with more to it than features; where there is no more, the bare array will do.

    What goes with an observation has to be there from the first one on, before any step, which is why
    it is a part of it rather than of `TimeStep` alone.

    Attributes:
        features: What the actor sees, [...] float32.
        legal_actions: Which actions are allowed, bool: [A] for Discrete actions, the same for each
            component in a row for MultiDiscrete ones. None where all are, always.
        privileged: What the critic sees in place of `features` (an asymmetric critic), [...] float32.
            None where it sees what the actor sees.
    """

    features: jax.Array
    legal_actions: jax.Array | None = None
    privileged: jax.Array | None = None


def actor_features(observation: Any) -> jax.Array:
    """Returns what the actor sees of an observation, an array or an `Observation`."""
    return observation.features if isinstance(observation, Observation) else observation


def critic_features(observation: Any) -> jax.Array:
    """Returns what the critic sees of an observation, an array or an `Observation`."""
    if isinstance(observation, Observation) and observation.privileged is not None:
        return observation.privileged
    return actor_features(observation)


def legal_actions(observation: Any) -> jax.Array | None:
    """Returns which actions an observation allows, None if all."""
    return observation.legal_actions if isinstance(observation, Observation) else None


class Transition(NamedTuple):
    """What one copy returns for one step, before any reset.

    Attributes:
        observation: Of the successor state, [...]; an array or an `Observation`.
        reward: [] float32.
        terminated: [] bool, the task ended here: there is no future to value.
        truncated: [] bool, a time limit cut the episode: there was a future.
    """

    observation: Any
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array


class Dynamics(NamedTuple):
    """One copy of an environment, as pure functions.

    Attributes:
        reset: `reset(key) -> (state, observation)`.
        step: `step(key, state, action) -> (state, Transition)`.
        observation_space: Of one observation, or of its `features`.
        action_space: Of one action.
        privileged_space: Of what only the critic sees, if there is something.
    """

    reset: Callable[[jax.Array], tuple[Any, Any]]
    step: Callable[[jax.Array, Any, jax.Array], tuple[Any, Transition]]
    observation_space: Space
    action_space: Space
    privileged_space: Space | None = None


class TimeStep(NamedTuple):
    """What N copies return for one step.

    Where both flags are set, `terminated` wins: only it zeroes the bootstrap.

    Attributes:
        observation: [N, ...], to act on next: after auto-reset. An array or an `Observation`.
        final_observation: [N, ...], the true successor of the state acted in: before auto-reset.
        reward: [N] float32.
        terminated: [N] bool.
        truncated: [N] bool.
    """

    observation: Any
    final_observation: Any
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array

    @property
    def legal_actions(self) -> jax.Array | None:
        """[N, A] bool, which actions may be taken next; None where all may, always."""
        return legal_actions(self.observation)

    @property
    def done(self) -> jax.Array:
        """[N] bool, the episode ended for either reason."""
        return self.terminated | self.truncated


def _draw_keys(num_steps: int, num_envs: int, key: jax.Array) -> jax.Array:
    return jax.random.split(key, num_steps)


class Environment(NamedTuple):
    """N copies of an environment that reset themselves, as pure functions.

    Attributes:
        reset: `reset(num_envs, key) -> (state, observation [N, ...])`; `num_envs` is static.
        step: `step(chance, state, action [N, ...]) -> (state, TimeStep)`, where `chance` is a key, or
            what `draw` made for one step.
        observation_space: Of one observation, or of its `features`.
        action_space: Of one action; those of a Box arrive clipped to its bounds.
        privileged_space: Of what only the critic sees, if there is something.
        draw: `draw(num_steps, num_envs, key) -> chance [num_steps, ...]`, what can be drawn before the
            state is known, for many steps at once; the numbers are static. By default a key per step.
    """

    reset: Callable[[int, jax.Array], tuple[Any, Any]]
    step: Callable[[Any, Any, jax.Array], tuple[Any, TimeStep]]
    observation_space: Space
    action_space: Space
    privileged_space: Space | None = None
    draw: Callable[[int, int, jax.Array], Any] = _draw_keys


class Chance(NamedTuple):
    """What chance decides in one step of N copies, or in several, with an axis in front.

    Attributes:
        keys: For the transitions, [N].
        state: Of a new episode, for the copies whose episode ends in this step, [N, ...].
        observation: Of these states, [N, ...].
    """

    keys: jax.Array
    state: Any
    observation: Any


def make_batched(dynamics: Dynamics) -> Environment:
    """Makes an environment of N self-resetting copies from the dynamics of one.

    Args:
        dynamics: One copy.

    Returns:
        The batched environment. Each copy draws its own keys for its step and its reset.
    """
    return Environment(
        reset=partial(_reset, dynamics),
        step=partial(_step, dynamics),
        observation_space=dynamics.observation_space,
        action_space=dynamics.action_space,
        privileged_space=dynamics.privileged_space,
        draw=partial(_draw, dynamics),
    )


def _reset(dynamics: Dynamics, num_envs: int, key: jax.Array) -> tuple[Any, Any]:
    return jax.vmap(dynamics.reset)(jax.random.split(key, num_envs))


def _draw(dynamics: Dynamics, num_steps: int, num_envs: int, key: jax.Array) -> Chance:
    """Draws a first state for each copy and step, of which only those that end an episode are used."""
    step_key, reset_key = jax.random.split(key)
    state, observation = _reset(dynamics, num_steps * num_envs, reset_key)
    chance = Chance(jax.random.split(step_key, num_steps * num_envs), state, observation)
    return jax.tree.map(lambda x: x.reshape(num_steps, num_envs, *x.shape[1:]), chance)


def _step(dynamics: Dynamics, chance: Any, state: Any, action: jax.Array) -> tuple[Any, TimeStep]:
    if not isinstance(chance, Chance):
        chance = jax.tree.map(itemgetter(0), _draw(dynamics, 1, action.shape[0], chance))
    stepped_state, transition = jax.vmap(dynamics.step)(chance.keys, state, action)
    done = transition.terminated | transition.truncated
    choose = partial(_choose, done)
    return jax.tree.map(choose, chance.state, stepped_state), TimeStep(
        observation=jax.tree.map(choose, chance.observation, transition.observation),
        final_observation=transition.observation,
        reward=transition.reward,
        terminated=transition.terminated,
        truncated=transition.truncated,
    )


def _choose(done: jax.Array, if_done: jax.Array, otherwise: jax.Array) -> jax.Array:
    """`jnp.where` along the first axis, for leaves of any rank and for typed keys."""
    if_done = jnp.asarray(if_done)
    mask = done.reshape(done.shape + (1,) * (if_done.ndim - 1))
    return jnp.where(mask, if_done, otherwise)
