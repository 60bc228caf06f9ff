"""One run, or many, over several devices: environments or members are divided along the axes of a mesh."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ppo_jax import shards
from ppo_jax.algorithm.train import PPO, Metrics, TrainState
from ppo_jax.config import Hyperparams
from ppo_jax.envs.environment import Pooled
from ppo_jax.errors import UsageError, check_kind

ENVIRONMENTS = shards.AXIS
MEMBERS = "members"


def shard(ppo: PPO, mesh: Mesh) -> PPO:
    """Divides the environments of a run, or the members of a population, among devices.

    Along the axis "environments" of the mesh, each device has a part of the environments of every run. All
    devices draw the same random numbers and take those of their own environments, so they do together what
    one device would do; only sums are rounded differently. For each gradient step they exchange one vector:
    the gradient, with the parts of the loss. Everything else that they exchange is small: the moments of the
    advantages of a minibatch, of observations and rewards if these are normalized, and which episodes ended.
    The environments of a `Config.shuffle_groups` are never on two devices, so no sample has to move.

    Along the axis "members", each device trains some of the members, which share nothing. There, `init` takes
    keys [L], and hyperparameters that are numbers or arrays [L]; states and metrics have an axis [L] as well.
    On a CPU the members of a device take turns, which is as fast and gives each the bits of its own run.

    Arrays of the environment's state belong to the environments if their first axis is that of the N copies.

    Args:
        ppo: The algorithm, from `make_ppo`, for all environments.
        mesh: Devices along the axis "environments", "members", or both.

    Returns:
        The functions to jit and to hand to `advance`. The state that `init` returns is spread over the mesh.

    Raises:
        UsageError: If the mesh has other axes; in `init` and `step` if the number of environments, of shuffle
            groups or of members cannot be divided.
    """
    check_kind("mesh", mesh, Mesh, 'jax.make_mesh((jax.device_count(),), ("environments",))')
    if unknown := set(mesh.axis_names) - {ENVIRONMENTS, MEMBERS}:
        raise UsageError(
            f"mesh has the axis {sorted(map(str, unknown))[0]!r}; name its axes 'environments' or 'members'"
        )
    mesh = Mesh(mesh.devices, mesh.axis_names)  # with axes of type Auto, whatever they were
    has_members = MEMBERS in mesh.axis_names
    takes_turns = mesh.devices.flat[0].platform == "cpu"
    of_members = PartitionSpec(MEMBERS) if has_members else PartitionSpec()

    def on_devices(function: Callable[..., Any], in_specs: Any, out_specs: Any) -> Callable[..., Any]:
        each = over_members(function, takes_turns) if has_members else function
        return jax.shard_map(each, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)

    def init(hyper: Hyperparams, key: jax.Array) -> TrainState:
        hyper = _spread(hyper, key.shape[0]) if has_members else hyper
        if has_members:
            _check_divides("members", key.shape[0], mesh.shape[MEMBERS])
        # Every device computes the first states of all environments, and keeps its own.
        whole = on_devices(ppo.init, of_members, of_members)(hyper, key)
        return jax.lax.with_sharding_constraint(whole, placements(whole, mesh))

    def step(hyper: Hyperparams, state: TrainState) -> tuple[TrainState, Metrics]:
        hyper = _spread(hyper, state.key.shape[0]) if has_members else hyper
        specs = _specs(state, mesh)
        return on_devices(ppo.step, (of_members, specs), (specs, of_members))(hyper, state)

    return ppo._replace(init=init, step=step)


def on_all_shards(test: Callable[[TrainState], jax.Array], mesh: Mesh) -> Callable[[TrainState], jax.Array]:
    """Returns a test of a spread state that holds if it holds for the part of every device.

    Args:
        test: A function of a state that returns [] bool.
        mesh: Devices along the axis "environments".
    """

    def part_holds(state: TrainState) -> jax.Array:
        return shards.total(jnp.asarray(~test(state), jnp.int32)) == 0

    def holds(state: TrainState) -> jax.Array:
        return jax.shard_map(
            part_holds, mesh=mesh, in_specs=(_specs(state, mesh),), out_specs=PartitionSpec(), check_vma=False
        )(state)

    return holds


def over_members(function: Callable[..., Any], takes_turns: bool) -> Callable[..., Any]:
    """Maps a function of one member over the members of a device.

    Args:
        function: A function of arrays.
        takes_turns: Whether one member is computed after the other, with the bits of a run alone, rather than
            all side by side.
    """
    if takes_turns:
        return lambda *members: jax.lax.map(lambda member: function(*member), members)
    return jax.vmap(function)


def placements(state: TrainState, mesh: Mesh) -> TrainState:
    """Returns where `shard` keeps a state: a sharding for each array.

    Args:
        state: The state, or its shapes and dtypes.
        mesh: The devices.
    """
    return jax.tree.map(lambda spec: NamedSharding(mesh, spec), _specs(state, mesh))


def _specs(state: TrainState, mesh: Mesh) -> Any:
    """Returns the specification of each array of a state: divided, or the same on all devices.

    Raises:
        UsageError: If something cannot be divided.
    """
    lead = (MEMBERS,) if MEMBERS in mesh.axis_names else ()
    divided = ENVIRONMENTS in mesh.axis_names
    num_envs = state.collector.start.shape[-1]
    _check_divides("num_envs", num_envs, mesh.shape.get(ENVIRONMENTS, 1))
    shared = PartitionSpec(*lead)
    own = PartitionSpec(*lead, ENVIRONMENTS) if divided else shared

    def of_copies(tree: Any) -> Any:
        return jax.tree.map(
            lambda x: own if x.shape[len(lead) : len(lead) + 1] == (num_envs,) else shared, tree
        )

    collector, environment = state.collector, state.collector.environment
    specs = jax.tree.map(lambda _: shared, state)
    if isinstance(environment, Pooled):
        of_environment = specs.collector.environment._replace(copies=of_copies(environment.copies))
    else:
        of_environment = of_copies(environment)
    scaler = specs.collector.reward_scaler
    return specs._replace(
        collector=specs.collector._replace(
            environment=of_environment,
            observation=of_copies(collector.observation),
            start=own,
            memory=of_copies(collector.memory),
            episodes=specs.collector.episodes._replace(
                running_return=own,
                running_length=own,
                running_metrics=of_copies(collector.episodes.running_metrics),
            ),
            reward_scaler=None if scaler is None else scaler._replace(discounted=own),
        )
    )


def _check_divides(name: str, number: int, wanted: int) -> None:
    if number % wanted == 0:
        return
    nearest = max(count for count in range(1, wanted) if number % count == 0)
    raise UsageError(
        f"{name} = {number} cannot be divided among {wanted} devices; give {nearest} devices, or "
        f"{name} = {-(-number // wanted) * wanted}"
    )


def _spread(hyper: Hyperparams, num_members: int) -> Hyperparams:
    """Gives every hyperparameter an axis of members, [L]."""
    return jax.tree.map(lambda x: jnp.broadcast_to(jnp.asarray(x, jnp.float32), (num_members,)), hyper)
