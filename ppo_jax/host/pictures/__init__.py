"""Draws every picture of this package."""
