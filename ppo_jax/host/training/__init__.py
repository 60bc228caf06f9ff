"""The life of a run, from its request to its summary."""
