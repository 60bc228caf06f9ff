"""Runs that differ in nothing but their seed, and what tells such groups apart."""

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from ppo_jax.host.runs import request
from ppo_jax.host.runs.directory import RunDirectory, read_json
from ppo_jax.host.runs.request import Request


def by_label(runs: Sequence[RunDirectory]) -> dict[str, list[RunDirectory]]:
    """Sorts runs into groups of seeds.

    Args:
        runs: In any order. Runs of a group with the same seed are the same bits, so the last one counts.

    Returns:
        Runs in the order of their seeds, by what tells their group from the others: the preset or the
        environment, the fields with other values, and the seeds.

    Raises:
        UsageError: If a run does not say what it is.
    """
    requests: dict[Any, Request] = {}
    groups: dict[Any, dict[int, RunDirectory]] = defaultdict(dict)
    for run in runs:
        asked = request.from_json(read_json(run.config))
        training = asked._replace(seed=0)
        requests[training] = asked
        groups[training][asked.seed] = run
    labels = _labels(list(requests.values()))
    return {
        f"{label}, {_seeds(list(seeds))}": [seeds[seed] for seed in sorted(seeds)]
        for label, seeds in zip(labels, groups.values(), strict=True)
    }


def _seeds(seeds: list[int]) -> str:
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"{len(seeds)} seeds"


def _labels(requests: list[Request]) -> list[str]:
    """Names the fields in which requests differ; where presets differ, those not taken from the preset."""
    every = [{**dataclasses.asdict(asked.config), **asked.hyper._asdict()} for asked in requests]
    varying = [name for name in every[0] if len({fields[name] for fields in every}) > 1]
    alike = len({asked.label for asked in requests}) == 1
    labels = []
    for asked, fields in zip(requests, every, strict=True):
        named = varying if alike else [name for name in varying if name in request.changes(asked)]
        labels.append(", ".join([asked.label, *(f"{name} = {fields[name]}" for name in named)]))
    return labels
