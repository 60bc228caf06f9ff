"""`python -m tests.mutants [NAME ...]`: puts deliberate bugs in, exits 1 if the tests miss one."""

import sys
from functools import partial

from tests.mutants.runner import main

sys.exit(main(sys.argv[1:], partial(print, flush=True)))
