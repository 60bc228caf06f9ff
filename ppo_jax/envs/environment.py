"""The contract of an environment, and auto-reset, which turns one copy into a batch of N.

A `Dynamics` is what an author writes: one copy, which says when an episode is over and need not continue
after that. An `Environment` is what training uses: a batch of N copies that reset themselves.
`make_batched` makes an `Environment` from a `Dynamics`, so auto-reset is written only once.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import keystr, tree_leaves_with_path

from ppo_jax import shards
from ppo_jax.errors import UsageError
from ppo_jax.spaces import Space

NO_METRICS: dict[str, Any] = {}


class Observation(NamedTuple):
    """An observation that has more than features. If there are only features, a bare array will do.

    These parts belong to the observation rather than to `TimeStep` because they are needed from the first
    observation on, before there is any step.

    Attributes:
        features: The features that the actor sees, [...] float32.
        legal_actions: The mask of the actions that are allowed, bool: [A] for Discrete actions; for
            MultiDiscrete ones, the masks of all components, concatenated. None if all are always allowed.
        privileged: The features that the critic sees instead (an asymmetric critic), [...] float32.
            None if it sees what the actor sees.
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
    """Returns the mask of the actions that an observation allows; None if it allows all."""
    return observation.legal_actions if isinstance(observation, Observation) else None


class Transition(NamedTuple):
    """The result of one step of one copy, before any reset.

    Attributes:
        observation: The observation of the successor state, [...]; an array or an `Observation`.
        reward: [] float32.
        terminated: [] bool, the task ended here: there is no future to value.
        truncated: [] bool, a time limit cut the episode short: the task could have continued.
        metrics: More numbers to report, scalars by name, such as whether the goal was reached. Like the
            reward, each is summed over the steps of an episode. Every step gives the same names.
    """

    observation: Any
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    metrics: dict[str, Any] = NO_METRICS


class Dynamics(NamedTuple):
    """One copy of an environment, as pure functions.

    Attributes:
        reset: `reset(key) -> (state, observation)`.
        step: `step(key, state, action) -> (state, Transition)`.
        observation_space: The space of one observation, or of its `features`.
        action_space: The space of one action.
        privileged_space: The space of `privileged`; None if there is nothing that only the critic sees.
        reset_pool: The number of first states that are drawn for a rollout, if resets are expensive; None
            to draw one for every step of every copy, which costs less if they are cheap.
    """

    reset: Callable[[jax.Array], tuple[Any, Any]]
    step: Callable[[jax.Array, Any, jax.Array], tuple[Any, Transition]]
    observation_space: Space
    action_space: Space
    privileged_space: Space | None = None
    reset_pool: int | None = None


class TimeStep(NamedTuple):
    """The result of one step of N copies that reset themselves.

    Where both flags are set, `terminated` wins: it alone zeroes the bootstrap.

    Attributes:
        observation: [N, ...], the observation to act on next, after auto-reset; an array or an `Observation`.
        final_observation: [N, ...], the true successor of the state acted in, before auto-reset.
        reward: [N] float32.
        terminated: [N] bool.
        truncated: [N] bool.
        metrics: More numbers to report, [N] by name (see `Transition`).
    """

    observation: Any
    final_observation: Any
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    metrics: dict[str, Any] = NO_METRICS

    @property
    def legal_actions(self) -> jax.Array | None:
        """[N, A] bool, the mask of the actions that are allowed next; None if all always are."""
        return legal_actions(self.observation)

    @property
    def done(self) -> jax.Array:
        """[N] bool, the episode ended for either reason."""
        return self.terminated | self.truncated


def draw_keys(num_steps: int, num_envs: int, key: jax.Array) -> jax.Array:
    """Draws one key per step: the `Environment.draw` of an environment that needs nothing else."""
    return jax.random.split(key, num_steps)


def unchanged(drawn: Any) -> Any:
    """Returns its argument: the `Environment.prepare` of an environment that computes nothing beforehand."""
    return drawn


class Pool(NamedTuple):
    """The functions of an environment that draws a pool of first states for each rollout.

    Attributes:
        refill: `refill(key, state) -> state`, called before each rollout: draws a new pool.
        repeated: `repeated(state) -> [] int32`, the episodes since then that began in a state of the pool
            which another episode had begun in: those for which the pool was too small.
    """

    refill: Callable[[jax.Array, Any], Any]
    repeated: Callable[[Any], jax.Array]


