"""The options of an export, and the mistakes in them that are found before JAX is imported."""

import re
from pathlib import Path
from typing import NamedTuple

from ppo_jax.errors import UsageError
from ppo_jax.host.export import formats
from ppo_jax.host.runs import files, request
from ppo_jax.host.runs.checkpoints import directories
from ppo_jax.host.runs.directory import RunDirectory


class ExportOptions(NamedTuple):
    """The options of an export.

    Attributes:
        directory: The directory to write, which does not exist or is empty.
        formats: The names of the formats.
        best: Whether to take the checkpoint with the best return, rather than the newest agent.
        card: Whether to write a model card, too.
        license: The license that the card names, as hubs abbreviate it, such as "apache-2.0".
    """

    directory: Path
    formats: tuple[str, ...] = ("numpy",)
    best: bool = False
    card: bool = False
    license: str = "unknown"


def check(run: RunDirectory, options: ExportOptions) -> None:
    """Finds what stands in the way of an export.

    Raises:
        UsageError: With everything that does.
    """
    problems = []
    for finds in (
        lambda: formats.check(options.formats, request.read(run).config.network),
        lambda: files.check_free(options.directory),
        lambda: options.best and directories.find_best(run.checkpoints),
    ):
        try:
            finds()
        except UsageError as error:
            problems += error.problems
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", options.license):
        problems.append(
            f"license = {options.license!r} is not an abbreviation of a license; give one such as "
            "'apache-2.0'"
        )
    if problems:
        raise UsageError(problems)
