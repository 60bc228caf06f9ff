"""The adapter to MuJoCo Playground.

It uses the environments themselves rather than Playground's wrappers, which reset as Brax's do (see
`envs.brax`). The time limit is the one that Playground trains with. Physics is that of MJX in JAX, which runs
on any device; `impl="warp"` asks for MuJoCo Warp, which needs an NVIDIA GPU.
"""

import importlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ppo_jax.envs import mujoco
from ppo_jax.envs.adapting import Painter, dynamics_of, explained_by, identify, split
from ppo_jax.envs.arguments import KINDS, RESET_POOL, TIME_LIMIT, Argument, Parameter
from ppo_jax.envs.concrete import concretely
from ppo_jax.envs.environment import Dynamics, Observation, Transition
from ppo_jax.errors import UsageError
from ppo_jax.spaces import Box

with concretely():
    registry: Any = importlib.import_module("mujoco_playground").registry

POOL = 256  # first states per rollout: a reset solves the dynamics once
OF_WRAPPERS = ("episode_length", "action_repeat", "vision")  # settings that are not passed on
PARTS = {"state", "privileged_state"}  # of an observation that is a dictionary

# The environments, each with the reason why it cannot be trained on: none has one.
NAMES = dict.fromkeys(registry.ALL_ENVS, "")


def make_dynamics(name: str, arguments: Mapping[str, Argument], traced: Mapping[str, jax.Array]) -> Dynamics:
    """Makes one copy of an environment of MuJoCo Playground.

    Args:
        name: A name such as "playground:CartpoleBalance".
        arguments: Values of its configuration, and ours, by name.
        traced: Nothing.

    Raises:
        UsageError: If it cannot be made, or an argument does not fit it.
    """
    id_ = identify(name, NAMES)
    given, ours = split(name, arguments, parameters(name))
    given.setdefault("impl", "jax")
    with explained_by(name, arguments):
        with concretely():
            env = _load(id_, given)
        return dynamics_of(
            begin=env.reset,
            advance=lambda key, state, action: env.step(state, action),
            tell=_tell,
            action_space=Box((env.action_size,), -1.0, 1.0),
            ours=ours,
        )


def parameters(name: str) -> dict[str, Parameter]:
    """Returns the parameters of an environment of MuJoCo Playground, those of its configuration first."""
    config = registry.get_default_config(identify(name, NAMES))
    simple = {key: value for key, value in config.items() if type(value) in KINDS and key not in OF_WRAPPERS}
    found = {key: Parameter((type(value),), value) for key, value in simple.items()}
    return {
        **found,
        "impl": Parameter((str,), "jax", choices=("jax", "warp")),
        TIME_LIMIT: Parameter((int,), config.episode_length),
        RESET_POOL: Parameter((int,), POOL),
    }


def make_painter(name: str, arguments: Mapping[str, Argument]) -> Painter:
    """Makes what draws states of an environment of MuJoCo Playground, with MuJoCo's renderer.

    Raises:
        UsageError: If it cannot be made, or there is no OpenGL.
    """
    id_ = identify(name, NAMES)
    given, _ = split(name, arguments, parameters(name))
    given.setdefault("impl", "jax")
    with explained_by(name, arguments), concretely():
        env = _load(id_, given)
    fields = ("qpos", "qvel", "mocap_pos", "mocap_quat")
    return Painter(
        mujoco.make_painter(
            name, env.mj_model, lambda state: {field: getattr(state.data, field) for field in fields}
        )
    )


def _load(id_: str, given: Mapping[str, Any]) -> Any:
    try:
        return registry.load(id_, config_overrides=given)
    except Exception as error:
        if id_ in registry.dm_control_suite.ALL_ENVS or registry.mjx_env.MENAGERIE_PATH.exists():
            raise
        raise UsageError(
            "Playground clones its robots from GitHub when one is first made, which failed"
        ) from error


def _tell(state: Any) -> Transition:
    observation = state.obs
    if isinstance(observation, Mapping):
        if set(observation) != PARTS:
            raise UsageError(f"it has observations of {', '.join(observation)}, which are not implemented")
        observation = Observation(observation["state"], privileged=observation["privileged_state"])
    return Transition(
        observation=observation,
        reward=state.reward,
        terminated=state.done > 0,
        truncated=jnp.array(False),
        metrics={name.replace("/", "_"): value for name, value in state.metrics.items()},
    )
