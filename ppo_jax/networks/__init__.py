"""Policies and value functions: what the algorithm asks of any network, and the networks of this package."""
