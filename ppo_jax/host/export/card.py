"""The model card of an export: a README with a head of YAML, in the form that hubs of models read."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ppo_jax.algorithm.agent import Agent
from ppo_jax.errors import UsageError
from ppo_jax.host.export.opening import EXTRAS
from ppo_jax.host.runs.request import Request

CARD, FILM = EXTRAS
LIBRARY = "ppo_jax"


def write(
    asked: Request,
    agent: Agent,
    contract: dict[str, Any],
    license: str,
    folder: Path,
    say: Callable[[str], None],
) -> None:
    """Writes the card, and a film of an episode where the environment can be drawn.

    Args:
        asked: The request of the run.
        agent: The agent.
        contract: The contract, as far as it is known before the list of files.
        license: The license of the policy.
        folder: The directory to write to.
        say: A function that is called with the reason why there is no film.
    """
    # Imported here, because an export without a card draws nothing.
    from ppo_jax.host.pictures import film
    from ppo_jax.host.programs import episode

    try:
        film.check(asked.config.env, folder / FILM, asked.config.env_args)
        film.draw(episode.play(asked.config, agent, asked.seed), folder / FILM)
    except UsageError as error:
        say(f"the card has no film: {error}")
    has_film = (folder / FILM).exists()
    (folder / CARD).write_text(to_markdown(contract, license, has_film), encoding="utf-8")


def to_markdown(contract: dict[str, Any], license: str, has_film: bool) -> str:
    """Returns the text of a card."""
    env, run = contract["environment"]["name"], contract["run"]
    name = f"PPO on {env}"
    sections = [
        _head(contract, name, license),
        f"# {name}",
        f"A policy for `{env}`{_arguments(contract)}, trained by Proximal Policy Optimization with "
        f"{LIBRARY}, {_age(run)}.",
    ]
    if has_film:
        sections.append(f"![An episode of the policy]({FILM})")
    sections += ["## Results", *_results(contract["results"])]
    sections += ["## How to use it", *_usage(contract)]
    sections += ["## The contract", *_contract(contract)]
    sections += [
        "## How to reproduce it",
        f"```sh\n{run['command']}\n```",
        f"Digest of all settings: `{run['digest']}`. Versions: "
        + ", ".join(f"{package} {version}" for package, version in contract["versions"].items())
        + ".",
    ]
    return "\n\n".join(sections) + "\n"


def _head(contract: dict[str, Any], name: str, license: str) -> str:
    """Returns the head of YAML. All texts are quoted as JSON quotes them, which YAML reads."""
    env = json.dumps(contract["environment"]["name"])
    tags = ["reinforcement-learning", "ppo", "jax", contract["environment"]["name"], *contract["formats"]]
    lines = [
        "---",
        f"library_name: {LIBRARY}",
        f"license: {license}",
        "tags:",
        *(f"- {json.dumps(tag)}" for tag in tags),
        "model-index:",
        f"- name: {json.dumps(name)}",
        "  results:",
        "  - task:",
        "      type: reinforcement-learning",
        "      name: reinforcement-learning",
        "    dataset:",
        f"      name: {env}",
        f"      type: {env}",
        "    metrics:",
    ]
    measured = [one for one in contract["results"] if "mean" in one]
    for one in measured:
        value = f"{one['mean']:.2f} +/- {one['std']:.2f}"
        lines += [
            "    - type: mean_reward",
            f"      name: mean return of {one['episodes']} {one['kind']} episodes",
            f"      value: {json.dumps(value)}",
            "      verified: false",
        ]
    if not measured:
        lines[-1] += " []"
    return "\n".join([*lines, "---"])


def _arguments(contract: dict[str, Any]) -> str:
    given = contract["environment"]["arguments"]
    return f" with {', '.join(f'`{name} = {value!r}`' for name, value in given.items())}" if given else ""


def _age(run: dict[str, Any]) -> str:
    which = "its best checkpoint" if run["checkpoint"] == "best" else "its end"
    steps = "" if run["env_steps"] is None else f", after {run['env_steps']:,} environment steps"
    return f"from seed {run['seed']}, as it was at {which}{steps}"


def _results(results: list[dict[str, Any]]) -> Iterator[str]:
    """Yields what is known of the returns."""
    measured = [one for one in results if "mean" in one]
    if measured:
        rows = [
            f"| {one['kind']} | {one['episodes']} | {one['mean']:.2f} "
            f"[{one['interval_95'][0]:.2f}, {one['interval_95'][1]:.2f}] | {one['std']:.2f} "
            f"| {one['median']:.2f} | {one['min']:.2f} to {one['max']:.2f} |"
            for one in measured
        ]
        head = ["| actions | episodes | mean return [95 % interval] | deviation | median | range |"]
        yield "\n".join([*head, "|---|---|---|---|---|---|", *rows])
        yield "The interval is over the episodes of this one policy."
    else:
        yield "This policy has not been evaluated: `ppo-jax evaluate RUN` plays episodes with it."
    for one in results:
        if "mean" not in one:
            yield f"The same settings from {one['seeds']} seeds (`{one['command']}`): {one['result']}."


def _usage(contract: dict[str, Any]) -> Iterator[str]:
    """Yields how to load the policy, and how to act with it."""
    more = "".join(
        f", {argument}"
        for argument, name in (("state", "memory"), ("mask=mask", "mask"))
        if name in [port["name"] for port in contract["inputs"]]
    )
    yield (
        "```python\nimport ppo_jax\n\n"
        'policy = ppo_jax.load_policy("the directory of this file")\n'
        "state = None  # at the beginning of each episode\n"
        f"action, state = policy.act(observation{more})\n```"
    )
    yield "With `key=numpy.random.default_rng(0)` actions are sampled; else the most probable is taken."
    others = {
        "numpy": "`policy.py` does the same with nothing but NumPy and safetensors.",
        "onnx": "`greedy.onnx` and `sampled.onnx` run in anything that reads ONNX of opset 17.",
        "stablehlo": "`greedy.stablehlo` and `sampled.stablehlo` are read by `jax.export.deserialize`.",
    }
    yield " ".join(others[name] for name in contract["formats"])


def _contract(contract: dict[str, Any]) -> Iterator[str]:
    """Yields the contract in words."""
    rows = [
        f"| {what} | `{port['name']}` | {', '.join(map(str, port['shape']))} | {port['dtype']} "
        f"| {port['meaning']} |"
        for what in ("input", "output")
        for port in contract[f"{what}s"]
    ]
    yield "\n".join(["| | name | shape | dtype | meaning |", "|---|---|---|---|---|", *rows])
    memory = contract["memory"]
    sentences = [
        f"Normalization of observations: {contract['observation']['normalization']['meaning']}",
        f"Actions: {json.dumps({k: v for k, v in contract['action'].items() if k != 'clipping'})}. "
        f"Clipping: {contract['action']['clipping']}",
        f"Randomness: {contract['randomness']}",
        f"Memory: {memory['use']} {memory['reset']}" if memory else "Memory: none.",
        "Compared with the trained policy: "
        + "; ".join(
            f"{name}, over {one['parity']['observations']:,} observations, largest difference "
            f"{one['parity']['largest_difference']:.2g}"
            for name, one in contract["formats"].items()
        )
        + ".",
        "The same for programs, with the SHA-256 of every file, is in `contract.json`.",
    ]
    yield "\n".join(f"- {sentence}" for sentence in sentences)
