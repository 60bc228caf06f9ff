"""Compares an exported policy with the trained one, on observations that the policy itself meets."""

import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ppo_jax.algorithm.agent import Agent, act
from ppo_jax.envs import registry
from ppo_jax.envs.environment import Environment, TimeStep, actor_features, legal_actions
from ppo_jax.envs.make import Simulators, make_simulators
from ppo_jax.errors import UsageError
from ppo_jax.host.export.formats import GREEDY, SAMPLED, Act
from ppo_jax.host.export.subject import Subject, make_act, outputs_of, pack
from ppo_jax.networks.distributions import ILLEGAL, draw_noise
from ppo_jax.spaces import MultiDiscrete

COPIES, STEPS = 8, 125  # 1,000 observations
EPSILON = 2.0**-23  # the rounding of float32
ROUNDINGS = 3  # changes by this rounding that an exported policy may differ by
MOST = 1e-4  # but not by more than this
FIRST = 1  # observations in the first of two batches


class Samples(NamedTuple):
    """Observations of a trained policy, and what it makes of them.

    Attributes:
        inputs: The inputs of an exported policy by name, [1000, ...], in both forms.
        expected: The outputs of the trained policy by form and name, [1000, ...].
        rounding: The largest change of its outputs if every parameter changes by the rounding of float32.
    """

    inputs: dict[str, np.ndarray]
    expected: dict[str, dict[str, np.ndarray]]
    rounding: float


def gather(subject: Subject, seed: int) -> Samples:
    """Lets a trained policy act, with sampled actions, and keeps what it sees and does.

    Args:
        subject: The policy.
        seed: The source of first states, transitions and actions.
    """
    environment, network, config = subject.environment, subject.network, subject.config
    # Folded, so that the observations are those of no training or evaluation with the same seed.
    key = jax.random.fold_in(jax.random.key(seed), 2)

    @jax.jit
    def decide(agent: Agent, key: jax.Array, memory: Any, observation: Any, start: jax.Array) -> Any:
        memory = jax.tree.map(lambda x: jnp.where(start.reshape(-1, *[1] * (x.ndim - 1)), 0, x), memory)
        noise = draw_noise(environment.action_space, key, COPIES)
        _, prediction = act(network, agent, memory, observation, start)
        inputs = {
            "observation": actor_features(observation),
            "mask": legal_actions(observation),
            "memory": pack(memory),
            "noise": noise,
        }
        expected = {
            GREEDY: outputs_of(subject, prediction, None),
            SAMPLED: outputs_of(subject, prediction, noise),
        }
        return prediction.memory, (inputs, expected)

    if registry.is_on_host(config.env):
        world = make_simulators(config.env, config.env_args, COPIES)
    else:
        world = _Copies(environment)
    observation = world.reset(seed)
    memory, start, seen = network.init_memory(COPIES), np.ones(COPIES, bool), []
    for step in range(STEPS):
        step_key = jax.random.fold_in(key, step)
        memory, results = decide(subject.agent, step_key, memory, observation, start)
        seen.append(jax.device_get(results))
        time_step = world.step(seen[-1][1][SAMPLED]["action"])
        observation, start = time_step.observation, time_step.done
    inputs, expected = jax.tree.map(lambda *some: np.concatenate(some), *seen)
    return Samples(inputs, expected, _rounding(subject, inputs))


def _rounding(subject: Subject, inputs: dict[str, np.ndarray]) -> float:
    """Returns by how much the outputs of a policy change if all parameters change by a rounding."""
    signs = np.random.default_rng(0)

    def rounded(x: Any) -> np.ndarray:
        return (x * (1 + EPSILON * signs.choice([-1, 1], np.shape(x)))).astype(x.dtype)

    @jax.jit
    def apply(params: Any, given: dict[str, Any]) -> dict[str, jax.Array]:
        return make_act(subject._replace(agent=subject.agent._replace(params=params)))(given)

    given = {name: x for name, x in inputs.items() if x is not None and name != "noise"}
    params = subject.agent.params
    plain, changed = (jax.device_get(apply(x, given)) for x in (params, jax.tree.map(rounded, params)))
    return largest_difference(plain, changed)


class _Copies(Simulators):
    """Copies of an environment that is compiled, stepped like simulators."""

    def __init__(self, environment: Environment):
        self._reset = jax.jit(environment.reset, static_argnums=0)

        @jax.jit
        def step(key: jax.Array, state: Any, action: jax.Array) -> Any:
            return environment.step(environment.draw_one(COPIES, key), state, action)

        self._step = step

    def reset(self, seed: int) -> Any:
        """Begins new episodes; returns their first observations, [N, ...]."""
        key, reset_key = jax.random.split(jax.random.fold_in(jax.random.key(seed), 3))
        self._keys = (jax.random.fold_in(key, number) for number in itertools.count())
        self._state, observation = self._reset(COPIES, reset_key)
        return observation

    def step(self, action: Any) -> TimeStep:
        """Takes one step in each copy."""
        self._state, time_step = self._step(next(self._keys), self._state, action)
        return time_step


