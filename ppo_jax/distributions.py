"""Probability distributions over actions: sample, log_prob, entropy, mode, kl."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Categorical(NamedTuple):
    """A distribution over A actions, for each element of a batch.

    Attributes:
        logits: [..., A] float32, unnormalized log-probabilities.
    """

    logits: jax.Array

    @property
    def log_probs(self) -> jax.Array:
        """[..., A], normalized log-probabilities."""
        return jax.nn.log_softmax(self.logits)

    def sample(self, key: jax.Array) -> jax.Array:
        """Draws one action each, [...] int32."""
        return jax.random.categorical(key, self.logits)

    def log_prob(self, action: jax.Array) -> jax.Array:
        """Returns log pi(action), [...], of actions [...] int32."""
        return jnp.take_along_axis(self.log_probs, action[..., None], axis=-1)[..., 0]

    def entropy(self) -> jax.Array:
        """Returns -sum pi log pi in nats, [...], between 0 and log A."""
        return -jnp.sum(jnp.exp(self.log_probs) * self.log_probs, axis=-1)

    def mode(self) -> jax.Array:
        """Returns the most probable action, [...] int32; the first of several."""
        return jnp.argmax(self.logits, axis=-1).astype(jnp.int32)

    def kl(self, other: "Categorical") -> jax.Array:
        """Returns KL(self || other) in nats, [...]."""
        difference = self.log_probs - other.log_probs
        return jnp.sum(jnp.exp(self.log_probs) * difference, axis=-1)
