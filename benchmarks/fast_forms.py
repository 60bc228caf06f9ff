"""Times each fast form beside the plain form that it replaces, taking turns in one run.

A row gives the nanoseconds of both per environment step (or sample), and how many times as fast the fast
form is: the median, the least and the most of the ratios of all rounds.
"""

import dataclasses
import itertools
import json
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import gymnax
import jax
import jax.numpy as jnp
import optax
import tyro
from rich.console import Console
from rich.table import Table

from ppo_jax.algorithm.estimate import successor_values
from ppo_jax.algorithm.rollout import Trajectory
from ppo_jax.config import Config, Hyperparams
from ppo_jax.envs.gymnax import make_environment
from ppo_jax.fast.matmul import kernel_gradient, narrow_kernel_gradient
from ppo_jax.fast.shuffle import shuffle
from ppo_jax.host.benchmark import parts
from ppo_jax.host.benchmark.parts import Part
from ppo_jax.host.programs import system
from ppo_jax.networks.distributions import Categorical
from ppo_jax.networks.flax import make_network
from ppo_jax.networks.network import Network, Params

LARGE = Config(num_envs=2048, num_steps=32, total_timesteps=2048 * 32)
SHAPES = {
    "4x128": Config(num_envs=4, num_steps=128, total_timesteps=512),
    "64x128": Config(num_envs=64, num_steps=128, total_timesteps=8192),
    "2048x32": LARGE,
}
NUM_SHUFFLED = (512, 8192, 65_536)
NUM_SAMPLED = 8192
NUM_ROWS = (128, 2048)  # of a minibatch
NARROW_KERNELS = ((4, 64), (64, 2))
NUM_AGENTS = 64


@dataclasses.dataclass(frozen=True)
class Options:
    """Time the fast forms."""

    repeats: int = 9
    """Rounds; the median of their ratios is reported."""
    seconds: float = 0.3
    """About how long one measurement should take."""
    output: Path | None = None
    """File of JSON to write."""


class Trial(NamedTuple):
    """A fast form and the plain one, which do the same work."""

    name: str
    fast: Part
    plain: Part
    plain_compiler: Callable = parts.compile_ahead


class Outcome(NamedTuple):
    """What a trial found: nanoseconds per step, ratios of speed, and seconds of compiling."""

    name: str
    fast_ns: float
    plain_ns: float
    ratio: float
    least: float
    most: float
    fast_compile_seconds: float
    plain_compile_seconds: float


def main(options: Options) -> None:
    """Times all trials, prints the table and writes the JSON."""
    outcomes = [take(options, trial) for trial in make_trials()]
    show(options, outcomes)
    if options.output:
        content = {
            "options": {"repeats": options.repeats, "seconds": options.seconds},
            "outcomes": [outcome._asdict() for outcome in outcomes],
            "versions": system.versions(),
            "hardware": system.hardware(),
        }
        options.output.write_text(json.dumps(content, indent=1) + "\n")


def make_trials() -> list[Trial]:
    """Makes all trials."""
    logits = jax.random.normal(jax.random.key(0), (NUM_SAMPLED, 6))
    trials = [
        Trial(
            f"order of {size:,} samples: bijection, sort",
            _drawing(partial(shuffle, size=size), size),
            _drawing(partial(jax.random.permutation, x=size), size),
        )
        for size in NUM_SHUFFLED
    ]
    trials.append(
        Trial(
            "an action of six: inverse CDF, Gumbel noise",
            _drawing(partial(_by_inversion, logits), NUM_SAMPLED),
            _drawing(partial(_by_gumbel, logits), NUM_SAMPLED),
        )
    )
    trials += [trial for name, config in SHAPES.items() for trial in _rollout_trials(name, config)]
    trials += [_successor_trial(name, config) for name, config in SHAPES.items()]
    trials += [_gradient_trial(*sizes) for sizes in itertools.product(NUM_ROWS, NARROW_KERNELS)]
    trials.append(_few_actions_trial())
    trials.append(_optimizer_trial())
    trials += [_compiler_trial(name, config) for name, config in SHAPES.items()]
    return trials


def take(options: Options, trial: Trial) -> Outcome:
    """Measures one trial."""
    fast = parts.prepare(trial.fast, options.seconds)
    plain = parts.prepare(trial.plain, options.seconds, trial.plain_compiler)
    fast_rates, plain_rates = parts.measure([fast, plain], options.repeats)
    ratios = [mine / theirs for mine, theirs in zip(fast_rates, plain_rates, strict=True)]
    return Outcome(
        trial.name,
        1e9 / statistics.median(fast_rates),
        1e9 / statistics.median(plain_rates),
        statistics.median(ratios),
        min(ratios),
        max(ratios),
        fast.compile_seconds,
        plain.compile_seconds,
    )


