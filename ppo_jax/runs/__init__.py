"""The host ring: everything that touches the clock, the disk, the screen or `jax.jit`."""
