"""Proximal Policy Optimization as pure functions, to be read beside the paper."""
