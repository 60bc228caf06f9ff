"""Makes the network of a configuration: the user's own by its name, or else the one of this package."""

from ppo_jax import registered
from ppo_jax.config import Config
from ppo_jax.errors import UsageError, explained
from ppo_jax.networks import flax
from ppo_jax.networks.network import Network
from ppo_jax.spaces import Space


def make_network(
    config: Config, observation_space: Space, action_space: Space, privileged_space: Space | None = None
) -> Network:
    """Makes the network that a configuration names or describes, to fit the spaces of an environment.

    Args:
        config: The configuration.
        observation_space: The space of one observation, or of its `features`.
        action_space: The space of one action.
        privileged_space: The space of what only the critic sees; None if there is nothing.

    Raises:
        UsageError: If the name is unknown, if its function returns no `Network`, or if a space does not fit.
    """
    name = config.network
    if name is None:
        return flax.make_network(config, observation_space, action_space, privileged_space)

    if problems := registered.network_problems(name):
        raise UsageError(problems)
    with explained(f"network = {name!r}"):
        network = registered.NETWORKS[name](config, observation_space, action_space, privileged_space)
    if not isinstance(network, Network):
        raise UsageError(
            f"network = {name!r} returned a {type(network).__name__}; return a Network, which "
            "separate, shared and memoryless in ppo_jax.networks.network make"
        )
    return network
