"""A user's own gymnax class: a point on a line has to reach a target."""

import gymnax
import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import environment, spaces


@struct.dataclass
class State(environment.EnvState):
    position: jax.Array
    target: jax.Array


class Reach(environment.Environment):
    """A point on a line has to reach a target and stay there."""

    default_params = gymnax.EnvParams(max_steps_in_episode=20)

    def __init__(self, speed: float = 0.2):
        self.speed = speed

    def reset_env(self, key, params):
        position, target = jax.random.uniform(key, (2,), minval=-1.0)
        state = State(time=0, position=position, target=target)
        return self.get_obs(state), state

    def step_env(self, key, state, action, params):
        state = state.replace(time=state.time + 1, position=state.position + self.speed * action[0])
        distance = jnp.abs(state.position - state.target)
        metrics = {"reached": (distance < 0.1) & (state.time == params.max_steps_in_episode)}
        return self.get_obs(state), state, -distance, jnp.array(False), {"metrics": metrics}

    def get_obs(self, state, params=None, key=None):
        return jnp.stack([state.position, state.target])

    def observation_space(self, params):
        return spaces.Box(-jnp.inf, jnp.inf, (2,))

    def action_space(self, params):
        return spaces.Box(-1.0, 1.0, (1,))
