"""An environment of your own: a sign at the entrance of a corridor says where to turn at its end."""

from functools import partial

import jax
import jax.numpy as jnp

import ppo_jax
from ppo_jax.conformance import check
from ppo_jax.envs.environment import Dynamics, Observation, Transition, make_batched
from ppo_jax.spaces import Box, Discrete

LENGTH = 4
FORWARD, LEFT, RIGHT = range(3)  # the actions


def observe(state):
    """Shows the sign to the actor at the entrance only, and to the critic everywhere."""
    position, sign = state["position"], state["sign"]
    at_end = position == LENGTH
    return Observation(
        features=jnp.stack([position / LENGTH, sign * (position == 0)]),
        legal_actions=jnp.stack([~at_end, at_end, at_end]),
        privileged=jnp.stack([position / LENGTH, sign]),
    )


def reset(key):
    """Begins an episode: the sign is -1 for left or 1 for right."""
    state = {"position": jnp.int32(0), "sign": jax.random.rademacher(key, (), jnp.float32)}
    return state, observe(state)


def step(key, state, action):
    """Moves one step. A turn ends the episode; the right turn is rewarded."""
    reward = jnp.where(action == jnp.where(state["sign"] < 0, LEFT, RIGHT), 1.0, 0.0)
    state = state | {"position": state["position"] + 1}
    return state, Transition(observe(state), reward, terminated=action != FORWARD, truncated=jnp.array(False))


corridor = make_batched(Dynamics(reset, step, Box((2,)), Discrete(3), privileged_space=Box((2,))))


def main() -> None:
    """Trains without and with a memory, and prints how often the trained policy makes the right turn."""
    check(corridor)
    hyper = ppo_jax.Hyperparams(learning_rate=2e-3)
    for memory_size in (0, 16):
        config = ppo_jax.Config("corridor", 32, 20, 32_000, hidden_sizes=(16,), memory_size=memory_size)
        train = jax.jit(partial(ppo_jax.train, config, environment=corridor))
        state, _ = train(hyper, jax.random.key(0))
        evaluate = jax.jit(partial(ppo_jax.evaluate, config, environment=corridor))
        episodes = evaluate(jax.random.key(1), state.learner.params)
        print(f"memory_size = {memory_size}: right in {episodes.episode_return.mean():.0%} of the episodes")


if __name__ == "__main__":
    main()
