"""The benchmark measures what it says, counts FLOP as on paper, and leaves files that can be read."""

import dataclasses
import itertools
import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax import cli
from ppo_jax.config import Config
from ppo_jax.errors import UsageError
from ppo_jax.host.benchmark import parts, roofline
from ppo_jax.host.benchmark.options import Options, check, make_config

TINY = "--shapes 2x8 4x8 --agents 1 2 --repeats 2 --seconds 0.001 --num-minibatches 2"
CONFIG = Config(num_envs=4, num_steps=8, total_timesteps=32, num_minibatches=2)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The JSON that a small benchmark writes, and the folder it lies in."""
    folder = tmp_path_factory.mktemp("benchmark") / "new"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "GEMM_SIZES", (64,))
        patch.setattr(limits, "MEMORY_BYTES", 2**16)
        with pytest.raises(SystemExit, match="0"):
            cli.main(["benchmark", *TINY.split(), "--output", str(folder / "result.json")])
    return json.loads((folder / "result.json").read_text()), folder


def test_every_part_is_measured_at_every_shape_and_training_for_all_agents(written):
    rows = [(row["shape"], row["agents"], row["part"]) for row in written[0]["measurements"]]
    single = ["training", "rollout", "environment", "update", "matrix products"]
    expected = [
        (shape, agents, part)
        for shape, agents in itertools.product(("2x8", "4x8"), (1, 2))
        for part in (single if agents == 1 else ["training"])
    ]
    assert rows == expected


def test_a_measurement_reports_its_spread_memory_and_compile_time(written):
    for row in written[0]["measurements"]:
        assert len(row["rates"]) == 2
        assert 0 < row["slowest"] == min(row["rates"]) <= row["steps_per_second"] <= row["fastest"]
        assert row["memory_bytes"] > 1_000
        assert row["compile_seconds"] > 0


def test_the_file_names_what_was_measured_on_what(written):
    content, _ = written
    assert {"options", "limits", "measurements", "versions", "hardware"} == set(content)
    assert content["options"]["shapes"] == ["2x8", "4x8"]
    assert content["versions"]["jax"] == jax.__version__
    assert min(content["limits"].values()) > 0


def test_a_picture_stands_beside_the_file(written):
    picture = written[1] / "result.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 20_000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shapes": ("4by8",)}, "shapes = '4by8' is not environments x steps"),
        ({"shapes": ("0x8",)}, "shapes = '0x8' is not"),
        ({"agents": (1, 0)}, "agents = 0 is not positive"),
        ({"agents": ()}, "agents = 0 is not positive"),
        ({"repeats": 0}, "repeats = 0 is not positive"),
        ({"seconds": -1.0}, "seconds = -1.0 is not positive"),
        ({"seconds": float("nan")}, "seconds = nan is not positive"),
        ({"env": "CartPole"}, "CartPole-v1"),
        ({"shapes": ("5x7",)}, "not divisible by num_minibatches = 4"),
    ],
)
def test_a_mistake_is_named(changes, message):
    with pytest.raises(UsageError, match=message):
        check(dataclasses.replace(Options(), **changes))


def test_all_mistakes_are_named_at_once_and_shared_ones_only_once():
    options = Options(shapes=("4by8", "2x8", "4x8"), repeats=0, env="CartPole")
    with pytest.raises(UsageError) as caught:
        check(options)
    assert len(caught.value.problems) == 3


def test_a_picture_cannot_take_the_place_of_the_numbers(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["benchmark", "--output", str(tmp_path / "result.png")])
    assert "does not end in .json" in capsys.readouterr().err


def test_a_mistake_is_answered_without_importing_jax():
    code = (
        "import sys; from ppo_jax.cli import main\ntry: main(['benchmark', '--repeats', '0'])\n"
        "except SystemExit as stop: assert stop.code == 2 and 'jax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_flops_of_the_default_network_are_those_counted_by_hand():
    """Forward 2 (4 64 + 64 64 + 64 2) and 2 (4 64 + 64 64 + 64); backward twice, less the observations."""
    config = make_config(Options(), "4x128")
    towers = roofline.kernels(config)
    assert towers is not None
    forward = 2 * (4 * 64 + 64 * 64 + 64 * 2) + 2 * (4 * 64 + 64 * 64 + 64)
    gradient = 3 * forward - 2 * 2 * 4 * 64
    assert roofline.count_flops(config, towers) == (forward + 4 * gradient, gradient)


@pytest.mark.parametrize(
    "changes", [{"memory_size": 4}, {"shared_torso": True}, {"env": "Breakout-MinAtar", "encoder": "cnn"}]
)
def test_flops_of_networks_that_do_more_than_multiply_in_a_row_are_not_counted(changes):
    assert roofline.kernels(dataclasses.replace(CONFIG, **changes)) is None


def test_the_matrix_products_are_those_of_a_gradient():
    towers = roofline.kernels(CONFIG)
    assert towers is not None
    part = roofline.products_part(CONFIG, towers)
    x = part.carry.minibatch

    def half_square(kernels):
        return 0.5 * (roofline._forward(kernels, x)[-1] ** 2).sum()

    gradients = roofline._backward(towers[0], roofline._forward(towers[0], x))
    for ours, expected in zip(gradients, jax.grad(half_square)(towers[0]), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["training", "rollout", "environment", "update", "matrix products"])
def test_every_turn_of_a_loop_does_new_work(name):
    """Otherwise the compiler could take it out of the loop."""
    towers = roofline.kernels(CONFIG)
    assert towers is not None
    loops = [*parts.make_parts(CONFIG, num_agents=1), roofline.products_part(CONFIG, towers)]
    part = next(part for part in loops if part.name == name)
    body = jax.jit(part.body)
    first = body(jnp.int32(0), part.carry)
    second = body(jnp.int32(1), first)
    for before, after in ((part.carry, first), (first, second)):
        pairs = zip(
            map(as_numbers, jax.tree.leaves(before)), map(as_numbers, jax.tree.leaves(after)), strict=True
        )
        assert not all(np.array_equal(a, b) for a, b in pairs)


def as_numbers(x):
    return jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x


def test_measurements_take_turns():
    seen = []

    class Fake:
        def __init__(self, name):
            self.name = name

        def __call__(self, turns, carry):
            seen.append(self.name)
            return carry

    loops = [parts.Timed(Fake(name), 0, 10, 1, 0.0, 0) for name in "ab"]
    rates = parts.measure(loops, 3)
    assert "".join(seen) == "ababab"
    assert [len(rate) for rate in rates] == [3, 3]
