"""How a run is kept, watched and mended: nothing in here changes what is learned."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

import tyro

from ppo_jax.errors import UsageError

OnNonfinite = Literal["stop", "rewind"]
Logger = Literal["tensorboard", "wandb", "trackio"]

_COUNTS = {"checkpoint_every": 100, "keep": 3, "evaluate_every": 100}  # with examples


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """Flags of `ppo-jax train` beside what is learned and from which seed."""

    checkpoint_every: Annotated[int | None, tyro.conf.arg(metavar="UPDATES")] = None
    """Updates between checkpoints; by default one is made about every minute. There is one at the end
    in any case."""
    keep: int = 3
    """How many checkpoints to keep: the newest ones, and beside them the one with the best return."""
    evaluate_every: Annotated[int | None, tyro.conf.arg(metavar="UPDATES")] = None
    """Updates between evaluations, greedy and sampled, always of the same episodes; by default the policy
    is evaluated at the end alone."""
    on_nonfinite: OnNonfinite = "stop"
    """What to do when a number becomes NaN or infinite: stop, or go back to the last good state and on from
    there with other random numbers, up to three times. Either way the last good state is kept."""
    log_to: tuple[Logger, ...] = ()
    """Where to send metrics beside metrics.jsonl."""


def check(options: RunOptions) -> None:
    """Finds every mistake in the options.

    Raises:
        UsageError: With all of them.
    """
    given = dataclasses.asdict(options)
    problems = [
        f"{name} = {given[name]!r} is not at least 1; give one such as {example}"
        for name, example in _COUNTS.items()
        if not _is_count(given[name]) and not (given[name] is None and name != "keep")
    ]
    problems += [
        f"{name} = {value!r} is unknown; choose from {', '.join(get_args(kind))}"
        for name, value, kind in (
            ("on_nonfinite", options.on_nonfinite, OnNonfinite),
            *(("log_to", value, Logger) for value in options.log_to),
        )
        if value not in get_args(kind)
    ]
    if problems:
        raise UsageError(problems)


def from_json(content: Mapping[str, Any]) -> RunOptions:
    """Makes options from the content of `config.json`, trusting nothing; defaults where it has none.

    Raises:
        UsageError: If they are not valid.
    """
    fields = content.get("options", {})
    try:
        options = RunOptions(**{**fields, "log_to": tuple(fields.get("log_to", ()))})
        check(options)
    except (TypeError, AttributeError, UsageError) as error:
        raise UsageError(f"config.json has options that are not valid: {error}; it is damaged") from error
    return options


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and value >= 1
