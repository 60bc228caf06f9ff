"""Checkpoints: whole, verified to the byte, or not loaded at all."""