class Environment(NamedTuple):
    """N copies of an environment that reset themselves, as pure functions.

    Attributes:
        reset: `reset(num_envs, key) -> (state, observation [N, ...])`; `num_envs` is static.
        step: `step(drawn, state, action [N, ...]) -> (state, TimeStep)`, where `drawn` is one step of what
            `draw` returned.
        observation_space: The space of one observation, or of its `features`.
        action_space: The space of one action; actions of a Box arrive clipped to its bounds.
        privileged_space: The space of `privileged`; None if there is nothing that only the critic sees.
        draw: `draw(num_steps, num_envs, key) -> drawn [num_steps, ...]`, the random numbers of many steps,
            drawn at once before any state is known; both counts are static. By default one key per step.
            If a device has only some of the N copies, it takes their part of what has the axes [num_steps,
            N]; other keys are made to differ between devices.
        prepare: `prepare(drawn) -> drawn`, what can be computed from these numbers alone, of the copies of
            this device only; `step` takes one step of its result. By default it changes nothing.
        pool: The functions of its pool of first states; None if it has none.
        on_host: Whether it computes on the host: the functions then tell shapes only (see `envs.gymnasium`).
    """

    reset: Callable[[int, jax.Array], tuple[Any, Any]]
    step: Callable[[Any, Any, jax.Array], tuple[Any, TimeStep]]
    observation_space: Space
    action_space: Space
    privileged_space: Space | None = None
    draw: Callable[[int, int, jax.Array], Any] = draw_keys
    prepare: Callable[[Any], Any] = unchanged
    pool: Pool | None = None
    on_host: bool = False

    def draw_one(self, num_envs: int, key: jax.Array) -> Any:
        """Draws the random numbers of a single step of N copies, in the form that `step` takes."""
        return jax.tree.map(lambda x: x[0], self.draw_steps(1, num_envs, key))

    def draw_steps(self, num_steps: int, num_envs: int, key: jax.Array) -> Any:
        """Draws the random numbers of many steps of N copies, each in the form that `step` takes."""
        return self.prepare(self.draw(num_steps, num_envs, key))


def checked(environment: Any) -> Environment:
    """Returns an environment whose numbers are float32 and whose flags are bool, whatever it gave before.

    Raises:
        UsageError: If it is something else than an `Environment`; while `step` is traced, if a state differs
            from the one before it in more than its values.
    """
    if not isinstance(environment, Environment):
        kind = type(environment).__name__
        fix = (
            "ppo_jax.envs.environment.make_batched of it"
            if isinstance(environment, Dynamics)
            else ("for one of gymnax ppo_jax.envs.gymnax.wrap(env, params), or register it and give its name")
        )
        raise UsageError(f"environment is a {kind}, not an Environment; give {fix}")

    def reset(num_envs: int, key: jax.Array) -> tuple[Any, Any]:
        state, observation = environment.reset(num_envs, key)
        return state, in_float32(observation)

    def step(drawn: Any, state: Any, action: jax.Array) -> tuple[Any, TimeStep]:
        before = state
        state, time_step = environment.step(drawn, before, action)
        _check_same_kind(before, state)
        return state, time_step._replace(
            observation=in_float32(time_step.observation),
            final_observation=in_float32(time_step.final_observation),
            reward=jnp.asarray(time_step.reward, jnp.float32),
            terminated=jnp.asarray(time_step.terminated, bool),
            truncated=jnp.asarray(time_step.truncated, bool),
        )

    return environment._replace(reset=reset, step=step)


def _check_same_kind(before: Any, after: Any) -> None:
    """Makes sure that a state has the structure, the shapes and the dtypes of the state before it."""

    def kinds(state: Any) -> dict[str, str]:
        return {
            keystr(path): f"{jnp.result_type(leaf)}{list(jnp.shape(leaf))}"
            for path, leaf in tree_leaves_with_path(state)
        }

    given, became = kinds(before), kinds(after)
    different = [name for name in {**given, **became} if given.get(name) != became.get(name)]
    if different:
        name = different[0]
        raise UsageError(
            f"a step of the environment changes the kind of its state: state{name} is "
            f"{given.get(name, 'missing')} before and {became.get(name, 'missing')} after it; "
            "let reset and step return states of one structure, with the same shapes and dtypes"
        )


def in_float32(observation: Any) -> Any:
    """Returns an observation, an array or an `Observation`, with features of float32."""
    if not isinstance(observation, Observation):
        return jnp.asarray(observation, jnp.float32)
    privileged = observation.privileged
    return observation._replace(
        features=jnp.asarray(observation.features, jnp.float32),
        privileged=None if privileged is None else jnp.asarray(privileged, jnp.float32),
    )


class Drawn(NamedTuple):
    """The random numbers of one step of N copies; those of several steps have one more axis in front.

    Attributes:
        keys: The keys of the transitions, [N].
        state: The first states of new episodes, for the copies whose episode ends in this step, [N, ...].
        observation: The observations of these states, [N, ...].
    """

    keys: jax.Array
    state: Any
    observation: Any


