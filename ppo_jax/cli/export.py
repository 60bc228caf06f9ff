"""The command `export`."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from ppo_jax.cli.agent import Best, find
from ppo_jax.cli.command import Command, RunPath, TrustCode
from ppo_jax.host.programs import readiness


@dataclasses.dataclass(frozen=True)
class Export(Command):
    """Write the policy of a run as files for other programs.

    The files are compared with the trained policy on 1,000 observations.
    """

    run_dir: RunPath
    directory: Annotated[Path, Positional, arg(metavar="DIR")]
    """The directory to write. It has to be new or empty."""
    format: tuple[Literal["numpy", "onnx", "stablehlo"], ...] = ("numpy",)
    """One or more formats. numpy runs with NumPy and safetensors, onnx in most runtimes, and stablehlo in
    JAX. Only stablehlo supports networks of your own."""
    best: Best = False
    card: bool = False
    """Also write a model card (a README.md with results, inputs and outputs, and usage) and, if the
    environment can be drawn, a GIF of an episode."""
    license: str = "unknown"
    """License of the policy, for the model card, such as apache-2.0."""
    trust_code: TrustCode = False

    def run(self) -> int:
        """Exports the policy, and returns the exit status."""
        from ppo_jax.host.export.options import ExportOptions, check

        run = find(self.run_dir, self.best, self.trust_code)
        options = ExportOptions(self.directory, self.format, self.best, self.card, self.license)
        check(run, options)
        readiness.check()
        from ppo_jax.host.export import writing

        def note(text: str) -> None:
            print(f"note: {text}", file=sys.stderr)

        print(writing.describe(writing.export(run, options, self.trust_code, note), self.directory))
        return 0
