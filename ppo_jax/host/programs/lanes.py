"""Compiles one program for several members of a sweep, each in a lane of its own, over all devices.

A lane computes what the run of its member alone would compute. On an accelerator, all lanes of a device
compute side by side (`jax.vmap`). The cores of a CPU are devices of their own, and on each of them the lanes
take turns (`jax.lax.map`): that is as fast, needs less RAM, and a lane has the very bits of the run, while a
batch axis would let XLA order some sums differently.
"""

import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ppo_jax.algorithm.metrics import Metrics
from ppo_jax.algorithm.train import PPO, TrainState, advance, make_ppo
from ppo_jax.config import Config, Hyperparams
from ppo_jax.envs.make import parameters
from ppo_jax.errors import UsageError
from ppo_jax.host.programs import chunks, footprint, readiness
from ppo_jax.host.programs.chunks import Functions, Program
from ppo_jax.scale.sharding import MEMBERS, over_members

RECORDS = 65_536  # most rows of metrics of one chunk, over all lanes
SHARE = 0.8  # of the RAM that a device has, for the lanes
# Of a member's state: before and after a chunk and the next one, and while it is saved. As many as were
# measured (benchmarks/sweep_memory.py).
COPIES = 7


class Settings(NamedTuple):
    """The values that may differ between lanes.

    Attributes:
        hyper: The traced parts, [L] each; `target_kl` is None if none of them stops early.
        env_args: The parameters of the environment that are traced, [L] each.
    """

    hyper: Hyperparams
    env_args: dict[str, Any]


def settings_of(members: Sequence[tuple[Config, Hyperparams]], traced: Sequence[str]) -> Settings:
    """Returns the settings of lanes.

    Args:
        members: The two parts of each member, [L].
        traced: The parameters of the environment in which they may differ.
    """
    hypers = [hyper for _, hyper in members]
    columns = {
        name: None
        if hypers[0]._asdict()[name] is None
        else np.array([getattr(x, name) for x in hypers], np.float32)
        for name in Hyperparams._fields
    }
    defaults = {name: parameters(members[0][0].env)[name].default for name in traced}
    env_args = {
        name: np.array([dict(config.env_args).get(name, default) for config, _ in members], np.float32)
        for name, default in defaults.items()
    }
    return Settings(Hyperparams(**columns), env_args)  # pyright: ignore[reportArgumentType]


@cache
def mesh(num_lanes: int) -> Mesh:
    """Returns the devices of this process, along one axis: as many as divide the number of lanes."""
    devices = jax.local_devices()
    count = max(number for number in range(1, len(devices) + 1) if num_lanes % number == 0)
    return jax.make_mesh((count,), (MEMBERS,), axis_types=(AxisType.Auto,), devices=devices[:count])


def use_all_cores() -> None:
    """Makes each core of a CPU a device, unless JAX has started or the user has chosen a number."""
    is_chosen = jax.config.jax_num_cpu_devices != -1  # pyright: ignore[reportAttributeAccessIssue]
    if is_chosen or "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    cores_of_process = getattr(os, "sched_getaffinity", None)  # macOS has none
    num_cores = len(cores_of_process(0)) if cores_of_process else os.cpu_count() or 1
    readiness.divide_cpu(num_cores)


