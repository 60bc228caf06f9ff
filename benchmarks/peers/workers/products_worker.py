"""Computes the matrix products of training alone, at the same shapes: the most that training could reach.

This is the part "matrix products" of `ppo-jax benchmark`. Its environment steps are those that training would
do with as many products.
"""

import jax
import jax.numpy as jnp
import ours
from protocol import Job, Ready, serve

from ppo_jax.host.benchmark import parts, roofline


def prepare(job: Job) -> Ready:
    """Compiles the products of one agent, or of several at once."""
    config = ours.make_config(job, job.num_envs * job.num_steps)
    towers = roofline.kernels(config)
    assert towers is not None
    part = roofline.products_part(config, towers)
    if job.agents > 1:
        carry = jax.tree.map(lambda x: jnp.broadcast_to(x, (job.agents, *x.shape)), part.carry)
        body = jax.vmap(part.body, in_axes=(None, 0))
        part = part._replace(body=body, carry=carry, steps=job.batch_size)
    loop = parts.prepare(part, job.seconds)

    def multiply() -> tuple[int, float]:
        return loop.turns * loop.steps, parts.clock(loop.program, loop.turns, loop.carry)

    return Ready(train=multiply, compile_seconds=loop.compile_seconds, version=ours.VERSION)


if __name__ == "__main__":
    serve(prepare)
