"""What the page on sweeps names exists; `test_blocks.py` runs its programs."""

import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "sweeps.md").read_text()


def test_every_public_name_of_the_page_exists():
    import ppo_jax

    for name in set(re.findall(r"ppo_jax\.([A-Za-z_]+)", PAGE)):
        assert hasattr(ppo_jax, name)
