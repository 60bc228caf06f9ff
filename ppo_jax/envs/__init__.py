"""Environments: the contract that training relies on, and the adapters to libraries of environments."""
