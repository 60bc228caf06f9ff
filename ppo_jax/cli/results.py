"""The commands that read what a run has written: `plot`, `report` and `verify`."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from ppo_jax.cli.command import Command, RunOrSweepPath, RunPath, open_run
from ppo_jax.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Plot(Command):
    """Plot how training went in one run, or compare several runs."""

    run_dirs: Annotated[tuple[Path, ...], Positional, arg(metavar="RUN ...", help_behavior_hint="(required)")]
    """One or more run directories. Runs that differ only in their seed become one curve: their
    interquartile mean, with a 95% confidence band."""
    output: Annotated[Path | None, arg(metavar="PICTURE")] = None
    """The picture to write. By default, diagnostics.png in the run directory; for several runs,
    comparison.png in the current directory."""

    def run(self) -> int:
        """Draws the plot, and returns the exit status."""
        if not self.run_dirs:
            raise UsageError("RUN is required; give one or more directories that `ppo-jax train` wrote")
        runs = [open_run(path) for path in self.run_dirs]
        from ppo_jax.host.pictures import plots

        print(f"wrote {plots.draw(runs, self.output)}")
        return 0


@dataclasses.dataclass(frozen=True)
class Report(Command):
    """Write a report on a run: a single HTML file that can be read offline."""

    run_dir: RunOrSweepPath
    output: Annotated[Path | None, arg(metavar="FILE")] = None
    """The file to write. By default, report.html in the directory of the run."""

    def run(self) -> int:
        """Writes the report, and returns the exit status."""
        from ppo_jax.host.runs import family

        if family.is_sweep(self.run_dir):
            from ppo_jax.host.report import sweep_page

            print(f"wrote {sweep_page.report(family.open_existing(self.run_dir), self.output)}")
            return 0
        run = open_run(self.run_dir)
        from ppo_jax.host.report import page

        print(f"wrote {page.report(run, self.output, page.record(run))}")
        return 0


@dataclasses.dataclass(frozen=True)
class Verify(Command):
    """Check the files of a run for damage.

    Checkpoints are checked byte by byte. The exit status is 1 if a file is damaged.
    """

    run_dir: RunPath

    def run(self) -> int:
        """Checks every file, and returns the exit status: 1 if one has a problem."""
        from ppo_jax.host.runs import verify

        findings = verify.verify(open_run(self.run_dir))
        for finding in findings:
            print(verify.describe(finding))
        return int(any(finding.problem for finding in findings))


def finish_sweep(sweep: Any, status: int, quiet: bool) -> int:
    """Writes the report of a sweep that is done, and returns the exit status."""
    if status == 0:
        from ppo_jax.host.report import sweep_page

        path = sweep_page.report(sweep)
        if not quiet:
            print(f"wrote {path}")
    return status
