"""The devices that a run is spread over."""

import dataclasses

import jax

from ppo_jax.config import Config
from ppo_jax.envs import registry
from ppo_jax.errors import UsageError
from ppo_jax.validation import division_problems


def choose(config: Config, wanted: int | None, is_begun: bool) -> tuple[Config, int]:
    """Chooses the number of devices of a run.

    A new run uses all devices, and its shuffle groups become as many unless they were chosen. A run that is
    continued keeps its groups, and uses as many devices as divide them.

    Args:
        config: The static part of the run.
        wanted: The number that the user wants; None for all, but only one of a CPU.
        is_begun: Whether the run has been saved before.

    Returns:
        The configuration with its shuffle groups, and the number of devices.

    Raises:
        UsageError: If there are too few devices, or the environments cannot be divided among them.
    """
    found = jax.device_count()
    if registry.is_on_host(config.env):
        if wanted not in (None, 1) or jax.process_count() > 1:
            raise UsageError(
                f"env = {config.env!r} computes on the host, for one device of one process; leave out "
                "--devices and --distributed"
            )
        return config, 1
    if wanted is not None and wanted > found:
        raise UsageError(f"devices = {wanted}, but JAX finds {found}; give at most {found}")
    if jax.process_count() > 1 and wanted not in (None, found):
        raise UsageError(
            f"devices = {wanted}, but the processes of the run have {found}; leave out --devices"
        )
    # The cores of a CPU already share the work of one device.
    usual = 1 if jax.default_backend() == "cpu" and jax.process_count() == 1 else found
    number = wanted or usual
    if not is_begun and config.shuffle_groups == 1:
        if number > 1 and not _fits(config, number):
            raise UsageError(_misfit(config, number))
        return dataclasses.replace(config, shuffle_groups=number), number
    groups = config.shuffle_groups
    if wanted is not None and groups % wanted:
        nearest = max(count for count in range(1, wanted + 1) if groups % count == 0)
        raise UsageError(
            f"devices = {wanted} does not divide the {groups} shuffle groups of the run; "
            f"give --devices {nearest}"
        )
    number = max(count for count in range(1, number + 1) if groups % count == 0)
    if jax.process_count() > 1 and number < found:
        raise UsageError(
            f"the {groups} shuffle groups of the run cannot be divided among the {found} devices of its "
            f"{jax.process_count()} processes; go on with {number} devices"
        )
    return config, number


def _fits(config: Config, number: int) -> bool:
    spread = dataclasses.replace(config, shuffle_groups=number)
    return not division_problems(spread, remembers=config.memory_size > 0)


def _misfit(config: Config, number: int) -> str:
    nearest = max(count for count in range(1, number) if _fits(config, count))
    least = number * (config.num_minibatches if config.memory_size else 1)
    return (
        f"num_envs = {config.num_envs} in {config.num_minibatches} minibatches cannot be divided among "
        f"{number} devices; give --devices {nearest}, or a multiple of {least} as --num-envs"
    )


def describe(config: Config, num_devices: int) -> str:
    """Describes in a line what a run is spread over."""
    num_processes = jax.process_count()
    of_processes = f" of {num_processes} processes" if num_processes > 1 else ""
    kind = jax.devices()[0].device_kind
    return (
        f"on {num_devices} devices{of_processes} ({kind}), {config.num_envs // num_devices} environments each"
    )
