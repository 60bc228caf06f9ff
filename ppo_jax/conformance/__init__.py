"""Does an environment keep to the contract? A check on the host, for authors and their tests.

Spaces are checked first, then shapes, for which nothing has to run, then behaviour: a few copies are played
with random legal actions, in one compiled program.
"""

from ppo_jax.conformance.behaviour import behaviour_problems
from ppo_jax.conformance.shapes import shape_problems
from ppo_jax.conformance.spaces import space_problems
from ppo_jax.envs.environment import Environment, checked
from ppo_jax.errors import UsageError

SHAPE_BATCHES = (1, 3)  # numbers of copies for which shapes are checked


def check(environment: Environment) -> None:
    """Checks that an environment keeps to the contract of `envs.environment`.

    Spaces and shapes come first; only if they are right is the environment played. A behaviour that
    256 steps of random actions do not bring about is not seen, such as the end of a longer episode.

    Args:
        environment: The environment; for a `Dynamics`, what `make_batched` makes of it.

    Raises:
        UsageError: With every rule that is broken.
    """
    checked(environment)  # it has to be an Environment at all
    stages = [
        space_problems(environment),
        *(shape_problems(environment, num_envs) for num_envs in SHAPE_BATCHES),
        behaviour_problems(environment),
    ]
    for stage in stages:  # generators: a stage begins only if the ones before it have found nothing
        if problems := list(stage):
            raise UsageError(problems)
