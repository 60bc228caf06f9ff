"""CartPole-v1 as an environment of Brax: the equations and limits of gymnasium's CartPole.

Brax's own wrapper applies the time limit of 500 steps.
"""

import jax
import jax.numpy as jnp
from brax.envs.base import Env, State  # pyright: ignore[reportMissingImports]

GRAVITY = 9.8
CART_MASS, POLE_MASS = 1.0, 0.1
TOTAL_MASS = CART_MASS + POLE_MASS
HALF_LENGTH = 0.5  # of the pole
POLE_MOMENT = POLE_MASS * HALF_LENGTH
FORCE = 10.0
TIME_STEP = 0.02
MAX_POSITION = 2.4
MAX_ANGLE = 12 * 2 * jnp.pi / 360


class CartPole(Env):
    """A pole on a cart, pushed to the right by a positive action and to the left by any other."""

    def reset(self, rng: jax.Array) -> State:
        """Begins near the upright rest."""
        pole = jax.random.uniform(rng, (4,), minval=-0.05, maxval=0.05)
        return State(pole, pole, jnp.zeros(()), jnp.zeros(()))

    def step(self, state: State, action: jax.Array) -> State:
        """Pushes for one time step."""
        pole = _push(state.pipeline_state, jnp.where(action[0] > 0, FORCE, -FORCE))
        failed = (jnp.abs(pole[0]) > MAX_POSITION) | (jnp.abs(pole[2]) > MAX_ANGLE)
        return state.replace(
            pipeline_state=pole, obs=pole, reward=jnp.ones(()), done=failed.astype(jnp.float32)
        )

    @property
    def observation_size(self) -> int:
        """Position, velocity, angle, angular velocity."""
        return 4

    @property
    def action_size(self) -> int:
        """One number, of which only the sign counts."""
        return 1

    @property
    def backend(self) -> str:
        """The name of the physics engine; none of Brax's is used."""
        return "none"


def _push(pole: jax.Array, force: jax.Array) -> jax.Array:
    _, velocity, angle, turning = pole
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    push = (force + POLE_MOMENT * turning**2 * sine) / TOTAL_MASS
    inertia = HALF_LENGTH * (4 / 3 - POLE_MASS * cosine**2 / TOTAL_MASS)
    turning_rate = (GRAVITY * sine - cosine * push) / inertia
    acceleration = push - POLE_MOMENT * turning_rate * cosine / TOTAL_MASS
    return pole + TIME_STEP * jnp.stack([velocity, acceleration, turning, turning_rate])
