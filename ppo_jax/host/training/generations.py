"""Population-based training, between its generations and after the last one."""

from typing import Any

import jax
import numpy as np

from ppo_jax.algorithm.train import agent_of
from ppo_jax.host.programs import evaluation, generation
from ppo_jax.host.runs import layout, members, points, population
from ppo_jax.host.runs.layout import Block
from ppo_jax.host.runs.population import Generation
from ppo_jax.host.training.block import SweepSession


def with_next_generation(session: SweepSession, block: Block) -> SweepSession:
    """Scores the members after a generation, and lets the worst of them copy others and explore.

    All of it follows from the state that was saved and from the seed, so that a sweep that was killed
    meanwhile comes to the same.

    Args:
        session: Everything that the sweep works with.
        block: The block of the generation.
    """
    asked = session.asked
    assert asked.population is not None
    saved = members.load_block(session.sweep, asked, block)
    assert saved is not None
    count, before = asked.num_members, layout.as_of(asked, block).latest_points
    ranges = asked.population.ranges
    values = {name: np.array([point[name] for point in before], np.float32) for name in ranges}
    # Folded, so that it repeats no random numbers of training or of evaluations.
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(asked.base.seed), 2), block.number)
    found = generation.end(
        block.group.base.config,
        asked.population.episodes,
        tuple(ranges.items()),
        key,
        agent_of(saved.state),
        np.asarray(saved.failed)[:count] > 0,
        values,
    )
    is_last = block.number == asked.population.generations - 1
    parents = [member if is_last else int(found.parents[member]) for member in range(count)]
    after = [
        point if parent == member else {name: float(found.values[name][member]) for name in ranges}
        for member, (parent, point) in enumerate(zip(parents, before, strict=True))
    ]
    new = Generation(
        scores=tuple(float(score) if np.isfinite(score) else None for score in found.scores),
        steps=int(found.steps.sum()),
        parents=tuple(parents),
        points=tuple(after),
    )
    known = [score for score in new.scores if score is not None]
    best = f"the best return is {max(known):.1f}" if known else "no member has a score"
    copies = sum(parent != member for member, parent in enumerate(parents))
    which = f"generation {block.number + 1} of {asked.population.generations}"
    session.screen.say(f"{which}: {best}; {copies} members copy another")
    return session._replace(asked=asked._replace(generations=(*asked.generations, new)))


def winner(session: SweepSession, block: Block, member: int) -> dict[str, Any]:
    """Describes the best member of a population: where it comes from, and how it does on fresh episodes.

    The agent that scored best has also been lucky, so it is evaluated once more, with other random numbers.

    Args:
        session: Everything that the sweep works with.
        block: The last block.
        member: The number of the member.
    """
    asked = session.asked
    saved = members.load_block(session.sweep, asked, block)
    assert saved is not None
    agent = agent_of(jax.tree.map(lambda x: x[member], saved.state))
    fresh = evaluation.run(
        block.group.base.config, agent, evaluation.EPISODES, greedy=False, seed=asked.base.seed
    )
    session.screen.say(f"the best agent, on fresh episodes: {evaluation.describe(fresh)}")
    ancestors = population.lineage(asked.generations, member)
    given = population.points_of(asked.points, asked.generations)
    return {
        "member": member,
        "fresh": evaluation.as_json(fresh),
        "ancestors": ancestors,
        "schedule": [points.to_json(then[ancestor]) for then, ancestor in zip(given, ancestors, strict=True)],
    }
