"""Checkpoints: either verified to the last byte, or not loaded at all."""
