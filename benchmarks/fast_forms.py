"""Times each fast form against the plain form that it replaces, in turns.

A row gives the nanoseconds of both per environment step (or per sample), and how many times as fast the fast
form is: the median, the least and the most of the ratios of all rounds.
"""

import dataclasses
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import gymnax
import jax
import jax.numpy as jnp
import optax
import tyro
from rich.console import Console
from rich.table import Table

from ppo_jax.config import Config, Hyperparams
from ppo_jax.envs.make import make_environment
from ppo_jax.fast.loops import map_where
from ppo_jax.fast.matmul import kernel_gradient, narrow_kernel_gradient
from ppo_jax.fast.shuffle import shuffle
from ppo_jax.host.benchmark import parts
from ppo_jax.host.benchmark.parts import Part
from ppo_jax.host.programs import system
from ppo_jax.host.runs import files
from ppo_jax.networks.distributions import Categorical
from ppo_jax.networks.flax import make_network
from ppo_jax.networks.network import Network, network_for

SHAPES = {
    "4x128": Config(num_envs=4, num_steps=128, total_timesteps=512),
    "64x128": Config(num_envs=64, num_steps=128, total_timesteps=8192),
    "2048x32": Config(num_envs=2048, num_steps=32, total_timesteps=65_536),
}
NUM_SHUFFLED = (512, 8192, 65_536)
NUM_SAMPLED = 8192
NUM_ROWS = (128, 2048)  # of a minibatch
NARROW_KERNELS = ((4, 64), (64, 2))
NUM_AGENTS = 64


@dataclasses.dataclass(frozen=True)
class Options:
    """Time the fast forms against the plain forms."""

    repeats: int = 9
    """Rounds; the median of their ratios is reported."""
    seconds: float = 0.3
    """About how many seconds one measurement should take."""
    only: str = ""
    """Time only the forms whose name contains this text."""
    output: Path | None = None
    """JSON file to write; by default none is written."""


class Trial(NamedTuple):
    """A fast form and a plain form that do the same work.

    Attributes:
        name: What is done, and the names of both forms.
        fast: The loop over the fast form.
        plain: The loop over the plain form.
        plain_compiler: The function that compiles the plain form.
    """

    name: str
    fast: Part
    plain: Part
    plain_compiler: Callable = parts.compile_ahead


class Outcome(NamedTuple):
    """The result of a trial.

    Attributes:
        name: The name of the trial.
        fast_ns: The median nanoseconds per step of the fast form.
        plain_ns: The median nanoseconds per step of the plain form.
        ratio: How many times as fast the fast form is, the median over rounds.
        least: The least of these ratios.
        most: The most of these ratios.
        fast_compile_seconds: The seconds of compiling the fast form.
        plain_compile_seconds: The seconds of compiling the plain form.
    """

    name: str
    fast_ns: float
    plain_ns: float
    ratio: float
    least: float
    most: float
    fast_compile_seconds: float
    plain_compile_seconds: float


def main(options: Options) -> None:
    """Times all forms, prints the table and writes the JSON."""
    outcomes = [take(options, trial) for trial in make_trials() if options.only in trial.name]
    show(options, outcomes)
    if options.output:
        content = {
            "options": {"repeats": options.repeats, "seconds": options.seconds},
            "outcomes": [outcome._asdict() for outcome in outcomes],
            "versions": system.versions(),
            "hardware": system.hardware(),
        }
        with files.output(options.output) as draft:
            draft.write_text(json.dumps(content, indent=1) + "\n")


def make_trials() -> list[Trial]:
    """Makes all trials."""
    trials = [shuffle_trial(size) for size in NUM_SHUFFLED]
    trials.append(sampling_trial())
    trials += [trial for name, config in SHAPES.items() for trial in rollout_trials(name, config)]
    trials += [successor_trial(name, config) for name, config in SHAPES.items()]
    trials += [gradient_trial(num_rows, sides) for num_rows in NUM_ROWS for sides in NARROW_KERNELS]
    trials.append(few_actions_trial())
    trials.append(optimizer_trial())
    trials += [compiler_trial(name, config) for name, config in SHAPES.items()]
    return trials


