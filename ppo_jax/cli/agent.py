"""The commands that let a trained agent act: `evaluate` and `render`."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from ppo_jax.cli.command import Command, RunPath, TrustCode, open_run
from ppo_jax.cli.train import EnvironmentArguments
from ppo_jax.config import Arguments, Config
from ppo_jax.errors import UsageError
from ppo_jax.host.programs import readiness
from ppo_jax.validation import check_seed, seed_problems

MAX_EPISODES = 1_000_000  # they are played side by side, so each takes up RAM

Sampled = Annotated[
    bool, arg(help="Sample each action from the policy, instead of taking the most probable one.")
]
Best = Annotated[
    bool, arg(help="Use the checkpoint with the best return, instead of the agent at the end of training.")
]


@dataclasses.dataclass(frozen=True)
class Evaluate(Command):
    """Play episodes with a trained agent, and print their returns."""

    run_dir: RunPath
    episodes: int = 100
    """Number of episodes. Each is played to its end in a fresh environment."""
    sampled: Sampled = False
    best: Best = False
    seed: int = 0
    """Seed of all random numbers. The same seed gives the same episodes."""
    env_args: EnvironmentArguments = dataclasses.field(default=Arguments())
    """Parameters of the environment to change for these episodes, such as length=1.0. By default, they are as
    at the end of the run."""
    gymnasium: bool = False
    """Play in Gymnasium's environment of the same name instead of gymnax's, as an independent check."""
    trust_code: TrustCode = False

    def run(self) -> int:
        """Evaluates the agent, and returns the exit status."""
        problems = seed_problems(self.seed)
        if not 1 <= self.episodes <= MAX_EPISODES:
            problems.append(
                f"episodes = {self.episodes} is not between 1 and {MAX_EPISODES}; give one such as 100"
            )
        if problems:
            raise UsageError(problems)
        config, agent = _load(self.run_dir, self.best, self.trust_code)
        from ppo_jax.host.programs import evaluation

        config = evaluation.in_other_task(config, dict(self.env_args))
        if self.gymnasium:
            config = evaluation.in_gymnasium(config)
        result = evaluation.run(config, agent, self.episodes, not self.sampled, self.seed)
        print(evaluation.describe(result))
        return 0


@dataclasses.dataclass(frozen=True)
class Render(Command):
    """Draw an episode of a trained agent as a GIF, or for Brax as an HTML page."""

    run_dir: RunPath
    output: Annotated[Path, Positional, arg(metavar="GIF")]
    """The file to write. Its name has to end in .gif; for an environment of Brax, .html works too."""
    sampled: Sampled = False
    best: Best = False
    seed: int = 0
    """Seed of all random numbers. With the same seed, `evaluate --episodes 1` plays the same episode."""
    max_steps: Annotated[int, arg(metavar="STEPS")] = 3000
    """Cut the episode off after this many steps."""
    trust_code: TrustCode = False

    def run(self) -> int:
        """Draws the episode, and returns the exit status."""
        check_seed(self.seed)
        config, agent = _load(self.run_dir, self.best, self.trust_code)
        from ppo_jax.host.pictures import film
        from ppo_jax.host.programs import episode

        film.check(config.env, self.output, config.env_args)
        played = episode.play(config, agent, self.seed, not self.sampled, self.max_steps)
        film.draw(played, self.output)
        print(film.describe(played, self.output))
        return 0


def find(path: Path, best: bool, trust_code: bool) -> Any:
    """Opens a run whose agent can be loaded. Anything that is missing is reported without importing JAX."""
    from ppo_jax.host.runs import policy, request
    from ppo_jax.host.runs.checkpoints import directories

    run = open_run(path)
    is_policy = not best and policy.is_newest(run)
    config = policy.load(run)[0] if is_policy else request.read(run).config
    if best:
        directories.find_best(run.checkpoints)
    request.find_code(run, config, trust_code)
    return run


def _load(path: Path, best: bool, trust_code: bool) -> tuple[Config, Any]:
    run = find(path, best, trust_code)
    readiness.check()
    from ppo_jax.host.runs import agents

    return agents.load(run, best, trust_code, say=lambda text: print(f"note: {text}", file=sys.stderr))
