"""What the page on exports says of the runtime is true."""

import re
from pathlib import Path

from ppo_jax.host.export import standalone


def test_the_runtime_is_as_short_as_the_page_says():
    source = Path(standalone.__file__).read_text()
    without_words = re.sub(r'"""(.*?)"""|^ *#.*?$', "", source, flags=re.DOTALL | re.MULTILINE)
    assert sum(bool(line.strip()) for line in without_words.splitlines()) < 80
