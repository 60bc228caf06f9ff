"""Does an environment behave as the contract says? Found by playing it with random legal actions."""

import operator
from collections.abc import Iterator
from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ppo_jax import spaces
from ppo_jax.conformance.shapes import first_line
from ppo_jax.envs.environment import Environment, actor_features, critic_features, legal_actions
from ppo_jax.errors import UsageError
from ppo_jax.networks.distributions import dead_ends, make_distribution, num_outputs
from ppo_jax.spaces import Box, Space

NUM_ENVS = 8  # copies that are played
NUM_STEPS = 256  # steps of each
NUM_FIRST = 509  # first observations to compare with; a prime, unlikely to be the length of anything else
MIN_ENDS = 32  # episodes that must have ended before a coincidence at all their ends counts as proof
COMPILER_OPTIONS = {"xla_backend_optimization_level": 0}  # it runs for a moment only: compiling takes longer


class _First(NamedTuple):
    """The findings about the first observations of N copies; stacked over keys, [2, N]."""

    is_sound: jax.Array  # [N] bool, finite and within the bounds
    is_dead_end: jax.Array  # [N] bool, no action is allowed
    is_alike: jax.Array  # [N] bool, equal to that of the first copy
    is_fresh: jax.Array  # [N] bool, within the range of those of the first key
    sample: Any  # the observation of the first copy, [1, ...]


class _Findings(NamedTuple):
    """The findings about one step of N copies; stacked over keys and steps, [2, T, ...]."""

    reward: jax.Array  # [N] float32
    terminated: jax.Array  # [N] bool, as are the next ones
    truncated: jax.Array
    is_sound: jax.Array  # the final and the next observation are finite and within the bounds
    is_dead_end: jax.Array  # the next observation allows no action
    goes_on: jax.Array  # the next observation is the final one
    is_fresh: jax.Array  # the next observation could be a first one
    is_alike: jax.Array  # successor and reward are equal to those of the first copy
    sample: Any  # successor and reward of the first copy, [1, ...]


def behaviour_problems(environment: Environment) -> Iterator[str]:
    """Finds what is wrong with the behaviour, by playing twice from the same two keys.

    Args:
        environment: The environment, whose spaces and shapes are right.

    Yields:
        The problems, each in a sentence.

    Raises:
        UsageError: If the environment cannot be vmapped or scanned.
    """

    def play(keys: jax.Array) -> tuple[_First, _Findings]:
        return _play(environment, keys)

    program = jax.jit(play, compiler_options=COMPILER_OPTIONS)
    keys = jax.random.split(jax.random.key(0))
    try:
        record, again = jax.device_get((program(keys), program(keys)))
    except Exception as error:  # whatever the author's code raises is their mistake to mend
        raise UsageError(f"the environment cannot be vmapped and scanned: {first_line(error)}") from error
    if not _equals(record, again).all():
        yield "the same key does not give the same episodes again; nothing but the key may be random"
    yield from _value_problems(*record)
    yield from _reset_problems(*record)
    yield from _chance_problems(*record)
    yield from _pool_problems(environment, record[0])


def _value_problems(first: _First, findings: _Findings) -> Iterator[str]:
    if not np.isfinite(findings.reward).all():
        yield "a reward is not finite"
    if not (first.is_sound.all() and findings.is_sound.all()):
        yield "an observation is not finite, or not within the bounds of its space"
    if first.is_dead_end.any() or findings.is_dead_end.any():
        yield "an observation to act on allows no action; end the episode in the step that leads there"


def _reset_problems(first: _First, findings: _Findings) -> Iterator[str]:
    done = findings.terminated | findings.truncated
    least = first.is_fresh[1].mean() / 2  # where first observations are rare, others of them look no fresher
    if not findings.goes_on[~done].all():
        yield "observation is not final_observation although the episode goes on"
    for name, ended in (("terminated", findings.terminated), ("truncated", findings.truncated)):
        if ended.any() and findings.is_fresh[ended].mean() < least:
            yield (
                f"after an episode was {name}, observation is not the first of a new one; `step` has to "
                "reset the copies that are done"
            )
    varied = first.is_alike.mean() < 0.5
    if varied and done.sum() >= MIN_ENDS and findings.goes_on[done].all():
        yield (
            "final_observation is observation even where an episode ended; the one has to be the true "
            "successor, and the other the first of a new episode"
        )