def show(options: Options, outcomes: list[Outcome]) -> None:
    """Prints the outcomes as a table."""
    hardware, versions = system.hardware(), system.versions()
    table = Table(
        title=f"fast form, plain form; median of {options.repeats}; {hardware['cpu']} "
        f"x{hardware['cpu_count']}, {hardware['device']}, Python {versions['python']}, jax {versions['jax']}",
        title_justify="left",
    )
    table.add_column("what")
    for heading in ("fast ns", "plain ns", "times as fast", "least", "most", "compile s", "plain"):
        table.add_column(heading, justify="right")
    for name, fast, plain, ratio, least, most, compiling, plain_compiling in outcomes:
        times = [f"{x:.3g}" for x in (fast, plain)] + [f"{x:.2f}" for x in (ratio, least, most)]
        table.add_row(name, *times, f"{compiling:.2f}", f"{plain_compiling:.2f}")
    Console(width=130).print(table)


def _drawing(draw: Callable, size: int) -> Part:
    """A loop that draws with a new key in each turn."""
    key = jax.random.key(0)
    return Part("draw", partial(_draw_again, draw), (key, draw(key)), size)


def _draw_again(draw: Callable, index: jax.Array, carry: tuple[jax.Array, jax.Array]) -> Any:
    key = jax.random.fold_in(carry[0], index)
    return key, draw(key)


def _by_inversion(logits: jax.Array, key: jax.Array) -> jax.Array:
    return Categorical(logits).from_noise(jax.random.uniform(key, logits.shape[:1]))


def _by_gumbel(logits: jax.Array, key: jax.Array) -> jax.Array:
    return jax.random.categorical(key, logits)


def _rollout_trials(name: str, config: Config) -> list[Trial]:
    """Ours against the usual: gymnax's own step, keys split per step and copy, values inside the loop."""
    fast = {part.name: part for part in parts.make_parts(config, num_agents=1)}
    ours = make_environment(config.env)
    network = make_network(config, ours.observation_space, ours.action_space)
    env, env_params = gymnax.make(config.env)
    keys = jax.random.split(jax.random.key(0), config.num_envs)
    observation, state = jax.vmap(env.reset, (0, None))(keys, env_params)
    env_step = partial(_gymnax_step, env, env_params)
    steps = {
        "environment": partial(_plain_random_step, env_step, config.num_envs),
        "rollout": partial(_plain_step, env_step, network, network.init(keys[0])),
    }
    plain = {
        part: Part(
            part, partial(_plain_rollout, step, config.num_steps), (state, observation), config.batch_size
        )
        for part, step in steps.items()
    }
    return [Trial(f"{part} {name}: ours, gymnax step", fast[part], plain[part]) for part in plain]


def _gymnax_step(env: Any, env_params: Any, key: jax.Array, state: Any, action: jax.Array) -> Any:
    return env.step(key, state, action, env_params)


def _plain_rollout(step: Callable, num_steps: int, index: jax.Array, carry: Any) -> Any:
    key = jax.random.fold_in(jax.random.key(0), index)
    (_, *carry), trajectory = jax.lax.scan(step, (key, *carry), None, num_steps)
    return jax.lax.optimization_barrier((tuple(carry), trajectory))[0]


def _plain_step(env_step: Callable, network: Network, params: Params, carry: Any, _: None) -> Any:
    key, state, observation = carry
    key, action_key, step_key = jax.random.split(key, 3)
    policy = network.policy(params, observation)
    action = jax.random.categorical(action_key, policy.logits)
    keys = jax.random.split(step_key, len(action))
    next_observation, state, reward, terminated, truncated, info = jax.vmap(env_step)(keys, state, action)
    value = network.value(params, observation)
    experience = (observation, action, policy.log_prob(action), value, reward, terminated, truncated, info)
    return (key, state, next_observation), experience


def _plain_random_step(env_step: Callable, num_envs: int, carry: Any, _: None) -> Any:
    key, state, _ = carry
    key, action_key, step_key = jax.random.split(key, 3)
    action = jax.random.randint(action_key, (num_envs,), 0, 2)
    observation, state, *rest = jax.vmap(env_step)(jax.random.split(step_key, num_envs), state, action)
    return (key, state, observation), (observation, *rest)


