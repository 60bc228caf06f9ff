"""The state of a run that is spread over devices: how it gets there from the host, and back."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ppo_jax.algorithm.leaves import is_key
from ppo_jax.algorithm.train import TrainState
from ppo_jax.scale.sharding import placements


class Spread(NamedTuple):
    """Functions for a state that is spread over devices, also those of other processes.

    Attributes:
        template: Shapes, dtypes and places of the state.
        blank: Zeros in the form of what `numbers_of` returns.
        place: `place(numbers) -> state`, puts what `numbers_of` returned onto the devices.
        collect: `collect(state) -> state`, gives every device the whole arrays.
    """

    template: TrainState
    blank: Callable[[], Any]
    place: Callable[[Any], TrainState]
    collect: Callable[[TrainState], TrainState]


def spread_over(mesh: Mesh, template: TrainState) -> Spread:
    """Returns the functions for the devices of a mesh.

    Args:
        mesh: The devices.
        template: Shapes and dtypes of the state.
    """
    places = placements(template, mesh)

    def with_keys(numbers: Any) -> TrainState:
        return jax.tree.map(
            lambda x, like: jax.random.wrap_key_data(x) if is_key(like) else x, numbers, template
        )

    def blank() -> Any:
        numbers = jax.eval_shape(_without_keys, template)
        return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), numbers)

    return Spread(
        template=jax.tree.map(
            lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), template, places
        ),
        blank=blank,
        place=jax.jit(with_keys, out_shardings=places),
        collect=jax.jit(lambda state: state, out_shardings=NamedSharding(mesh, PartitionSpec())),
    )


def numbers_of(state: TrainState) -> Any:
    """Copies a state to the host, its keys as the numbers they consist of."""
    return jax.tree.map(np.asarray, _without_keys(state))


def _without_keys(state: TrainState) -> Any:
    return jax.tree.map(lambda x: jax.random.key_data(x) if is_key(x) else x, state)