def _chance_problems(first: _First, findings: _Findings) -> Iterator[str]:
    """Finds keys that copies share: then they differ between keys, but not among each other."""

    def differs_by_key(sample: Any) -> bool:  # [2, 1, ...]
        one, other = (jax.tree.map(lambda x, row=row: x[row], sample) for row in range(2))
        return not _equals(one, other).all()

    if first.is_alike.all() and differs_by_key(first.sample):
        yield "all copies begin alike, but otherwise with another key; give each copy a key of its own"
    in_first_step = jax.tree.map(lambda x: x[:, 0], findings.sample)
    if findings.is_alike[:, 0].all() and differs_by_key(in_first_step):
        yield "all copies meet the same chance in a step; give each copy a key of its own"


def _pool_problems(environment: Environment, first: _First) -> Iterator[str]:
    """Finds a pool that is filled with the same first states again, although first states vary."""
    if environment.pool is None:
        return
    one_key, other_key = jax.random.split(jax.random.key(0))
    state, _ = environment.reset(NUM_ENVS, one_key)
    one, other = (environment.pool.refill(key, state) for key in (one_key, other_key))
    is_same = jax.tree.map(lambda x, y: bool((x == y).all()), one, other)
    if first.is_alike.mean() < 0.5 and all(jax.tree.leaves(is_same)):
        yield "pool.refill draws the same first states for another key; draw them with the key"


# What is compiled; `_equals` and `_rows` work on arrays of NumPy too


def _play(environment: Environment, keys: jax.Array) -> tuple[_First, _Findings]:
    """Plays random legal actions from two keys, [2]; in the first step all copies do the same."""

    def reset(key: jax.Array) -> tuple[Any, Any]:
        return environment.reset(NUM_FIRST, key)

    # Behind the barrier XLA sees no constants in first observations, with which it would compute for seconds.
    states, observations = jax.lax.optimization_barrier(jax.vmap(reset)(keys))  # [2, NUM_FIRST, ...]
    limits = _limits(jax.tree.map(lambda x: x[0], observations))
    if all(leaf.shape[1:2] == (NUM_FIRST,) for leaf in jax.tree.leaves(states)):
        # All copies begin as the first of all did, so that only chance can make their first steps differ.
        begin = jax.tree.map(lambda x: x[0, jnp.zeros(NUM_ENVS, int)], (states, observations))
    else:  # the state holds more than a row for each copy
        begin = environment.reset(NUM_ENVS, keys[0])

    def judge(observation: Any) -> _First:
        sample = jax.tree.map(lambda x: x[:1], observation)
        return _First(
            is_sound=_is_sound(environment, observation),
            is_dead_end=_is_dead_end(environment, observation),
            is_alike=_equals(observation, sample),
            is_fresh=_is_between(limits, observation),
            sample=sample,
        )

    def step(
        carry: tuple[Any, Any], inputs: tuple[jax.Array, jax.Array]
    ) -> tuple[tuple[Any, Any], _Findings]:
        state, observation = carry
        time, key = inputs
        action = _random_action(environment.action_space, time, observation)
        state, time_step = environment.step(environment.draw_one(NUM_ENVS, key), state, action)
        observation, final = time_step.observation, time_step.final_observation
        sample = jax.tree.map(lambda x: x[:1], (final, time_step.reward))
        findings = _Findings(
            reward=time_step.reward,
            terminated=time_step.terminated,
            truncated=time_step.truncated,
            is_sound=_is_sound(environment, observation) & _is_sound(environment, final),
            is_dead_end=_is_dead_end(environment, observation),
            goes_on=_equals(observation, final),
            is_fresh=_is_between(limits, observation),
            is_alike=_equals((final, time_step.reward), sample),
            sample=sample,
        )
        return (state, observation), findings

    def play(key: jax.Array) -> _Findings:
        times_and_keys = jnp.arange(NUM_STEPS), jax.random.split(key, NUM_STEPS)
        _, findings = jax.lax.scan(step, _refill(environment, key, begin), times_and_keys)
        return findings

    return jax.vmap(judge)(observations), jax.vmap(play)(keys)