def _successor_trial(name: str, config: Config) -> Trial:
    """Values of all successors, with one episode in a hundred cut off by a time limit."""
    space = make_environment(config.env)
    network = make_network(config, space.observation_space, space.action_space)
    params = network.init(jax.random.key(0))
    shape = (config.num_steps, config.num_envs)
    observation = jax.random.normal(jax.random.key(1), (*shape, 4))
    done = jax.random.bernoulli(jax.random.key(2), 0.01, shape)
    value, no = network.value(params, observation), jnp.zeros(shape, bool)
    trajectory = Trajectory(None, None, None, observation, None, no, done, no, network.init_memory(0))  # pyright: ignore
    fast = partial(_value_cut_off, partial(network.apply, params), trajectory)
    plain = partial(_value_all, partial(network.value, params), trajectory)
    return Trial(
        f"values of successors {name}: cut off, all",
        Part("cut off", fast, value, config.batch_size),
        Part("all", plain, value, config.batch_size),
    )


def _value_cut_off(apply: Callable, trajectory: Trajectory, index: jax.Array, value: jax.Array) -> jax.Array:
    return successor_values(apply, trajectory, value, trajectory.memory)


def _value_all(value_of: Callable, trajectory: Trajectory, index: jax.Array, value: jax.Array) -> jax.Array:
    moved = trajectory.final_observation + 1e-6 * value[0, 0]  # so that every turn has to do the work
    return value_of(moved)


def _gradient_trial(num_rows: int, sides: tuple[int, int]) -> Trial:
    """The gradient of a narrow kernel from two operands that change in every turn."""
    operands = [jax.random.normal(jax.random.key(size), (num_rows, size)) for size in sides]
    carry = (*operands, jnp.zeros(sides))
    return Trial(
        f"gradient of a {sides[0]} x {sides[1]} kernel, {num_rows} samples: turned, as it stands",
        Part("turned", partial(_take_gradient, narrow_kernel_gradient), carry, num_rows),
        Part("as it stands", partial(_take_gradient, kernel_gradient), carry, num_rows),
    )


def _take_gradient(how: Callable, index: jax.Array, carry: Any) -> Any:
    x, slope, _ = carry
    gradient = how("float32", x, slope)
    step = 1e-9 * gradient[0, 0]
    return x.at[0, 0].add(step), slope.at[0, 0].add(step), gradient


def _few_actions_trial() -> Trial:
    """Log-probabilities of two actions with their gradient, in the minibatches of 64 agents."""
    logits = jax.random.normal(jax.random.key(0), (NUM_AGENTS, 128, 2))
    size = NUM_AGENTS * 128
    return Trial(
        "log-probabilities of two actions: one by one, reduced",
        Part("one by one", partial(_climb, _log_probs), logits, size),
        Part("reduced", partial(_climb, jax.nn.log_softmax), logits, size),
    )


def _log_probs(logits: jax.Array) -> jax.Array:
    return Categorical(logits).log_probs


def _climb(log_probs: Callable, index: jax.Array, logits: jax.Array) -> jax.Array:
    return logits + jax.grad(lambda x: log_probs(x)[..., 0].sum())(logits)


def _optimizer_trial() -> Trial:
    config = SHAPES["4x128"]
    space = make_environment(config.env)
    params = make_network(config, space.observation_space, space.action_space).init(jax.random.key(0))
    adam = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(Hyperparams().learning_rate))
    whole = optax.flatten(adam)
    return Trial(
        "Adam: on one vector, on each array",
        Part("one vector", partial(_optimize, whole), (params, whole.init(params)), 1),
        Part("each array", partial(_optimize, adam), (params, adam.init(params)), 1),
    )


def _optimize(optimizer: optax.GradientTransformation, index: jax.Array, carry: Any) -> Any:
    params, state = carry
    steps, state = optimizer.update(params, state)  # as good a gradient as any
    return jax.tree.map(jnp.add, params, steps), state


def _compiler_trial(name: str, config: Config) -> Trial:
    training, *_ = parts.make_parts(config, num_agents=1)
    return Trial(f"training {name}: our options of XLA, its own", training, training, _compile_plainly)


def _compile_plainly(function: Callable, *arguments: Any) -> Any:
    return jax.jit(lambda *inputs: function(*inputs)).lower(*arguments).compile()


if __name__ == "__main__":
    main(tyro.cli(Options))
