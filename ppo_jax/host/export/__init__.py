"""Trained policies as files for other programs: formats, a contract, a check, and a way to load them."""
