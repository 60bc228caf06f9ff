"""Checks of the arguments of public functions, before anything is computed from them."""

import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.tree_util import keystr

from ppo_jax.algorithm.normalization import init_observation_statistics
from ppo_jax.config import Config, Hyperparams
from ppo_jax.envs.environment import Environment
from ppo_jax.errors import UsageError, check_kind
from ppo_jax.networks.network import Network


def check_key(key: Any) -> None:
    """Makes sure that something is one key, typed or of the older kind.

    Raises:
        UsageError: If it is not.
    """
    dtype, shape = getattr(key, "dtype", None), getattr(key, "shape", None)
    is_typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    is_legacy = dtype == jnp.uint32 and shape in ((2,), (4,))
    if not (is_typed and shape == ()) and not is_legacy:
        what = f"an array of {dtype}{list(shape)}" if dtype is not None and shape is not None else f"{key!r}"
        raise UsageError(
            f"key is {what}, not one key; give one of jax.random.key, and map over several with jax.vmap"
        )


def check_hyper(hyper: Any) -> None:
    """Makes sure that hyperparameters are those of one run.

    Raises:
        UsageError: If they are something else, or if a field is an array that is not mapped over.
    """
    check_kind("hyper", hyper, Hyperparams, "ppo_jax.Hyperparams(...)")
    ranks = {name: getattr(value, "ndim", 0) for name, value in hyper._asdict().items()}
    arrays = [f"{name} of rank {rank}" for name, rank in ranks.items() if rank]
    if arrays:
        raise UsageError(
            f"hyper has {', '.join(arrays)}, but a run has one number for each; map over arrays with "
            "jax.vmap, or give them to ppo_jax.sweep"
        )


def check_compilable(environment: Environment) -> None:
    """Makes sure that an environment can be a part of a compiled program.

    Raises:
        UsageError: If it computes on the host.
    """
    if environment.on_host:
        raise UsageError(
            "the environment computes on the host and cannot be a part of a compiled program, so it is not "
            "for train, sweep, evaluate or jax.vmap; train on it with ppo_jax.run or `ppo-jax train`"
        )


def check_agent(
    config: Config, environment: Environment, network: Network, params: Any, statistics: Any
) -> None:
    """Makes sure that parameters and statistics are those of a network and an environment.

    Raises:
        UsageError: If they have another structure, or other shapes.
    """
    if config.normalize_observations and statistics is None:
        raise UsageError(
            "normalize_observations = True needs the statistics of the train state; "
            "give statistics=state.collector.statistics"
        )
    expected = jax.eval_shape(network.init, jax.random.key(0))
    _check_like("params", params, expected, "state.learner.params of a run with this network and environment")
    if statistics is None:
        return
    if not config.normalize_observations:
        raise UsageError(
            "statistics are given, but normalize_observations = False: the policy was trained without; "
            "leave them out"
        )

    def observe() -> Any:
        return environment.reset(1, jax.random.key(0))[1]

    like = jax.eval_shape(lambda: init_observation_statistics(observe()))
    _check_like("statistics", statistics, like, "state.collector.statistics of a run with this environment")


def check_number(name: str, value: Any, least: float, most: float) -> None:
    """Makes sure that a number is within a range, unless it is being traced or an array.

    Raises:
        UsageError: If it is no number, or outside.
    """
    if isinstance(value, Tracer) or getattr(value, "ndim", 0):
        return
    try:
        is_within = least <= float(value) <= most
    except (TypeError, ValueError):
        is_within = False
    if not is_within or isinstance(value, str):
        raise UsageError(
            f"{name} = {value!r} is not a number between {least:g} and {most:g}; give one that is"
        )


def check_count(name: str, value: Any) -> int:
    """Returns a number of at least 1 as an int of Python.

    Raises:
        UsageError: If it is not a whole number, or less.
    """
    try:
        count = 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        count = 0
    if count < 1:
        raise UsageError(f"{name} = {value!r} is not an int of at least 1; give one such as 100")
    return count


def check_shapes(least_rank: int, **arrays: Any) -> None:
    """Makes sure that arrays have one shape.

    Raises:
        UsageError: If the shapes differ, or the rank is lower than it may be.
    """
    shapes = {name: list(jnp.shape(x)) for name, x in arrays.items()}
    (first, shape), *others = shapes.items()
    if len(shape) < least_rank:
        raise UsageError(f"{first} has the shape {shape}, without an axis of time; give [T, ...]")
    for name, other in others:
        if other != shape:
            raise UsageError(f"{name} has the shape {other}, but {first} has {shape}; give the same")


def check_leading_axes(like: jax.Array, **arrays: Any) -> None:
    """Makes sure that arrays have the shape of another one, apart from further axes at the end.

    Raises:
        UsageError: If one has not.
    """
    for name, x in arrays.items():
        if jnp.shape(x)[: like.ndim] != like.shape:
            told = f"{name} has the shape {list(jnp.shape(x))}, but it should begin with {list(like.shape)}"
            raise UsageError(f"{told}; give one action for each sample")


def check_arrays(**arrays: Any) -> None:
    """Makes sure that arguments are arrays of numbers whose shapes agree.

    One may have further axes in front. A row [M] beside a column [M, 1] would become a table, without a word.

    Raises:
        UsageError: If they are not.
    """
    for name, x in arrays.items():
        dtype = x.dtype if isinstance(x, jax.Array | np.ndarray | np.generic) else type(x)
        kinds = (jnp.floating, jnp.integer)
        if dtype not in (int, float) and not any(jnp.issubdtype(dtype, kind) for kind in kinds):
            raise UsageError(f"{name} is a {type(x).__name__}, not an array of numbers; give one")
    shapes = {name: list(jnp.shape(x)) for name, x in arrays.items()}
    told = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    try:
        together = list(np.broadcast_shapes(*map(tuple, shapes.values())))
    except ValueError as error:
        raise UsageError(f"the shapes do not agree: {told}; give arrays of one shape") from error
    if len({len(shape) for shape in shapes.values()}) > 1 and together not in shapes.values():
        raise UsageError(f"the shapes do not agree: {told}; give arrays of one rank")


def as_flags(**flags: Any) -> list[jax.Array]:
    """Returns arrays of flags as bool, in their order.

    Raises:
        UsageError: If one is no array, of bools or of numbers.
    """
    for name, x in flags.items():
        dtype = x.dtype if isinstance(x, jax.Array | np.ndarray | np.generic) else object
        if not any(jnp.issubdtype(dtype, kind) for kind in (jnp.bool_, jnp.floating, jnp.integer)):
            raise UsageError(f"{name} is a {type(x).__name__}, not an array of bools; give one")
    return [jnp.asarray(x, bool) for x in flags.values()]


def _check_like(name: str, given: Any, expected: Any, fix: str) -> None:
    """Makes sure that a tree has the structure and the shapes of another."""

    def shapes_of(tree: Any) -> dict[str, list[int]]:
        return {keystr(path): list(jnp.shape(leaf)) for path, leaf in jax.tree.leaves_with_path(tree)}

    try:
        found = shapes_of(given)
    except TypeError:  # it holds something else than arrays
        found = {}
    wanted = shapes_of(expected)
    different = [path for path in {**wanted, **found} if found.get(path) != wanted.get(path)]
    if different:
        path = different[0]
        was, should = (shapes.get(path, "missing") for shapes in (found, wanted))
        raise UsageError(f"{name} do not fit: {name}{path} is {was} and should be {should}; give {fix}")
