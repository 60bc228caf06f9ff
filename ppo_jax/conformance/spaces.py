"""Are the spaces of an environment such that something fits them, and that a network can be made for them?"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ppo_jax.envs.environment import Environment
from ppo_jax.spaces import Box, Discrete, MultiDiscrete


def space_problems(environment: Environment) -> Iterator[str]:
    """Finds what is wrong with the spaces of an environment.

    Args:
        environment: The environment, of which nothing has been checked.

    Yields:
        The problems, each in a sentence that names the space.
    """
    for name in ("observation_space", "privileged_space"):
        space = getattr(environment, name)
        if isinstance(space, Box):
            yield from _box_problems(name, space)
        elif space is not None or name == "observation_space":
            yield f"{name} = {space} is not a Box; give what the network sees, an array of floats, as a Box"

    space = environment.action_space
    if isinstance(space, Box):
        yield from _box_problems("action_space", space)
        if len(space.shape) != 1:
            yield f"action_space = {space} is not of rank 1; flatten it, and reshape actions in `step`"
    elif isinstance(space, Discrete | MultiDiscrete):
        nums = space.nums if isinstance(space, MultiDiscrete) else (space.n,)
        if not (_are_counts(nums) and nums):
            yield f"action_space = {space} does not hold ints of at least 1"
    else:
        yield f"action_space = {space} is not a Discrete, a MultiDiscrete or a Box"


def _box_problems(name: str, space: Box) -> Iterator[str]:
    if not _are_counts(space.shape):
        yield f"the shape of {name} = {space} is not a tuple of ints of at least 1"
        return
    size = math.prod(space.shape)
    low, high = (np.asarray(bound, float).ravel() for bound in (space.low, space.high))
    if {low.size, high.size} - {1, size}:
        yield f"{name} = {space} has {low.size} and {high.size} bounds; give one, or one for each of {size}"
    elif not np.all(low < high):
        yield f"{name} = {space} has a lower bound that is not below the upper one"


def _are_counts(numbers: Any) -> bool:
    return isinstance(numbers, tuple) and all(isinstance(n, int) and n >= 1 for n in numbers)