def make_batched(dynamics: Dynamics) -> Environment:
    """Makes a batch of N copies that reset themselves from the dynamics of one copy.

    Args:
        dynamics: The functions and spaces of one copy.

    Returns:
        The batched environment. Each copy has its own key for each step and each reset.

    Raises:
        UsageError: If the size of the pool is not an int of at least 1.
    """
    if dynamics.reset_pool is not None:
        return _make_pooled(dynamics, dynamics.reset_pool)

    def reset(num_envs: int, key: jax.Array) -> tuple[Any, Any]:
        return jax.vmap(dynamics.reset)(jax.random.split(key, num_envs))

    def draw(num_steps: int, num_envs: int, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        step_key, reset_key = jax.random.split(key)
        shape = num_steps, num_envs
        return jax.random.split(step_key, shape), jax.random.split(reset_key, shape)

    def prepare(drawn: tuple[jax.Array, jax.Array]) -> Drawn:
        # A first state for every copy and step, although only those that end an episode use it: drawing
        # them all at once costs less than resetting inside the loop.
        keys, reset_keys = drawn  # [num_steps, N]
        first = jax.vmap(dynamics.reset)(jax.lax.collapse(reset_keys, 0, 2))  # [num_steps * N, ...]
        state, observation = jax.tree.map(lambda x: x.reshape(*keys.shape[:2], *x.shape[1:]), first)
        return Drawn(keys=keys, state=state, observation=observation)

    def step(drawn: Drawn, state: Any, action: jax.Array) -> tuple[Any, TimeStep]:
        state, transition = jax.vmap(dynamics.step)(drawn.keys, state, action)
        return _reset_the_done(state, transition, drawn.state, drawn.observation)

    return Environment(
        reset=reset,
        step=step,
        observation_space=dynamics.observation_space,
        action_space=dynamics.action_space,
        privileged_space=dynamics.privileged_space,
        draw=draw,
        prepare=prepare,
    )


def _reset_the_done(state: Any, transition: Transition, first: Any, observation: Any) -> tuple[Any, TimeStep]:
    """Puts the copies whose episode has ended into first states, [N, ...]; the other copies go on."""
    done = transition.terminated | transition.truncated
    time_step = TimeStep(
        observation=choose(done, observation, transition.observation),
        final_observation=transition.observation,
        reward=transition.reward,
        terminated=transition.terminated,
        truncated=transition.truncated,
        metrics=transition.metrics,
    )
    return choose(done, first, state), time_step


class Pooled(NamedTuple):
    """The state of N copies that share a pool of P first states.

    Attributes:
        copies: The states of the copies, [N, ...].
        state: The first states in the pool, [P, ...].
        observation: The observations of these states, [P, ...].
        used: The episodes that have begun from the pool, [] int32.
    """

    copies: Any
    state: Any
    observation: Any
    used: jax.Array


def _make_pooled(dynamics: Dynamics, size: int) -> Environment:
    """Makes a batch of copies that begin new episodes with the next states of a pool, in order."""
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise UsageError(f"reset_pool = {size!r} is not an int of at least 1; give one such as 256, or None")
    fresh = make_batched(dynamics._replace(reset_pool=None))

    def reset(num_envs: int, key: jax.Array) -> tuple[Pooled, Any]:
        reset_key, pool_key = jax.random.split(key)
        copies, observation = fresh.reset(num_envs, reset_key)
        return refill(pool_key, Pooled(copies, None, None, jnp.int32(0))), observation

    def refill(key: jax.Array, state: Pooled) -> Pooled:
        first, observation = fresh.reset(size, key)
        return Pooled(copies=state.copies, state=first, observation=observation, used=jnp.int32(0))

    def repeated(state: Pooled) -> jax.Array:
        return jnp.maximum(state.used - size, 0)

    def draw(num_steps: int, num_envs: int, key: jax.Array) -> jax.Array:
        return jax.random.split(key, (num_steps, num_envs))

    def step(keys: jax.Array, state: Pooled, action: jax.Array) -> tuple[Pooled, TimeStep]:
        copies, transition = jax.vmap(dynamics.step)(keys, state.copies, action)
        # The k-th copy whose episode ends takes the k-th of the states that are left.
        done = transition.terminated | transition.truncated
        rank, num_done = shards.rank(done[None])  # [1, N], from 1
        place = (state.used + rank[0] - 1) % size
        first, observation = jax.tree.map(lambda x: x[place], (state.state, state.observation))  # [N, ...]
        copies, time_step = _reset_the_done(copies, transition, first, observation)
        return state._replace(copies=copies, used=state.used + num_done), time_step

    pool = Pool(refill=refill, repeated=repeated)
    return fresh._replace(reset=reset, step=step, draw=draw, prepare=unchanged, pool=pool)


def choose(mask: jax.Array, if_true: Any, if_false: Any) -> Any:
    """Applies `jnp.where` along the first axis of all leaves, which may be of any rank, or typed keys.

    Args:
        mask: [N] bool.
        if_true: A tree of arrays [N, ...].
        if_false: A tree of the same structure.
    """

    def choose_leaf(yes: jax.Array, no: jax.Array) -> jax.Array:
        yes = jnp.asarray(yes)
        axes = (1,) * (yes.ndim - 1)
        return jnp.where(mask.reshape(mask.shape + axes), yes, no)

    return jax.tree.map(choose_leaf, if_true, if_false)
