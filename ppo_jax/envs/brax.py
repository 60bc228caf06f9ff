"""The adapter to Brax.

It uses the environments themselves rather than Brax's wrappers: these begin every episode of a copy in the
same first state, and put that state in the place of the last observation of the episode before. Brax leaves
the time limit to its wrappers; here it is the 1,000 steps that they have by default.
"""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ppo_jax.envs import mujoco
from ppo_jax.envs.adapting import Painter, dynamics_of, explained_by, identify, split
from ppo_jax.envs.arguments import RESET_POOL, TIME_LIMIT, Argument, Parameter, named_parameters_of
from ppo_jax.envs.concrete import concretely
from ppo_jax.envs.environment import Dynamics, Transition
from ppo_jax.spaces import Box

with concretely():
    brax_envs: Any = importlib.import_module("brax.envs")

LIMIT = 1000  # steps, the default of Brax's own training
POOL = 256  # first states per rollout: a reset solves the dynamics once
BACKENDS = ("generalized", "spring", "positional", "mjx")
REFUSED = {"swimmer": "Brax calls jax.numpy.clip with a_min, which JAX no longer takes"}

# The environments of Brax, each with the reason why it cannot be trained on, if there is one.
NAMES = {id_: REFUSED.get(id_, "") for id_ in brax_envs._envs}


def make_dynamics(name: str, arguments: Mapping[str, Argument], traced: Mapping[str, jax.Array]) -> Dynamics:
    """Makes one copy of an environment of Brax.

    Args:
        name: A name such as "brax:ant".
        arguments: Arguments of its constructor, and ours, by name.
        traced: Nothing.

    Raises:
        UsageError: If it cannot be made, or an argument does not fit it.
    """
    id_ = identify(name, NAMES)
    given, ours = split(name, arguments, parameters(name))
    with explained_by(name, arguments):
        with concretely():
            env = brax_envs.get_environment(id_, **given)
        return dynamics_of(
            begin=env.reset,
            advance=lambda key, state, action: env.step(state, action),
            tell=_tell,
            action_space=Box((env.action_size,), -1.0, 1.0),
            ours=ours,
        )


def parameters(name: str) -> dict[str, Parameter]:
    """Returns the parameters of an environment of Brax by name, those of its constructor first."""
    kind = brax_envs._envs[identify(name, NAMES)]
    found = named_parameters_of(kind)
    if "backend" in found:
        found["backend"] = found["backend"]._replace(kinds=(str,), choices=BACKENDS)
    return {**found, TIME_LIMIT: Parameter((int,), LIMIT), RESET_POOL: Parameter((int,), POOL)}


def make_painter(name: str, arguments: Mapping[str, Argument]) -> Painter:
    """Makes what draws states of an environment of Brax, with MuJoCo's renderer.

    Raises:
        UsageError: If it cannot be made, or there is no OpenGL.
    """
    id_ = identify(name, NAMES)
    given, _ = split(name, arguments, parameters(name))
    with explained_by(name, arguments), concretely():
        env = brax_envs.get_environment(id_, **given)
    return Painter(
        mujoco.make_painter(
            name,
            env.sys.mj_model,
            lambda state: {"qpos": state.pipeline_state.q, "qvel": state.pipeline_state.qd},
        )
    )


def make_page(name: str, arguments: Mapping[str, Argument], states: Sequence[Any]) -> str:
    """Returns a page of HTML that shows states in Brax's own viewer, which it loads from the network."""
    id_ = identify(name, NAMES)
    given, _ = split(name, arguments, parameters(name))
    with concretely():
        env = brax_envs.get_environment(id_, **given)
        system = env.sys.tree_replace({"opt.timestep": env.dt})  # a state for each step of ours
        html: Any = importlib.import_module("brax.io.html")
        return html.render(system, [state.pipeline_state for state in states])


def _tell(state: Any) -> Transition:
    return Transition(
        observation=state.obs,
        reward=state.reward,
        terminated=state.done > 0,
        truncated=jnp.array(False),
        metrics=state.metrics,
    )
