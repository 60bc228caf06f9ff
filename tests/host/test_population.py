"""A population: the worst members copy the best after each generation, whatever the stops and failures."""

import dataclasses
import json
import shutil
import signal

import chex
import jax
import numpy as np
import pytest

import ppo_jax
from ppo_jax.errors import UsageError
from ppo_jax.host.runs import family, members, population
from ppo_jax.host.runs.points import Range
from ppo_jax.host.training import block as training_block
from tests.host.conftest import SMALL, run_command
from tests.host.test_sweeps import HYPER, assert_same, columns_of, damage, tensors_of

pytestmark = pytest.mark.usefixtures("compiled_once", "blank_pictures", "four_devices")

CONFIG = dataclasses.replace(SMALL.config, total_timesteps=SMALL.config.batch_size * 14)
RANGES = {"learning_rate": Range(1e-5, 1e-2, is_log=True), "gamma": Range(0.9, 0.99)}
POPULATION = ppo_jax.Population(generations=4, ranges=RANGES, episodes=3)
SIZE = 5  # which four devices do not divide
ENDS = [3, 7, 10, 14]  # of the generations, in updates
POINTS = ppo_jax.sample(RANGES, SIZE, seed=1)


def bred(path, resume=False, points=POINTS, search=POPULATION, config=CONFIG, num_seeds=1, **options):
    options = ppo_jax.SweepOptions(population=search, **options)
    return ppo_jax.run_sweep(config, points, num_seeds, HYPER, path, resume, options, quiet=True)


def asked_of(sweep):
    return family.read(family.open_existing(sweep.path))


def states_of(sweep):
    """The arrays of all members after the last generation."""
    return [tensors_of(sweep, number) for number in range(SIZE)]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    return bred(tmp_path_factory.mktemp("population") / "sweep")


def assert_same_sweep(one, other):
    assert asked_of(one).generations == asked_of(other).generations
    for name in ("ranking", "winner", "evaluation_steps", "env_steps", "failed_members"):
        assert one.summary[name] == other.summary[name], name
    assert states_of(one) == states_of(other)
    for number in range(SIZE):
        assert_same(columns_of(one.member(number)), columns_of(other.member(number)))


def test_after_each_generation_the_worst_members_copy_the_best(sweep):
    generations = asked_of(sweep).generations
    assert len(generations) == POPULATION.generations
    for one in generations[:-1]:
        order = sorted(
            range(SIZE), key=lambda member: -one.scores[member]
        )  # the best first; of equals, the first
        best, others, worst = order[:2], order[2:3], order[3:]
        for member in (*best, *others):
            assert one.parents[member] == member
        for member in worst:
            donor = one.parents[member]
            is_copy = donor != member
            assert donor in best if is_copy else one.scores[member] == one.scores[best[-1]]
            assert (one.points[member] != one.points[donor]) == is_copy
    assert generations[-1].parents == tuple(range(SIZE))
    assert generations[-1].points == generations[-2].points


def test_every_member_trains_with_the_values_of_its_generation(sweep):
    asked = asked_of(sweep)
    given = population.points_of(asked.points, asked.generations)
    for number in range(SIZE):
        rates = sweep.metrics(number)["learning_rate"][0]  # falls to 0 linearly
        for points, first, end in zip(given, [0, *ENDS], ENDS, strict=False):
            updates = np.arange(first, end)
            expected = points[number]["learning_rate"] * (1 - updates / CONFIG.num_updates)
            np.testing.assert_allclose(rates[first:end], expected, rtol=1e-5)


def test_a_member_that_never_copied_is_the_run_that_it_would_be_alone(sweep, tmp_path):
    generations = asked_of(sweep).generations
    alone = [m for m in range(SIZE) if all(one.parents[m] == m for one in generations)]
    number = alone[0]
    run = ppo_jax.run(CONFIG, HYPER._replace(**POINTS[number]), number, tmp_path / "run", quiet=True)
    member = sweep.member(number)
    assert (member.config, member.hyper, member.seed) == (run.config, run.hyper, run.seed)
    assert_same(columns_of(member), columns_of(run))
    assert tensors_of(sweep, number) == (run.path / "policy.safetensors").read_bytes()