def num_lanes(config: Config, num_members: int, most: int | None) -> int:
    """Returns how many lanes to train at the same time: as many as fit, in blocks of nearly equal size.

    Args:
        config: The configuration that the members share.
        num_members: The number of members.
        most: The most lanes that the user allows, or None.

    Raises:
        UsageError: If not even one member for each device fits.
    """
    num_devices = len(jax.local_devices())
    of_lane, at_work = bytes_of_lane(config)
    # The cores of a CPU share its RAM.
    available = SHARE * footprint.available() * (1 if _takes_turns() else num_devices)
    if _takes_turns():
        fit = int((available - num_devices * at_work) / of_lane)
    else:
        fit = int(available / (of_lane + at_work))
    if fit < 1:
        need = (of_lane + num_devices * at_work) / 2**30
        raise UsageError(f"a member needs about {need:,.2f} GiB, which is not there; lower --num-envs")
    num_blocks = -(-num_members // min(fit, most or num_members, num_members))
    size = -(-num_members // num_blocks)
    return -(-size // num_devices) * num_devices  # as many on each device


def bytes_of_lane(config: Config) -> tuple[int, int]:
    """Estimates the RAM of a member.

    Returns:
        The bytes of all copies of its state, and of its metrics; and those that it needs in addition while an
        update is computed.

    Raises:
        UsageError: If one member does not fit.
    """
    template = _template_of_lane(config, settings_of([(config, Hyperparams())], ()))
    shares = footprint.estimate(config, template)
    footprint.check(shares)
    leaves = jax.tree.leaves(template)
    state = sum(x.size * x.dtype.itemsize for x in leaves)
    metrics = 2 * len(Metrics._fields) * footprint.SCALAR
    return COPIES * state + metrics, sum(share.size for share in shares)


def _takes_turns() -> bool:
    """Whether the lanes of a device take turns."""
    return jax.default_backend() == "cpu"


def _one_update(config: Config) -> Config:
    """Returns a configuration whose length is not that of the run, which a program does not depend on."""
    return dataclasses.replace(config, total_timesteps=config.batch_size)


def functions_of(config: Config) -> Functions:
    """Returns the functions of a program for one lane, which take its `Settings` as the traced part."""
    short = _one_update(config)

    def advance_lane(
        capacity: int, settings: Settings, state: TrainState, num_updates: jax.Array
    ) -> tuple[TrainState, Metrics]:
        return advance(_ppo_of(short, settings), capacity, settings.hyper, state, num_updates)

    return Functions(init=partial(_init_lane, short), advance=advance_lane, check=chunks.is_finite)


# Not compiled on its own: it is part of a program, and JAX remembers what it has traced.
@partial(jax.jit, static_argnums=0, inline=True)
def _init_lane(config: Config, settings: Settings, seed: jax.Array) -> TrainState:
    return _ppo_of(config, settings).init(settings.hyper, jax.random.key(seed))


def _ppo_of(config: Config, settings: Settings) -> PPO:
    return make_ppo(config, traced=settings.env_args)


def template_of(config: Config, settings: Settings) -> TrainState:
    """Returns shapes and dtypes of the states of lanes with these settings, [L, ...]."""
    num_lanes = len(settings.hyper.gamma)  # pyright: ignore[reportArgumentType]
    lane = _template_of_lane(config, settings)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((num_lanes, *x.shape), x.dtype), lane)


def _template_of_lane(config: Config, settings: Settings) -> TrainState:
    one = jax.tree.map(lambda x: jax.ShapeDtypeStruct((), x.dtype), settings)
    return _init_lane.eval_shape(_one_update(config), one, jax.ShapeDtypeStruct((), np.uint32))


def compile_lanes(config: Config, settings: Settings) -> Program:
    """Traces and compiles the program of several lanes. Its `init` takes the seeds of lanes in place of keys.

    Args:
        config: The configuration that the members share. Its `total_timesteps` does not enter the program.
        settings: Settings of lanes, of which only the shapes matter here; as many on each device.

    Raises:
        UsageError: If the environment cannot be made or does not fit the configuration.
    """
    start = time.perf_counter()
    num_lanes = len(settings.hyper.gamma)  # pyright: ignore[reportArgumentType]
    capacity = max(1, min(chunks.CAPACITY, RECORDS // num_lanes))
    one = functions_of(config)

    def advance_lanes(
        settings: Settings, state: TrainState, num_updates: jax.Array
    ) -> tuple[TrainState, Metrics]:
        return over_lanes(lambda *lane: one.advance(capacity, *lane, num_updates))(settings, state)

    lanes = Functions(
        init=over_devices(num_lanes, over_lanes(one.init), 2),
        advance=over_devices(num_lanes, advance_lanes, 2, PartitionSpec()),
        check=over_devices(num_lanes, over_lanes(one.check), 1),
    )
    seeds = np.zeros(num_lanes, np.uint32)
    placed = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=_placement(num_lanes)),
        (settings, seeds, template_of(config, settings)),
    )
    program = chunks.compile_functions(lanes, placed[0], placed[1], placed[2])
    return program._replace(seconds=time.perf_counter() - start, capacity=capacity)


def over_lanes(function: Callable[..., Any]) -> Callable[..., Any]:
    """Maps a function of one lane over the lanes of a device."""
    return over_members(function, _takes_turns())


def over_devices(
    num_lanes: int, function: Callable[..., Any], num_mapped: int, *shared: PartitionSpec
) -> Callable[..., Any]:
    """Divides the lanes among the devices, which do not communicate.

    Args:
        num_lanes: The number of lanes.
        function: A function of lanes.
        num_mapped: The number of its arguments that have an axis of lanes; those come first.
        shared: The placement of the other arguments.
    """
    along = PartitionSpec(MEMBERS)
    return jax.shard_map(
        function,
        mesh=mesh(num_lanes),
        in_specs=(along,) * num_mapped + shared,
        out_specs=along,
        check_vma=False,
    )


def _placement(num_lanes: int) -> NamedSharding:
    return NamedSharding(mesh(num_lanes), PartitionSpec(MEMBERS))


def place(state: TrainState) -> TrainState:
    """Puts the states of lanes onto their devices."""
    return jax.device_put(state, _placement(len(state.num_updates)))


@jax.jit
def clean(state: TrainState, sound: jax.Array) -> TrainState:
    """Replaces what is not finite by 0 in the lanes that have failed, so that the state can be saved.

    Args:
        state: The states of several lanes.
        sound: The lanes to leave alone, [L] bool.
    """

    def clean_one(x: jax.Array) -> jax.Array:
        if not jnp.issubdtype(x.dtype, jnp.inexact):
            return x
        keep = sound.reshape(-1, *[1] * (x.ndim - 1)) | jnp.isfinite(x)
        return jnp.where(keep, x, jnp.zeros_like(x))

    return jax.tree.map(clean_one, state)