def take(options: Options, trial: Trial) -> Outcome:
    """Measures both forms of a trial in turns."""
    fast = parts.prepare(trial.fast, options.seconds)
    plain = parts.prepare(trial.plain, options.seconds, trial.plain_compiler)
    fast_rates, plain_rates = parts.measure_in_turns([fast, plain], options.repeats)
    ratios = [of_fast / of_plain for of_fast, of_plain in zip(fast_rates, plain_rates, strict=True)]
    return Outcome(
        name=trial.name,
        fast_ns=1e9 / statistics.median(fast_rates),
        plain_ns=1e9 / statistics.median(plain_rates),
        ratio=statistics.median(ratios),
        least=min(ratios),
        most=max(ratios),
        fast_compile_seconds=fast.compile_seconds,
        plain_compile_seconds=plain.compile_seconds,
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


def shuffle_trial(size: int) -> Trial:
    """The order of the samples of an epoch: our bijection against sorting random numbers."""

    def permute(key: jax.Array) -> jax.Array:
        return jax.random.permutation(key, size)

    def order(key: jax.Array) -> jax.Array:
        return shuffle(key, size)

    name = f"order of {size:,} samples: bijection, sort"
    return Trial(name=name, fast=drawing(order, size), plain=drawing(permute, size))


def sampling_trial() -> Trial:
    """Sampling actions: by the inverse of the cumulative distribution against Gumbel noise."""
    logits = jax.random.normal(jax.random.key(0), (NUM_SAMPLED, 6))

    def by_inversion(key: jax.Array) -> jax.Array:
        return Categorical(logits).from_noise(jax.random.uniform(key, (NUM_SAMPLED,)))

    def by_gumbel(key: jax.Array) -> jax.Array:
        return jax.random.categorical(key, logits)

    return Trial(
        name="an action of six: inverse CDF, Gumbel noise",
        fast=drawing(by_inversion, NUM_SAMPLED),
        plain=drawing(by_gumbel, NUM_SAMPLED),
    )


def drawing(draw: Callable, size: int) -> Part:
    """Makes a loop that draws with a new key in each turn."""

    def draw_again(index: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        key = jax.random.fold_in(carry[0], index)
        return key, draw(key)

    key = jax.random.key(0)
    return Part(name="draw", body=draw_again, carry=(key, draw(key)), steps=size)


def rollout_trials(name: str, config: Config) -> list[Trial]:
    """Our rollout against the usual one, with a network and without.

    The usual one calls gymnax's own step, splits keys for every step and copy, and computes values in the
    loop.
    """
    fast = {part.name: part for part in parts.make_parts(config, num_agents=1)}
    env, env_params = gymnax.make(config.env)
    network = network_of(config)
    params = network.init(jax.random.key(0))

    def step_all(key: jax.Array, state: Any, action: jax.Array) -> Any:
        keys = jax.random.split(key, config.num_envs)
        return jax.vmap(env.step, in_axes=(0, 0, 0, None))(keys, state, action, env_params)

    def random_step(carry: Any, _: None) -> Any:
        key, state, _ = carry
        key, action_key, step_key = jax.random.split(key, 3)
        action = jax.random.randint(action_key, (config.num_envs,), 0, 2)
        observation, state, *rest = step_all(step_key, state, action)
        return (key, state, observation), (observation, *rest)

    def policy_step(carry: Any, _: None) -> Any:
        key, state, observation = carry
        key, action_key, step_key = jax.random.split(key, 3)
        policy = network.policy(params, observation)
        action = jax.random.categorical(action_key, policy.logits)
        next_observation, state, *rest = step_all(step_key, state, action)
        value = network.value(params, observation)
        experience = (observation, action, policy.log_prob(action), value, *rest)
        return (key, state, next_observation), experience

    reset_keys = jax.random.split(jax.random.key(0), config.num_envs)
    observation, state = jax.vmap(env.reset, in_axes=(0, None))(reset_keys, env_params)
    start = state, observation
    return [
        Trial(
            name=f"{part} {name}: ours, gymnax step",
            fast=fast[part],
            plain=Part(name=part, body=repeat(step, config.num_steps), carry=start, steps=config.batch_size),
        )
        for part, step in (("environment", random_step), ("rollout", policy_step))
    ]


def repeat(step: Callable, num_steps: int) -> Callable:
    """Makes the body of a loop that scans over steps with a new key."""

    def body(index: jax.Array, carry: Any) -> Any:
        key = jax.random.fold_in(jax.random.key(0), index)
        (_, *carry), trajectory = jax.lax.scan(step, (key, *carry), None, num_steps)
        # The trajectory is computed too: XLA would leave out what nobody reads.
        return jax.lax.optimization_barrier((tuple(carry), trajectory))[0]

    return body


def successor_trial(name: str, config: Config) -> Trial:
    """Values of successors: only where an episode was cut off, one step in a hundred, against all."""
    network = network_of(config)
    params = network.init(jax.random.key(0))
    shape = (config.num_steps, config.num_envs)
    successor = jax.random.normal(jax.random.key(1), (*shape, 4))
    cut_off = jax.random.bernoulli(jax.random.key(2), 0.01, shape).at[-1].set(True)

    def value_of(observation: jax.Array) -> jax.Array:
        return network.value(params, observation)

    def where_needed(index: jax.Array, value: jax.Array) -> jax.Array:
        return map_where(cut_off, value_of, successor, otherwise=jnp.roll(value, -1, axis=0))

    def everywhere(index: jax.Array, value: jax.Array) -> jax.Array:
        return value_of(successor + 1e-6 * value[0, 0])  # so that every turn has to do the work

    value = value_of(successor)
    return Trial(
        name=f"values of successors {name}: cut off, all",
        fast=Part(name="cut off", body=where_needed, carry=value, steps=config.batch_size),
        plain=Part(name="all", body=everywhere, carry=value, steps=config.batch_size),
    )


def gradient_trial(num_rows: int, sides: tuple[int, int]) -> Trial:
    """The gradient of a narrow kernel: with a transposed copy against the product as it stands."""
    operands = [jax.random.normal(jax.random.key(size), (num_rows, size)) for size in sides]

    def climb(gradient_of: Callable) -> Callable:
        def body(index: jax.Array, carry: Any) -> Any:
            x, slope, _ = carry
            gradient = gradient_of("float32", x, slope)
            step = 1e-9 * gradient[0, 0]  # both operands change, so that every turn has to do the work
            return x.at[0, 0].add(step), slope.at[0, 0].add(step), gradient

        return body

    carry = (*operands, jnp.zeros(sides))
    return Trial(
        name=f"gradient of a {sides[0]} x {sides[1]} kernel, {num_rows} samples: turned, as it stands",
        fast=Part(name="turned", body=climb(narrow_kernel_gradient), carry=carry, steps=num_rows),
        plain=Part(name="as it stands", body=climb(kernel_gradient), carry=carry, steps=num_rows),
    )


def few_actions_trial() -> Trial:
    """Log-probabilities of two actions with their gradient: action by action against a reduction."""
    logits = jax.random.normal(jax.random.key(0), (NUM_AGENTS, 128, 2))

    def one_by_one(index: jax.Array, logits: jax.Array) -> jax.Array:
        return logits + jax.grad(lambda x: Categorical(x).log_probs[..., 0].sum())(logits)

    def reduced(index: jax.Array, logits: jax.Array) -> jax.Array:
        return logits + jax.grad(lambda x: jax.nn.log_softmax(x)[..., 0].sum())(logits)

    return Trial(
        name="log-probabilities of two actions: one by one, reduced",
        fast=Part(name="one by one", body=one_by_one, carry=logits, steps=NUM_AGENTS * 128),
        plain=Part(name="reduced", body=reduced, carry=logits, steps=NUM_AGENTS * 128),
    )


def optimizer_trial() -> Trial:
    """Adam: on all parameters as one vector against each array by itself."""
    params = network_of(SHAPES["4x128"]).init(jax.random.key(0))
    adam = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(Hyperparams().learning_rate))

    def optimizing(name: str, optimizer: optax.GradientTransformation) -> Part:
        def body(index: jax.Array, carry: Any) -> Any:
            params, state = carry
            steps, state = optimizer.update(params, state)  # the parameters serve as their own gradient
            return jax.tree.map(jnp.add, params, steps), state

        return Part(name=name, body=body, carry=(params, optimizer.init(params)), steps=1)

    return Trial(
        name="Adam: on one vector, on each array",
        fast=optimizing("one vector", optax.flatten(adam)),
        plain=optimizing("each array", adam),
    )


def compiler_trial(name: str, config: Config) -> Trial:
    """Whole training: compiled with our options of XLA against those that XLA has by default."""

    def compile_plainly(function: Callable, *arguments: Any) -> Any:
        # Through a function of its own: JAX keeps what it has compiled for the same one, with our options.
        return jax.jit(lambda *inputs: function(*inputs)).lower(*arguments).compile()

    training, *_ = parts.make_parts(config, num_agents=1)
    return Trial(
        name=f"training {name}: our options of XLA, its own",
        fast=training,
        plain=training,
        plain_compiler=compile_plainly,
    )


def network_of(config: Config) -> Network:
    """Makes the default network for the environment of a configuration."""
    return network_for(config, make_environment(config.env), make_network)


if __name__ == "__main__":
    main(tyro.cli(Options))
