"""Do the tests notice a bug? `python -m tests.mutants` puts some in, one at a time, and looks."""
