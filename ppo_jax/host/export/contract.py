"""The contract of an export: what a program that uses the policy has to know, as JSON."""

import hashlib
import math
from pathlib import Path
from typing import Any

from ppo_jax import presets, spaces
from ppo_jax.algorithm.normalization import CLIP
from ppo_jax.errors import UsageError
from ppo_jax.host.export.opening import FORMAT, VERSION
from ppo_jax.host.export.subject import Port, Ports, Subject
from ppo_jax.host.programs import system
from ppo_jax.host.runs import records, request, written
from ppo_jax.host.runs.checkpoints import directories
from ppo_jax.host.runs.directory import RunDirectory
from ppo_jax.host.runs.files import read_json
from ppo_jax.host.runs.request import Request
from ppo_jax.spaces import Box, Discrete

STANDARD_ERRORS = 1.96  # half the width of a 95 % interval of a mean


def describe(run: RunDirectory, asked: Request, subject: Subject, ports: Ports, best: bool) -> dict[str, Any]:
    """Describes a policy for those who use it, but not yet the files that it is written to.

    Args:
        run: The directory of its run.
        asked: The request of its run.
        subject: The policy.
        ports: Its inputs and outputs.
        best: Whether it is that of the best checkpoint.
    """
    update = _update_of(run, best)
    observation: Any = subject.environment.observation_space
    return {
        "format": FORMAT,
        "version": VERSION,
        written.KEY: written.version(),
        "inputs": [_as_json(port) for port in ports.inputs],
        "outputs": [_as_json(port) for port in ports.outputs],
        "batch": "N is the number of observations, any number from 1.",
        "observation": {
            **_box(observation),
            "normalization": _normalization(subject),
        },
        "action": _action(subject.environment.action_space),
        "memory": _memory(ports),
        "randomness": (
            "The greedy form has none: it takes the most probable action. The sampled form is a function of "
            "the input noise, which the caller draws; equal noise gives equal actions."
        ),
        "precision": {"trained": asked.config.precision, "exported": "float32"},
        "environment": {"name": asked.config.env, "arguments": dict(asked.config.env_args)},
        "run": {
            "digest": request.digest(asked),
            "preset": asked.preset,
            "seed": asked.seed,
            "update": update,
            "env_steps": None if update is None else update * asked.config.batch_size,
            "checkpoint": "best" if best else "newest",
            "command": request.command(asked),
        },
        "results": results_of(run, asked, best, update),
        "versions": system.versions(),
    }


def files_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Returns the size and the SHA-256 of every file of a directory, by its name."""
    contents = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    return {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in contents.items()
    }


def results_of(run: RunDirectory, asked: Request, best: bool, update: int | None) -> list[dict[str, Any]]:
    """Returns what is known of the returns of a policy: the evaluations of this very update in its run.

    The interval is the mean and 1.96 standard errors over episodes. It says nothing of other seeds.

    Args:
        run: The directory of its run.
        asked: The request of its run.
        best: Whether it is that of the best checkpoint.
        update: The update after which the policy was saved; None if that is unknown.
    """
    found = []
    summary = _summary(run)
    if not best and summary.get("evaluation"):
        found.append(summary["evaluation"])
    rows = records.load(run.evaluations) if run.evaluations.exists() else []
    for row in rows:
        if row.get("update") == update:
            found += [row[kind] for kind in ("greedy", "sampled") if isinstance(row.get(kind), dict)]
    results = [_with_interval(one) for one in found if one.get("mean") is not None]
    if asked.preset and not asked.changes:
        recorded = presets.read(asked.preset)["recorded"]
        results.append({"kind": "recorded for the preset", **recorded})
    return results


def _with_interval(evaluation: dict[str, Any]) -> dict[str, Any]:
    """Returns an evaluation with the interval of its mean return over episodes."""
    episodes, mean, std = (evaluation[name] for name in ("episodes", "mean", "std"))
    half = STANDARD_ERRORS * std / math.sqrt(max(episodes - 1, 1))
    names = ("episodes", "seed", "mean", "std", "median", "min", "max", "mean_length")
    return {
        "kind": "greedy" if evaluation["greedy"] else "sampled",
        **{name: evaluation.get(name) for name in names},
        "interval_95": [mean - half, mean + half],
    }


def _update_of(run: RunDirectory, best: bool) -> int | None:
    """Returns the update after which a policy was saved."""
    if best:
        return directories.find_best(run.checkpoints).manifest.update
    newest = next(directories.readable(run.checkpoints), None)
    updates = _summary(run).get("updates")
    known = [x for x in (updates, newest and newest.manifest.update) if isinstance(x, int)]
    return max(known, default=None)


def _summary(run: RunDirectory) -> dict[str, Any]:
    try:
        return read_json(run.summary)
    except UsageError:  # the run has not ended
        return {}


def _as_json(port: Port) -> dict[str, Any]:
    return {
        "name": port.name,
        "shape": ["N", *port.shape],
        "dtype": port.dtype,
        "meaning": port.meaning,
        "forms": list(port.forms),
    }


def _box(space: Box) -> dict[str, Any]:
    """Returns the shape and the bounds of a Box; None where a bound is missing."""
    known = spaces.known_bounds(space)
    bounds = {} if known is None else dict(zip(("low", "high"), known, strict=True))
    numbers = {
        name: [float(x) if math.isfinite(x) else None for x in bound.ravel()]
        for name, bound in bounds.items()
    }
    return {"kind": "Box", "shape": list(space.shape), **numbers}


def _normalization(subject: Subject) -> dict[str, Any]:
    if subject.agent.statistics is None:
        return {
            "inside": False,
            "meaning": "The policy was trained on observations as they are; nothing is normalized.",
        }
    return {
        "inside": True,
        "clip": CLIP,
        "meaning": (
            "The policy shifts and scales observations by the mean and the standard deviation of its "
            f"training, and clips them to +-{CLIP:g}. Do not normalize them before."
        ),
    }


def _action(space: spaces.Space) -> dict[str, Any]:
    match space:
        case Discrete(n):
            return {"kind": "Discrete", "n": n, "clipping": "Nothing is clipped."}
        case Box():
            text = "Inside, as the last step: actions are within the bounds, in units of the environment."
            return {**_box(space), "clipping": text}
    return {"kind": "MultiDiscrete", "nums": list(space.nums), "clipping": "Nothing is clipped."}


def _memory(ports: Ports) -> dict[str, Any] | None:
    sizes = [port.shape[0] for port in ports.inputs if port.name == "memory"]
    if not sizes:
        return None
    return {
        "size": sizes[0],
        "start": "Zeros.",
        "use": "Give the output next_memory as the input memory of the next step of the same episode.",
        "reset": "When an episode begins, set its row of memory to zeros. Nothing else resets it.",
    }
