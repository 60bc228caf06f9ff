"""Environments: the contract the trainer relies on, and the libraries behind it."""
