"""Reads the metrics of a run: what they mean, and whether they are healthy."""
