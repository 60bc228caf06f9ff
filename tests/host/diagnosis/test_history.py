import numpy as np

from ppo_jax.host.diagnosis.verdicts import BAD, HEALTHY
from tests.host.diagnosis.planted import U, read_planted


def test_the_size_of_the_steps_is_judged_before_the_schedule_has_made_them_small():
    rate = np.linspace(1, 0, U)
    columns = {"learning_rate": rate, "approx_kl": np.where(rate >= 0.5, 0.5, 1e-4)}
    reading = read_planted(columns, {})["approx_kl"]
    assert reading.verdict == BAD
    assert reading.value == "0.5 nats over the last 30 updates before the learning rate had halved"
    adaptive = read_planted(columns, {"learning_rate_schedule": "adaptive_kl"})
    assert adaptive["approx_kl"].verdict == HEALTHY
