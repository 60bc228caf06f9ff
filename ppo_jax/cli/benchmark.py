"""The command `benchmark`: how fast training is on this machine."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, ClassVar

from tyro.conf import arg

from ppo_jax.cli.command import Command, Group
from ppo_jax.errors import UsageError
from ppo_jax.host.benchmark import options
from ppo_jax.host.benchmark.options import Options
from ppo_jax.host.programs import readiness

GROUPS = (
    Group(
        "measurement",
        "What to measure, and how thoroughly.",
        tuple(field.name for field in dataclasses.fields(Options)),
    ),
)


@dataclasses.dataclass(frozen=True)
class Benchmark(Command):
    """Measure the speed of training and of its parts, in environment steps per second."""

    options: Options = dataclasses.field(default=Options())
    output: Annotated[Path | None, arg(metavar="FILE")] = None
    """The JSON file to write. A picture is written beside it, under the same name with .png. By default,
    neither is written."""

    groups: ClassVar = GROUPS
    metavars: ClassVar = {"env": "NAME", "shapes": "SHAPE ...", "agents": "INT ..."}

    def run(self) -> int:
        """Measures, and returns the exit status."""
        options.check(self.options)
        if self.output is not None and self.output.suffix != ".json":
            raise UsageError(f"output = '{self.output}' does not end in .json; give a name that does")
        readiness.check()
        from rich.console import Console

        from ppo_jax.host.benchmark import measure, plots
        from ppo_jax.host.runs import files

        console = Console(width=150)
        result = measure.run(self.options, console)
        measure.show(result, console)
        if self.output is not None:
            picture = self.output.with_suffix(".png")
            with files.output(self.output) as draft:
                draft.write_text(json.dumps(measure.as_json(result), indent=2, allow_nan=False) + "\n")
            plots.draw(result, picture)
            print(f"wrote {self.output} and {picture}")
        return 0