@pytest.mark.long
def test_a_member_that_copies_goes_on_from_all_arrays_of_its_parent_but_the_key(tmp_path, monkeypatch):
    original, compared = members.load_start, []

    def load_start(sweep, asked, blocks, block):
        start = original(sweep, asked, blocks, block)
        before = members.load_block(sweep, asked, blocks[block.number - 1])
        parents = asked.generations[block.number - 1].parents
        for member, parent in enumerate(parents):
            one = jax.tree.map(lambda x, member=member: x[member], start.state)
            other = jax.tree.map(lambda x, parent=parent: x[parent], before.state)
            chex.assert_trees_all_equal(one._replace(key=0), other._replace(key=0))
            compared.append(member != parent)
        chex.assert_trees_all_equal(start.state.key, before.state.key)
        return start

    monkeypatch.setattr(training_block.members, "load_start", load_start)
    bred(tmp_path / "sweep")
    assert len(compared) == 3 * SIZE
    assert any(compared)


def test_the_summary_has_the_final_scores_the_winner_and_where_it_comes_from(sweep):
    asked, winner, ranked = asked_of(sweep), sweep.summary["winner"], sweep.summary["ranking"]
    last = asked.generations[-1]
    assert [row["iqm"] for row in ranked] == sorted(last.scores, reverse=True)
    assert winner["member"] == ranked[0]["point"]
    assert ranked[0]["values"] == winner["schedule"][-1] == dict(last.points[winner["member"]])
    assert len(winner["schedule"]) == POPULATION.generations
    fresh = sweep.member(winner["member"]).evaluate(100, greedy=False, seed=0)
    assert winner["fresh"]["mean"] == fresh.mean
    assert sweep.summary["winner_from_other_seeds"] is None
    assert sweep.summary["evaluation_steps"] == sum(one.steps for one in asked.generations)
    assert sweep.summary["env_steps"] == SIZE * CONFIG.num_updates * CONFIG.batch_size


def test_only_the_newest_states_are_kept(sweep):
    assert sorted(path.name for path in (sweep.path / "blocks").iterdir()) == [
        f"{number:010}" for number in (1, 2, 3)
    ]


# chunks: in the first generation, and in a later one
@pytest.mark.long
@pytest.mark.parametrize("when", [2, 5])
def test_a_population_that_is_stopped_resumes_to_the_same_bits(sweep, tmp_path, monkeypatch, when):
    original, calls = training_block.BlockLoop._advance, []

    def advance(loop, until):
        original(loop, until)
        calls.append(loop.training.update)
        if len(calls) == when:
            loop.session.stop.signal = signal.SIGINT

    with monkeypatch.context() as patched:
        patched.setattr(training_block.BlockLoop, "_advance", advance)
        with pytest.raises(KeyboardInterrupt):
            bred(tmp_path / "sweep", checkpoint_every=2)
    assert ppo_jax.open_sweep(tmp_path / "sweep").summary["winner"] is None
    assert_same_sweep(bred(tmp_path / "sweep", resume=True, checkpoint_every=2), sweep)


@pytest.mark.parametrize("count", [2, pytest.param(3, marks=pytest.mark.long)])  # the newest, or all
def test_states_that_are_damaged_are_trained_again_to_the_same_bits(sweep, tmp_path, count):
    shutil.copytree(sweep.path, tmp_path / "sweep")
    other = ppo_jax.open_sweep(tmp_path / "sweep")
    for path in sorted((other.path / "blocks").iterdir(), reverse=True)[:count]:
        damage(path)
    assert_same_sweep(bred(other.path, resume=True), sweep)


def test_a_member_that_fails_copies_another_and_is_no_failure_any_more(tmp_path):
    ranges = {"learning_rate": Range(1e-4, 3e38, is_log=True), "max_grad_norm": Range(0.5, 1e38, is_log=True)}
    points = [{"learning_rate": 1e-3, "max_grad_norm": 0.5}] * (SIZE - 2)
    points += [{"learning_rate": 3e38, "max_grad_norm": 1e38}] * 2
    search = ppo_jax.Population(generations=2, ranges=ranges, episodes=3)
    sweep = bred(tmp_path / "sweep", points=points, search=search)
    first = asked_of(sweep).generations[0]
    assert first.scores[3:] == (None, None)
    assert set(first.parents[3:]) <= {0, 1, 2}
    assert all(np.isfinite(first.scores[parent]) for parent in first.parents)
    rates = [point["learning_rate"] for point in first.points]
    assert set(sweep.summary["failed_members"]) <= {str(n) for n in range(SIZE) if rates[n] > 1}


@pytest.mark.long
def test_a_member_is_extended_with_its_last_values(sweep):
    path = sweep.path / "members" / "1"
    assert run_command("evaluate", path, "--episodes", "3") == 0
    assert run_command("resume", path, "--total-timesteps", str(CONFIG.total_timesteps * 2)) == 0
    member = ppo_jax.open_run(path)
    assert len(member.metrics["update"]) == CONFIG.num_updates * 2
    assert member.hyper.gamma == asked_of(sweep).generations[-1].points[1]["gamma"]


