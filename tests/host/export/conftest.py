import pytest

from ppo_jax import registered
from tests.host.export import cases


@pytest.fixture(scope="module")
def toy():
    """The environment of the cases, by its name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registered, "ENVIRONMENTS", {})
        cases.register()
        yield
