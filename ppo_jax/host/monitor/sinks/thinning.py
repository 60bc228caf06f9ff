"""Makes fewer records of many, for sinks that cannot take one for each update. Nothing is left out."""

import itertools

from ppo_jax.host.runs.records import REPEATED, STANDARD, Record

_NEWEST = ("update", "seconds", "env_steps", "return_window")
_COUNTS = ("episodes", "dead_ends", "nonfinite_observations", "nonfinite_rewards", REPEATED)


def thin(records: list[Record], most: int) -> list[Record]:
    """Joins neighbouring records until no more than a given number is left.

    Of joined records, counts are summed; the number of the update, the steps, the time and the mean return of
    100 episodes are those of the newest; means of episodes are means of all their episodes; everything else
    is the mean over the updates. Values that are None do not count.

    Args:
        records: The records of consecutive updates.
        most: The largest number of records to return.
    """
    if len(records) <= most:
        return records
    bounds = [len(records) * index // most for index in range(most + 1)]
    parts = [records[start:end] for start, end in itertools.pairwise(bounds)]
    return [{name: _join(name, part) for name in part[0]} for part in parts]


def _join(name: str, records: list[Record]) -> float | None:
    of_episodes = name in ("episode_return", "episode_length") or name not in (*STANDARD, REPEATED)
    present = [record for record in records if record[name] is not None]
    if of_episodes:
        present = [record for record in present if record["episodes"]]
    if not present:
        return None
    if name in _NEWEST:
        return present[-1][name]
    if name in _COUNTS:
        return sum(record[name] for record in present)
    weights = [record["episodes"] if of_episodes else 1 for record in present]
    return sum(record[name] * weight for record, weight in zip(present, weights, strict=True)) / sum(weights)
