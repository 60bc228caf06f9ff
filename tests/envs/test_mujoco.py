import sys

import pytest

from ppo_jax.envs import mujoco
from ppo_jax.errors import UsageError


@pytest.mark.parametrize("contexts", [{sys.platform: ("no_such_module",)}, {}])
def test_without_opengl_the_refusal_names_the_environment_the_reason_and_the_fix(contexts, monkeypatch):
    monkeypatch.setattr(mujoco, "CONTEXTS", contexts)
    mujoco._context.cache_clear()
    with pytest.raises(UsageError) as caught:
        mujoco.make_painter("brax:ant", None, dict)
    tried = "ModuleNotFoundError: No module named 'no_such_module'" if contexts else sys.platform
    said = str(caught.value)
    assert said.startswith("env = 'brax:ant' cannot be drawn: MuJoCo's renderer needs OpenGL")
    assert tried in said
    assert "apt-get install libegl1" in said
