"""Groups runs that differ in nothing but their seed, and labels the groups so that they can be told apart."""

from collections.abc import Sequence

from ppo_jax.host.runs import request
from ppo_jax.host.runs.directory import RunDirectory
from ppo_jax.host.runs.options import RunOptions
from ppo_jax.host.runs.request import Request


def by_label(runs: Sequence[RunDirectory]) -> dict[str, list[RunDirectory]]:
    """Sorts runs into groups of seeds.

    Args:
        runs: The run directories, in any order. Runs of a group that have the same seed are equal, so only
            the last of them is used.

    Returns:
        The runs of each group in the order of their seeds. The label of a group names the preset or the
        environment, the fields whose values differ between groups, and the number of seeds.

    Raises:
        UsageError: If a run has no valid `config.json`.
    """
    groups: dict[Request, dict[int, RunDirectory]] = {}
    for run in runs:
        asked = request.read(run)
        # The seed does not make a different group; nor do the options, which do not change what is learned.
        group = asked._replace(seed=0, options=RunOptions())
        groups.setdefault(group, {})[asked.seed] = run

    labels = _name(list(groups))
    by_seed = [dict(sorted(seeds.items())) for seeds in groups.values()]
    counts = [f"{len(seeds)} seeds" if len(seeds) > 1 else f"seed {next(iter(seeds))}" for seeds in by_seed]
    return {
        f"{label}, {count}": list(seeds.values())
        for label, count, seeds in zip(labels, counts, by_seed, strict=True)
    }


def _name(groups: list[Request]) -> list[str]:
    """Labels groups by the fields in which they differ; if presets differ, only by changes to the preset."""
    values = [group.fields for group in groups]
    varying = [name for name in values[0] if len({fields[name] for fields in values}) > 1]
    same_preset = len({group.label for group in groups}) == 1
    labels = []
    for group, fields in zip(groups, values, strict=True):
        named = varying if same_preset else [name for name in varying if name in group.changes]
        labels.append(", ".join([group.label, *(f"{name} = {fields[name]}" for name in named)]))
    return labels
