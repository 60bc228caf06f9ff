"""Compiled programs: a chunk of updates, an evaluation, one played episode."""
