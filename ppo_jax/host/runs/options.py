"""The options that say how a run is saved, watched and rescued. A healthy run learns the same with any."""

import dataclasses
from typing import Literal, get_args

OnNonfinite = Literal["stop", "rewind"]


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """The options of `ppo-jax train` that do not decide what is learned."""

    checkpoint_every: int | None = None
    """Number of updates between checkpoints. One is always saved at the end. By default, one is saved about
    once a minute."""
    keep: int = 3
    """How many of the newest checkpoints to keep. The one with the best return is kept as well."""
    evaluate_every: int | None = None
    """Number of updates between evaluations during training. Each one uses the same random numbers, and plays
    with greedy and then with sampled actions. By default, the policy is evaluated only at the end."""
    on_nonfinite: OnNonfinite = "stop"
    """What to do when a number becomes NaN or infinite: stop, or rewind to the last good state and
    continue with other random numbers, at most three times. The last good state is saved in either case."""
    log_to: tuple[str, ...] = ()
    """Services that receive the metrics, in addition to the file metrics.jsonl. By default, none."""
    devices: int | None = None
    """Number of devices to spread the environments over. By default, all that JAX finds; on a CPU, one."""


def problems(options: RunOptions) -> list[str]:
    """Lists every mistake in the options; an empty list if there is none."""
    found = []
    for name, example in {"checkpoint_every": 100, "keep": 3, "evaluate_every": 100, "devices": 1}.items():
        value = getattr(options, name)
        is_off = value is None and name != "keep"
        if not is_off and not (isinstance(value, int) and value >= 1):
            found.append(f"{name} = {value!r} is not at least 1; give one such as {example}")
    known = get_args(OnNonfinite)
    if options.on_nonfinite not in known:
        found.append(f"on_nonfinite = {options.on_nonfinite!r} is unknown; choose from {', '.join(known)}")
    # Which sinks there are is known to `monitor.sinks.check` alone.
    for value in options.log_to:
        if not isinstance(value, str):
            found.append(f"log_to = {value!r} is not the name of a sink; give one such as tensorboard")
    return found
