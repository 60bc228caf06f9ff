"""Measuring speed: whole training, its parts, and the limits of the device."""
