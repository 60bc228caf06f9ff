"""Exports the policy of a run: writes it, checks it against the trained one, and describes it."""

import dataclasses
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from ppo_jax.algorithm.agent import Agent
from ppo_jax.config import Config
from ppo_jax.host.export import card, contract, formats, parity
from ppo_jax.host.export.formats import FORMATS, SAMPLED
from ppo_jax.host.export.opening import CONTRACT
from ppo_jax.host.export.options import ExportOptions, check
from ppo_jax.host.export.parity import Samples
from ppo_jax.host.export.subject import Ports, Subject, make_act, make_subject, ports_of
from ppo_jax.host.runs import agents, files, request
from ppo_jax.host.runs.directory import RunDirectory


def export(
    run: RunDirectory,
    options: ExportOptions,
    trust_code: bool = False,
    say: Callable[[str], None] = warnings.warn,
) -> dict[str, Any]:
    """Exports the policy of a run. Afterwards there is a whole export, or none.

    Args:
        run: The directory of the run.
        options: The options.
        trust_code: Whether to use code of the user's own that has changed since the run was started.
        say: A function that is called with a sentence about what else is worth knowing.

    Returns:
        The contract.

    Raises:
        UsageError: If anything is in the way, or if what was written is not the trained policy.
    """
    check(run, options)
    asked = request.read(run)
    config, agent = agents.load(run, options.best, trust_code, say)
    # Whatever it was trained with, it is exported in float32: few programs can do with less.
    subject = make_subject(dataclasses.replace(config, precision="float32"), agent)
    ports = ports_of(subject)
    samples = parity.gather(subject, asked.seed)
    described = contract.describe(run, asked, subject, ports, options.best)
    if config.precision != "float32":
        described["precision"]["largest_difference"] = _difference(config, agent, samples)
    with files.whole_directory(options.directory) as draft:
        found = {
            name: _write(name, subject, ports, samples, described, draft)
            for name in dict.fromkeys(options.formats)
        }
        described["formats"] = {
            name: {"files": list(FORMATS[name].files), "parity": found[name]} for name in found
        }
        if options.card:
            card.write(asked, agent, described, options.license, draft, say)
        described["files"] = contract.files_of(draft)
        files.write_json(draft / CONTRACT, described)
    return described


def _write(
    name: str, subject: Subject, ports: Ports, samples: Samples, described: dict[str, Any], folder: Path
) -> dict[str, Any]:
    """Writes one format, reads it again, and compares it with the trained policy."""
    module = formats.module_of(name)
    module.write(subject, ports, described, folder)
    contents = {file: (folder / file).read_bytes() for file in FORMATS[name].files}
    act, with_what = module.act_to_check(contents, described)
    found = parity.check(name, act, subject, samples, FORMATS[name].tolerance)
    return {**found, "checked_with": with_what}


def _difference(config: Config, agent: Agent, samples: Samples) -> float:
    """Returns the largest difference of the policy in the precision that it was trained with."""
    inputs = {name: x for name, x in samples.inputs.items() if x is not None}
    outputs = jax.device_get(jax.jit(make_act(make_subject(config, agent)))(inputs))
    return parity.largest_difference(samples.expected[SAMPLED], outputs)


def describe(described: dict[str, Any], directory: Path) -> str:
    """Describes in a few lines what was exported."""
    lines = []
    for name, one in described["formats"].items():
        found, ties = one["parity"], one["parity"]["actions_decided_by_rounding"]
        lines.append(
            f"{name}: the actions of the trained policy over {found['observations']:,} observations"
            f"{f', but for {ties} that rounding decides' if ties else ''}; "
            f"largest difference {found['largest_difference']:.2g} ({found['checked_with']})"
        )
    return "\n".join([*lines, f"wrote {directory}: {', '.join(sorted([*described['files'], CONTRACT]))}"])