def test_the_report_draws_the_generations(sweep):
    assert run_command("report", sweep.path) == 0
    page = (sweep.path / "report.html").read_text()
    for text in ("a population in 4 generations", "Generations", "On fresh episodes", "learning_rate of all"):
        assert text in page
    assert "Sensitivity" not in page


@pytest.mark.long
def test_the_command_line_asks_for_the_same(tmp_path):
    ranges = ("--learning-rate", "log:1e-5..1e-2", "--gamma", "0.9..0.99")
    size = ("--num-envs", "2", "--num-steps", "8", "--num-epochs", "1", "--total-timesteps", "64")
    search = ("--population", "4", "--generations", "2", "--quiet", "--run-dir", str(tmp_path / "sweep"))
    assert run_command("sweep", *ranges, *size, *search) == 0
    asked = family.read(family.open_existing(tmp_path / "sweep"))
    assert asked.population == ppo_jax.Population(2, RANGES)
    assert asked.points == tuple(ppo_jax.sample(RANGES, 4, seed=0))
    assert run_command("resume", str(tmp_path / "sweep"), "--quiet") == 0


def test_what_is_asked_and_what_has_come_of_it_come_back_from_the_file(sweep):
    asked = asked_of(sweep)
    content = json.loads(json.dumps(family.to_json(asked)))
    assert family.from_json(content) == asked
    first = content["generations"][0]
    for damaged in (
        {"population": {}},
        {"population": {**content["population"], "ranges": {"gamma": [0.9]}}},
        {"generations": [{**first, "parents": [0]}]},
        {"generations": [{**first, "parents": [9] * SIZE}]},
        {"generations": [{**first, "points": [{"gama": 1.0}] * SIZE}]},
    ):
        with pytest.raises(UsageError):
            family.from_json({**content, **damaged})


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"points": POINTS[:3]}, "a population of 3 is too small"),
        ({"points": [{"gamma": 0.95}] * 4}, "is not a value for each range and in it"),
        ({"points": [{"learning_rate": 1.0, "gamma": 0.95}] * 4}, "is not a value for each range and in it"),
        ({"num_seeds": 2}, "has a seed of its own; leave seeds out"),
        ({"search": POPULATION._replace(generations=1)}, "generations = 1 is not an int of at least 2"),
        ({"search": POPULATION._replace(generations=15)}, "a run has 14 updates, too few for 15 generations"),
        ({"search": POPULATION._replace(episodes=0)}, "episodes = 0 is not an int of at least 1"),
        ({"search": POPULATION._replace(ranges={})}, "has nothing to search"),
        ({"search": POPULATION._replace(ranges={"gama": Range(0, 1)})}, "did you mean 'gamma'"),
        ({"search": POPULATION._replace(ranges={"gamma": [0.9, 1]})}, "is not a range"),
        ({"search": POPULATION._replace(ranges={"gamma": Range(0.9, 0.8)})}, "finite and in order"),
        ({"search": POPULATION._replace(ranges={"gamma": Range(0.9, 1.5)})}, "gamma = 1.5 is not a number"),
        ({"search": POPULATION._replace(ranges={"num_envs": Range(1, 2)})}, "because it decides the program"),
        (
            {"search": POPULATION._replace(ranges={"env_args.length": Range(0.5, 1)})},
            "because it decides the task",
        ),
        ({"halving": ppo_jax.Halving(2, 2)}, "is not for a population"),
        ({"block_size": 4}, "block_size = 4 is not for a population"),
        ({"metric": "entropy"}, "metric = 'entropy' is not for a population"),
        ({"seed": 2**32 - 2}, "exceeds"),
    ],
)
def test_a_mistake_is_named_with_the_rule_and_leaves_no_directory(tmp_path, changes, told):
    with pytest.raises(UsageError, match=told):
        bred(tmp_path / "sweep", **changes)
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--gamma", "0.9", "0.99"), "gamma has several values"),
        (("--gamma", "0.9..0.99", "--samples", "4"), "population and samples both say"),
        (("--gamma", "0.9..0.99", "--points", "x.json"), "population and points both say"),
        ((), "has nothing to search"),
    ],
)
def test_a_mistake_at_the_command_line_is_named(flags, told, capsys):
    assert run_command("sweep", "--population", "8", *flags) == 2
    assert told in capsys.readouterr().err


def test_members_that_do_not_fit_into_memory_at_once_are_refused(tmp_path, monkeypatch):
    from ppo_jax.host.training import sweep as training_sweep

    monkeypatch.setattr(training_sweep.lanes, "num_lanes", lambda *arguments: 4)
    with pytest.raises(UsageError, match="only 4 members of the population fit into memory at once"):
        bred(tmp_path / "sweep")
