"""The whole life of a sweep: claim its directory, lock it, load JAX, train, rank, report, release it.

JAX is imported only after the request has been checked, so that a mistake is reported immediately.
"""

from pathlib import Path

from ppo_jax.errors import UsageError
from ppo_jax.host.monitor.screen import Screen, make_screen
from ppo_jax.host.programs import readiness
from ppo_jax.host.runs import code, directory, family, known, loading, origins
from ppo_jax.host.runs.family import SweepDirectory, SweepRequest
from ppo_jax.host.training.signals import Stop
from ppo_jax.host.training.start import released_after_a_mistake


def run(
    asked: SweepRequest,
    path: Path | None = None,
    resume: bool = False,
    cache_dir: Path | None = None,
    quiet: bool = False,
    trust_code: bool = False,
    stop: Stop | None = None,
) -> tuple[SweepDirectory, int]:
    """Carries out a sweep: trains its members, from a checkpoint if there is one, and fills its directory.

    Args:
        asked: The request of the sweep.
        path: The directory; by default a new one under `runs/`.
        resume: Whether to continue the sweep in `path`, if there is one.
        cache_dir: The directory that keeps compiled programs for later; by default none are kept.
        quiet: Whether to show nothing but errors.
        trust_code: Whether to use code of the user that has changed since the sweep was started.
        stop: The signals that ask the sweep to end early; by default those of the process.

    Returns:
        The directory, and the exit status: 0 if the sweep is done, 1 if it failed, 128 + the number of the
        signal that stopped it.

    Raises:
        UsageError: With every mistake, or if the directory cannot be used.
        DamageError: If the sweep was started before, but has no good checkpoint to continue from.
    """
    stop = stop or Stop()
    asked, sweep, is_new = _claim(asked, path, resume, trust_code)
    screen = make_screen(quiet, _total_steps(asked), None)
    with released_after_a_mistake(sweep, is_new), stop.listening(), directory.locked(sweep):
        _load(asked, sweep, screen, trust_code or is_new)
        from ppo_jax.host.programs import chunks
        from ppo_jax.host.training.sweep import SweepSession, train

        if cache_dir is not None:
            chunks.keep_compiled(cache_dir)
        return sweep, train(SweepSession(asked, sweep, screen, stop))


def _claim(
    asked: SweepRequest, path: Path | None, resume: bool, trust_code: bool
) -> tuple[SweepRequest, SweepDirectory, bool]:
    """Claims the directory of a sweep; returns what is asked as it was begun, and whether it is new."""
    if resume and path is not None and not directory.is_free(path):
        family.check(asked, environment=asked.base.config.env)
        sweep = family.open_existing(path)
        before = family.read(sweep)
        if not asked.base.policies:  # they were typed rather than read from the directory
            asked = asked._replace(base=origins.find_again(asked.base, before.base))
        if family.digest(before) != family.digest(asked):
            raise UsageError(
                f"run_dir = '{path}' is a sweep of other points, seeds or settings; give the same, or "
                "another --run-dir"
            )
        sources = code.check(before.base.config, before.base.sources, trust_code)
        return before._replace(base=before.base._replace(sources=sources)), sweep, False
    family.check(asked)
    base, found = origins.find(asked.base._replace(sources=code.locate(asked.base.config)))
    asked = asked._replace(base=base)
    label = f"{asked.base.label}-sweep"
    sweep = directory.create(path, label, family.to_json(asked), SweepDirectory)
    assert isinstance(sweep, SweepDirectory)
    known.keep(sweep, found)
    return asked, sweep, True


def _load(asked: SweepRequest, sweep: SweepDirectory, screen: Screen, trust_code: bool) -> None:
    screen.say(describe(asked))
    screen.say(f"directory of the sweep {sweep.path}")
    for remark in directory.limits(sweep):
        screen.say(f"note: {remark}")
    with screen.waiting("loading JAX"):
        from ppo_jax.host.programs import lanes

        lanes.use_all_cores()
        readiness.check()
        remarks = loading.load(asked.base.config, asked.base.sources, trust_code)
        origins.restore(sweep, asked.base, screen.say)
        known.load(sweep, asked.base, screen.say)
    for remark in remarks:
        screen.say(remark)


def _total_steps(asked: SweepRequest) -> int:
    """Returns the environment steps of all members, with those that train the best point again."""
    per_point = [asked.member(point * asked.num_seeds).total_steps for point in range(len(asked.points))]
    # Which points are trained on, and which one is trained again, is not known yet.
    again = max(per_point) if len(per_point) > 1 and asked.population is None else 0
    share = 1.0
    if asked.halving is not None:
        rungs, eta = asked.halving
        share = sum((1 - (rung > 0) / eta) * eta ** (1 - rungs) for rung in range(rungs))
    return round(asked.num_seeds * (sum(per_point) * share + again))


def describe(asked: SweepRequest) -> str:
    """Describes in a few lines what a sweep will do."""
    base = asked.base
    origin = f"preset {base.preset}" if base.preset else "default settings"
    if asked.population is not None:
        return _describe_population(asked, origin)
    varied = {name: len({repr(point.get(name)) for point in asked.points}) for name in asked.varied}
    names = ", ".join(f"{name} ({count} values)" for name, count in varied.items()) or "nothing but the seed"
    rungs, halving = "", asked.halving
    if halving is not None:
        rungs = f" in {halving.rungs} rungs, after each of which one in {halving.eta} points is left"
    return "\n".join(
        (
            f"PPO on {base.config.env}: {origin}; a sweep over {names}",
            f"{len(asked.points)} points x {asked.num_seeds} seeds = {asked.num_members:,} members, "
            f"about {_total_steps(asked):,} steps{rungs}; "
            f"the best point has the largest {asked.metric} at the end",
        )
    )


def _describe_population(asked: SweepRequest, origin: str) -> str:
    assert asked.population is not None
    ranges = ", ".join(f"{name} in {one}" for name, one in asked.population.ranges.items())
    return "\n".join(
        (
            f"PPO on {asked.base.config.env}: {origin}; a population searches {ranges}",
            f"{asked.num_members} members in {asked.population.generations} generations, "
            f"{_total_steps(asked):,} steps; after each, the score of a member is the mean return of "
            f"{asked.population.episodes} episodes",
        )
    )