def check(name: str, act: Act, subject: Subject, samples: Samples, tolerance: float) -> dict[str, Any]:
    """Compares an exported policy with the trained one, in both forms.

    Numbers may differ by rounding only (see `difference`): by the tolerance, or by more if the outputs
    are large sums that almost cancel, so that rounding matters more. Actions have to be the same, but where
    two of them are all but equally probable, or the noise falls all but between them, rounding decides.

    Args:
        name: The name of the format.
        act: The exported policy.
        subject: The trained policy.
        samples: The observations, and what the trained policy makes of them.
        tolerance: The largest difference that is allowed to a policy that rounds little.

    Returns:
        What was found, for the contract.

    Raises:
        UsageError: If it is another policy.
    """
    size = len(samples.inputs["observation"])
    tolerance = max(tolerance, min(ROUNDINGS * samples.rounding, MOST))
    largest, ties = 0.0, 0
    for form in samples.expected:
        inputs = {key: x for key, x in samples.inputs.items() if x is not None}
        if form == GREEDY:
            del inputs["noise"]
        found = _in_batches(act, inputs, size)
        largest = float(np.maximum(largest, largest_difference(samples.expected[form], found)))
        differing, unexplained = _compare_actions(subject, form, samples, found["action"], tolerance)
        ties += differing
        if not largest <= tolerance or unexplained:
            raise UsageError(
                f"the {form} policy in the format {name!r} is not the trained one: over {size:,} "
                f"observations, the largest difference is {largest:.3g}, where {tolerance:g} is allowed, and "
                f"{unexplained} actions are others; nothing was written. A network of your own may depend "
                "on what only the critic sees, or on a memory that is not zero when an episode begins"
            )
    return {
        "observations": size,
        "largest_difference": largest,
        "tolerance": tolerance,
        "change_by_rounding": samples.rounding,
        "actions_decided_by_rounding": ties,
    }


def _in_batches(act: Act, inputs: dict[str, np.ndarray], size: int) -> dict[str, np.ndarray]:
    """Acts on batches of two sizes, and returns their outputs as one batch."""
    parts = slice(FIRST), slice(FIRST, size)
    batches = [act({key: x[part] for key, x in inputs.items()}) for part in parts]
    return {key: np.concatenate([np.asarray(batch[key]) for batch in batches]) for key in batches[0]}


def largest_difference(expected: dict[str, np.ndarray], found: dict[str, np.ndarray]) -> float:
    """Returns the largest difference of all outputs that are not whole numbers; NaN if one is NaN."""
    if expected.keys() != found.keys():
        return np.inf
    numbers = [name for name, x in expected.items() if x.dtype == np.float32]
    return float(np.max([difference(expected[name], found[name]) for name in numbers], initial=0.0))


def difference(expected: np.ndarray, found: np.ndarray) -> float:
    """Returns the largest difference between outputs, [N, ...], relative to the largest of a row.

    Where all outputs of an observation are below 1, the difference is absolute. Logits of actions that are
    not allowed have to be so in both. NaN, which is no difference that is allowed, if a number is NaN.
    """
    if expected.shape != found.shape or expected.dtype != found.dtype:
        return np.inf
    is_illegal = expected <= ILLEGAL
    if not np.array_equal(is_illegal, found <= ILLEGAL):
        return np.inf
    expected, found = (np.where(is_illegal, 0, x).astype(np.float64) for x in (expected, found))
    axes = tuple(range(1, expected.ndim))
    scale = np.maximum(1, np.abs(expected).max(axis=axes, keepdims=True))
    return float((np.abs(found - expected) / scale).max())


def _compare_actions(
    subject: Subject, form: str, samples: Samples, found: np.ndarray, tolerance: float
) -> tuple[int, int]:
    """Returns how many whole-numbered actions differ, and how many of these are not explained by rounding."""
    expected = samples.expected[form]
    actions = expected["action"]
    if actions.shape != found.shape or actions.dtype != found.dtype:
        return actions.size, actions.size
    if "logits" not in expected:
        return 0, int((actions != found).sum()) if actions.dtype != np.float32 else 0
    space = subject.environment.action_space
    sizes = list(space.nums) if isinstance(space, MultiDiscrete) else [expected["logits"].shape[1]]
    parts = np.split(expected["logits"].astype(np.float64), np.cumsum(sizes)[:-1], axis=1)
    noise = samples.inputs["noise"].reshape(len(actions), -1)
    of_component = found.reshape(len(actions), -1)
    differs = actions.reshape(of_component.shape) != of_component
    explained = [
        _is_as_good(part, None if form == GREEDY else noise[:, i], of_component[:, i], tolerance)
        for i, part in enumerate(parts)
    ]
    return int(differs.sum()), int((differs & ~np.stack(explained, axis=1)).sum())


def _is_as_good(logits: np.ndarray, noise: Any, action: np.ndarray, tolerance: float) -> np.ndarray:
    """Whether an action is one that rounding of the logits, [N, A], may lead to, [N] bool."""
    rows, exists = np.arange(len(action)), (action >= 0) & (action < logits.shape[1])
    action = np.where(exists, action, 0)
    legal = np.where(logits <= ILLEGAL, 0, logits)
    slack = 2 * tolerance * np.maximum(1, np.abs(legal).max(axis=1))
    if noise is None:
        return exists & (logits.max(axis=1) - logits[rows, action] <= slack)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    sums = weights.cumsum(axis=1) / weights.sum(axis=1, keepdims=True)
    highest = sums[rows, action]
    lowest = highest - (weights / weights.sum(axis=1, keepdims=True))[rows, action]
    is_possible = exists & (weights[rows, action] > 0)
    return is_possible & (lowest - slack <= noise) & (noise <= highest + slack)