def _refill(environment: Environment, key: jax.Array, begin: tuple[Any, Any]) -> tuple[Any, Any]:
    """Fills the pool of an environment that has one, as at the start of a rollout."""
    state, observation = begin
    return begin if environment.pool is None else (environment.pool.refill(key, state), observation)


def _random_action(space: Space, time: jax.Array, observation: Any) -> jax.Array:
    """Samples what an untrained policy might; in each fourth step, a corner of a Box."""
    # Actions depend on the time alone, so that the two plays differ by the chance of the environment only.
    sample_key, corner_key = jax.random.split(jax.random.fold_in(jax.random.key(1), time))
    outputs = jnp.zeros((NUM_ENVS, num_outputs(space)))
    policy = make_distribution(space, outputs, outputs[0], legal_actions(observation))
    action = spaces.clip(space, policy.sample(sample_key))
    if isinstance(space, Box):
        corner = jnp.where(jax.random.bernoulli(corner_key, shape=action.shape), *spaces.bounds(space, 2))
        action = jnp.where((time % 4 == 3) & jnp.isfinite(corner), corner, action)
    return jnp.where(time == 0, action[:1], action)


def _is_sound(environment: Environment, observation: Any) -> jax.Array:
    """Says which observations are finite and within the bounds of their spaces, [N]."""

    def is_within(space: Any, x: jax.Array) -> jax.Array:
        low, high = spaces.bounds(space, x.ndim)
        return _rows(jnp.isfinite(x) & (low <= x) & (x <= high))

    sound = is_within(environment.observation_space, actor_features(observation))
    if environment.privileged_space is None:
        return sound
    return sound & is_within(environment.privileged_space, critic_features(observation))


def _is_dead_end(environment: Environment, observation: Any) -> jax.Array:
    """Says which observations allow no action, [N]."""
    legal = legal_actions(observation)
    if legal is None:
        return jnp.zeros(actor_features(observation).shape[0], bool)
    return dead_ends(environment.action_space, legal)


def _limits(first: Any) -> tuple[Any, Any]:
    """Returns the range of first observations [N, ...], widened by half on both sides: two trees [1, ...]."""
    first = jax.tree.map(lambda x: x.astype(jnp.float32), first)
    least = jax.tree.map(lambda x: x.min(axis=0, keepdims=True), first)
    most = jax.tree.map(lambda x: x.max(axis=0, keepdims=True), first)
    low = jax.tree.map(lambda a, b: 1.5 * a - 0.5 * b, least, most)
    high = jax.tree.map(lambda a, b: 1.5 * b - 0.5 * a, least, most)
    return low, high


def _is_between(limits: tuple[Any, Any], observation: Any) -> jax.Array:
    """Says which observations lie within the limits, [N]."""
    return _rows(jax.tree.map(lambda x, low, high: (low <= x) & (x <= high), observation, *limits))


def _equals(a: Any, b: Any) -> jax.Array:
    """Says in which rows all leaves are equal, NaN to NaN; of trees [N, ...] and [N or 1, ...], [N]."""
    return _rows(jax.tree.map(lambda x, y: (x == y) | ((x != x) & (y != y)), a, b))


def _rows(tree: Any) -> jax.Array:
    """Says in which rows all leaves are True; of a tree of bool [N, ...], [N]."""
    rows = [leaf.reshape(leaf.shape[0], -1).all(axis=1) for leaf in jax.tree.leaves(tree)]
    return reduce(operator.and_, rows)
