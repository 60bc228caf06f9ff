"""A sweep: each member is the run that it would be alone, whatever the blocks, stops and failures."""

import dataclasses
import json
import signal
import threading

import jax
import numpy as np
import pytest

import ppo_jax
from ppo_jax.errors import RunError, UsageError
from ppo_jax.host.runs import family, members
from ppo_jax.host.runs.checkpoints.manifest import DamageError
from ppo_jax.host.training import block as training_block
from tests.host.conftest import SMALL, run_command

pytestmark = pytest.mark.usefixtures("compiled_once", "blank_pictures", "four_devices")

CONFIG = dataclasses.replace(SMALL.config, total_timesteps=SMALL.config.batch_size * 12)
HYPER = SMALL.hyper
POINTS = ppo_jax.grid({"learning_rate": [1e-3, 3e-3], "env_args.length": [0.5, 0.9]})
SEEDS = 2
MEMBERS = len(POINTS) * SEEDS


def swept(path, points=POINTS, num_seeds=SEEDS, config=CONFIG, resume=False, **options):
    options = ppo_jax.SweepOptions(**{"metric": "episode_length", **options})
    return ppo_jax.run_sweep(config, points, num_seeds, HYPER, path, resume, options, quiet=True)


def tensors_of(sweep, number):
    return (sweep.member(number).path / "policy.safetensors").read_bytes()


def columns_of(run):
    return {name: column for name, column in run.metrics.items() if name != "seconds"}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    return swept(tmp_path_factory.mktemp("sweeps") / "sweep")


def alone(number, path):
    """The run of a member."""
    point = POINTS[number // SEEDS]
    config = dataclasses.replace(CONFIG, env_args={"length": point["env_args.length"]})
    hyper = HYPER._replace(learning_rate=point["learning_rate"])
    return ppo_jax.run(config, hyper, number % SEEDS, path, quiet=True)


def test_a_member_has_the_bits_of_the_run_that_it_would_be_alone(tmp_path):
    points = ppo_jax.grid({"learning_rate": [1e-3, 3e-3], "gamma": [0.9, 0.99]})
    sweep = swept(tmp_path / "sweep", points)
    for number in (0, 5):
        hyper = HYPER._replace(**points[number // SEEDS])
        run = ppo_jax.run(CONFIG, hyper, number % SEEDS, tmp_path / str(number), quiet=True)
        member = sweep.member(number)
        assert (member.config, member.hyper, member.seed) == (run.config, run.hyper, run.seed)
        assert_same(columns_of(member), columns_of(run))
        assert tensors_of(sweep, number) == (run.path / "policy.safetensors").read_bytes()
        assert member.evaluate(5) == run.evaluate(5)


@pytest.mark.long
def test_a_member_with_another_environment_is_its_run_up_to_rounding(sweep, tmp_path):
    """The run alone knows the length of the pole when it is compiled, and may compute in another order."""
    run, member = alone(7, tmp_path / "run"), sweep.member(7)
    assert (member.config, member.hyper, member.seed) == (run.config, run.hyper, run.seed)
    assert member.metrics["episodes"].tolist() == run.metrics["episodes"].tolist()
    for name, column in columns_of(member).items():
        np.testing.assert_allclose(column, run.metrics[name], rtol=1e-3, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("size", [1, pytest.param(5, marks=pytest.mark.long)])
def test_blocks_of_any_size_give_the_same_bits(sweep, tmp_path, size):
    other = swept(tmp_path / "other", block_size=size)
    assert len(list((other.path / "blocks").iterdir())) > 1 + 1  # that of the best point comes last
    for number in range(MEMBERS):
        assert tensors_of(other, number) == tensors_of(sweep, number)
        assert_same(columns_of(other.member(number)), columns_of(sweep.member(number)))
    assert other.summary["ranking"] == sweep.summary["ranking"]


def test_the_ranking_names_each_point_and_the_best_is_trained_again_from_other_seeds(sweep):
    ranked, again = sweep.summary["ranking"], sweep.summary["winner_from_other_seeds"]
    assert sorted(row["point"] for row in ranked) == list(range(len(POINTS)))
    assert [row["iqm"] for row in ranked] == sorted((row["iqm"] for row in ranked), reverse=True)
    for row in ranked:
        last = sweep.metrics(row["point"])["episode_length"][:, -1]
        np.testing.assert_allclose(row["scores"], last)
    assert again["point"] == ranked[0]["point"]
    fresh = sweep.member(MEMBERS + 1)
    assert fresh.seed == SEEDS + 1
    assert fresh.hyper.learning_rate == ranked[0]["values"]["learning_rate"]


def test_there_is_one_compilation_for_all_points_and_one_file_for_all_metrics(sweep):
    files = sorted(path.name for path in sweep.path.glob("metrics-*.npy"))
    assert files == ["metrics-0.npy", "metrics-1.npy"]  # the second is that of the best point
    whole = np.load(sweep.path / "metrics-0.npy", mmap_mode="r")[0]
    assert whole["episode_length"].shape == (MEMBERS, CONFIG.num_updates)


@pytest.mark.long
def test_points_of_several_sizes_are_grouped_and_run_one_after_the_other(tmp_path):
    points = ppo_jax.grid({"num_steps": [8, 16], "gamma": [0.9, 0.99]})
    sweep = swept(tmp_path / "sweep", points, num_seeds=1)
    lengths = [len(sweep.member(number).metrics["update"]) for number in range(4)]
    batch = CONFIG.num_envs
    assert lengths == [CONFIG.total_timesteps // (batch * steps) for steps in (8, 8, 16, 16)]
    assert (sweep.path / "metrics-2.npy").exists()


def test_a_sweep_that_is_stopped_resumes_to_the_same_bits(sweep, tmp_path, monkeypatch):
    """It stops twice: in the middle of a block, and between two blocks."""
    original, calls = training_block.BlockLoop._advance, []

    def advance(loop, until):
        original(loop, until)
        calls.append(loop.training.update)
        if len(calls) == 3:
            loop.session.stop.signal = signal.SIGINT

    monkeypatch.setattr(training_block.BlockLoop, "_advance", advance)
    with pytest.raises(KeyboardInterrupt, match="to continue: ppo-jax resume"):
        swept(tmp_path / "sweep", block_size=4, checkpoint_every=2)
    assert ppo_jax.open_sweep(tmp_path / "sweep").summary["status"] == "interrupted"
    assert len(calls) == 3
    resumed = swept(tmp_path / "sweep", resume=True, block_size=4, checkpoint_every=2)
    assert calls[3] > calls[2]  # it went on, rather than began again
    for number in range(MEMBERS):
        assert tensors_of(resumed, number) == tensors_of(sweep, number)
        assert_same(columns_of(resumed.member(number)), columns_of(sweep.member(number)))
    assert resumed.summary["ranking"] == sweep.summary["ranking"]


def test_a_checkpoint_is_saved_after_the_metrics_of_its_updates(tmp_path, monkeypatch):
    path, found = tmp_path / "sweep", []
    save = training_block.store.save

    def noting(place, saved, progress):
        if place.path.name == "checkpoints":
            seconds = np.load(path / "metrics-0.npy")[0]["seconds"]
            found.append((progress.update, int((seconds[0] > 0).sum())))
        save(place, saved, progress)

    monkeypatch.setattr(training_block.store, "save", noting)
    swept(path, checkpoint_every=4)
    assert found[:3] == [(4, 4), (8, 8), (12, 12)]  # then the best point is trained from other seeds


# the newest, or all that are kept
@pytest.mark.parametrize("count", [1, pytest.param(3, marks=pytest.mark.long)])
def test_a_checkpoint_that_is_damaged_is_skipped_and_costs_no_bit(sweep, tmp_path, monkeypatch, count):
    original = training_block.BlockLoop._advance

    def advance(loop, until):
        original(loop, until)
        if loop.training.update == 8:
            loop.session.stop.signal = signal.SIGTERM

    with monkeypatch.context() as patched:
        patched.setattr(training_block.BlockLoop, "_advance", advance)
        with pytest.raises(SystemExit):
            swept(tmp_path / "sweep", checkpoint_every=2)
    checkpoints = sorted((tmp_path / "sweep" / "checkpoints").iterdir(), reverse=True)
    for path in checkpoints[:count]:
        damage(path)
    resumed = swept(tmp_path / "sweep", resume=True, checkpoint_every=2)
    assert tensors_of(resumed, 3) == tensors_of(sweep, 3)


def test_a_sweep_that_dies_between_the_last_checkpoint_and_the_end_of_a_block_loses_no_score(
    sweep, tmp_path, monkeypatch
):
    def die(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(training_block.members, "finished", die)
        patched.setattr(members, "load_block", lambda *arguments: None)
        with pytest.raises(RunError):
            swept(tmp_path / "sweep", block_size=4, checkpoint_every=12)
    resumed = swept(tmp_path / "sweep", resume=True, block_size=4, checkpoint_every=12)
    assert resumed.summary["ranking"] == sweep.summary["ranking"]
    assert resumed.summary["winner_from_other_seeds"] == sweep.summary["winner_from_other_seeds"]


def damage(directory):
    """Flips a bit of the largest file."""
    victim = max(
        (path for path in directory.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size
    )
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)


@pytest.mark.long
def test_a_finished_block_that_is_damaged_is_set_aside_and_trained_again(sweep, tmp_path):
    other = swept(tmp_path / "sweep", block_size=4)
    damage(other.path / "blocks" / "0000000000")
    with pytest.raises(DamageError):
        other.member(0)
    again = swept(tmp_path / "sweep", resume=True, block_size=4)
    assert (other.path / "blocks" / "0000000000.damaged1").exists()
    assert again.summary["ranking"] == sweep.summary["ranking"]
    assert tensors_of(again, 0) == tensors_of(sweep, 0)


def test_one_member_that_fails_is_marked_and_changes_no_other(sweep, tmp_path):
    points = [*POINTS[:1], {"learning_rate": 3e38, "max_grad_norm": np.inf}]
    other = swept(tmp_path / "sweep", points)
    assert other.summary["status"] == "done"
    assert set(other.summary["failed_members"]) == {"2", "3"}
    assert [row["failed_seeds"] for row in other.summary["ranking"]] == [[], [0, 1]]
    assert tensors_of(other, 0) == tensors_of(sweep, 0)
    failed = other.member(2)
    assert failed.summary["status"] == "failed"
    update = other.summary["failed_members"]["2"]
    assert len(failed.metrics["update"]) == update
    assert np.isnan(failed.metrics["policy_loss"][-1]) or np.isnan(failed.metrics["grad_norm"][-1])
    assert not (failed.path / "policy.safetensors").exists()


def test_if_all_members_fail_the_sweep_has_failed(tmp_path):
    with pytest.raises(RunError, match="failed"):
        swept(tmp_path / "sweep", [{"learning_rate": 3e38, "max_grad_norm": np.inf}])


@pytest.mark.long
def test_a_member_is_plotted_reported_verified_and_extended_like_a_run(sweep, capsys):
    path = sweep.path / "members" / "1"
    for command in (
        ["plot", path],
        ["report", path],
        ["verify", path],
        ["evaluate", path, "--episodes", "3"],
    ):
        assert run_command(*map(str, command)) == 0, capsys.readouterr()
    assert run_command("resume", str(path), "--total-timesteps", str(CONFIG.total_timesteps * 2)) == 0
    assert json.loads((path / "summary.json").read_text())["updates"] == CONFIG.num_updates * 2
    assert run_command("report", str(sweep.path)) == 0
    page = (sweep.path / "report.html").read_text()
    for title in ("Ranking", "Learning curves", "Sensitivity", "Return against cost"):
        assert title in page
    assert "<script" not in page


@pytest.mark.parametrize("command", ["evaluate", "plot", "verify"])
def test_a_sweep_itself_is_no_run(sweep, command, capsys):
    assert run_command(command, str(sweep.path)) == 2
    assert "is a sweep; give one of its members" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["99", "10"])
def test_a_member_that_does_not_exist_is_refused(sweep, number, capsys):
    assert run_command("evaluate", str(sweep.path / "members" / number)) == 2
    assert "the sweep has 10 members; give a number from 0 to 9" in capsys.readouterr().err


def test_another_sweep_in_the_same_directory_is_refused(sweep):
    with pytest.raises(UsageError, match="is a sweep of other points, seeds or settings"):
        swept(sweep.path, POINTS[:2], resume=True)
    with pytest.raises(UsageError, match="a run is never overwritten"):
        swept(sweep.path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"points": []}, "there is no point to train"),
        ({"points": [{"gamma": 2.0}]}, "gamma = 2.0 is not a number that is between 0 and 1"),
        ({"points": [{"learning_rat": 1.0}]}, "did you mean 'learning_rate'"),
        ({"points": [{"num_envs": 7}, {"num_minibatches": 5}]}, "is not divisible by num_minibatches"),
        ({"points": [{"env_args.length": "long"}]}, "does not fit env = 'CartPole-v1'"),
        ({"points": [{"env_args.lenght": 1.0}]}, "is unknown for env = 'CartPole-v1'"),
        ({"num_seeds": 0}, "seeds = 0 is not an int of at least 1"),
        ({"num_seeds": 2**31}, "exceeds|members; give at most"),
        ({"points": [{"total_timesteps": 10**15}]}, "a sweep has room for the metrics of 2147483647"),
        ({"metric": "return"}, "metric = 'return' does not exist"),
        ({"block_size": 0}, "block_size = 0 is not an int of at least 1"),
        ({"checkpoint_every": 0}, "checkpoint_every = 0 is not at least 1"),
        ({"seed": -1}, "seed = -1 is not an int"),
    ],
)
def test_a_mistake_is_named_with_the_rule_and_leaves_no_directory(tmp_path, changes, told):
    with pytest.raises(UsageError, match=told):
        swept(tmp_path / "sweep", **changes)
    assert not (tmp_path / "sweep").exists()


def test_what_is_asked_comes_back_from_its_file(sweep):
    asked = family.read(family.open_existing(sweep.path))
    assert family.from_json(family.to_json(asked)) == asked
    assert len(members.groups_of(asked)) == 2
    for damaged in ({"points": 3}, {"num_seeds": "x"}, {"winner": 99}, {"block_sizes": None}):
        with pytest.raises(UsageError):
            family.from_json({**family.to_json(asked), **damaged})


@pytest.mark.long
def test_a_number_of_the_environment_on_which_a_space_depends_is_compiled_anew(tmp_path):
    config = dataclasses.replace(CONFIG, env="Pendulum-v1", env_args={})
    points = ppo_jax.grid({"env_args.max_torque": [1.0, 2.0]})
    sweep = swept(tmp_path / "sweep", points, 1, config)
    tables = [np.load(sweep.path / f"metrics-{group}.npy", mmap_mode="r")[0] for group in range(2)]
    assert [table["entropy"].shape[0] for table in tables] == [1, 1]


@pytest.mark.long
def test_it_trains_outside_of_the_main_thread_too(tmp_path):
    done = []
    thread = threading.Thread(target=lambda: done.append(swept(tmp_path / "sweep", POINTS[:1], 1)))
    thread.start()
    thread.join()
    assert done[0].summary["status"] == "done"
    assert len(jax.local_devices()) == 4  # each with a lane of its own


# Successive halving

NINE = ppo_jax.grid({"learning_rate": [1e-3, 2e-3, 4e-3], "gamma": [0.9, 0.95, 0.99]})
HALVING = ppo_jax.Halving(rungs=2, eta=3)


@pytest.fixture(scope="module")
def halved(tmp_path_factory):
    return swept(tmp_path_factory.mktemp("halved") / "sweep", NINE, halving=HALVING)


def test_after_each_rung_the_best_third_is_trained_on_to_the_bits_of_its_run(halved, tmp_path):
    ranked = halved.summary["ranking"]
    asked = family.read(family.open_existing(halved.path))
    (left,) = asked.survivors
    assert len(left) == 3
    assert {row["point"] for row in ranked[:3]} == set(left)
    number = ranked[0]["point"] * SEEDS
    member = halved.member(number)
    run = ppo_jax.run(CONFIG, HYPER._replace(**NINE[number // SEEDS]), 0, tmp_path / "run", quiet=True)
    assert_same(columns_of(member), columns_of(run))
    assert tensors_of(halved, number) == (run.path / "policy.safetensors").read_bytes()


def test_the_first_rung_decides_by_the_scores_after_a_third_of_the_updates(halved):
    third = CONFIG.num_updates // 3
    scores = [halved.metrics(point)["episode_length"][:, third - 1] for point in range(9)]
    means = [np.nanmean(row) for row in scores]  # of two seeds, which is their interquartile mean
    (left,) = family.read(family.open_existing(halved.path)).survivors
    assert set(left) == set(np.argsort(means)[-3:].tolist())


def test_it_takes_fewer_steps_and_says_so(halved):
    whole = len(NINE) * SEEDS * CONFIG.total_timesteps
    again = SEEDS * CONFIG.total_timesteps
    assert halved.summary["env_steps"] == whole * (1 / 3 + 2 / 9) + again


@pytest.mark.long
def test_a_member_that_was_left_behind_can_be_trained_to_its_end(halved, tmp_path):
    number = halved.summary["ranking"][-1]["point"] * SEEDS
    member = halved.member(number)
    assert member.summary["status"] == "interrupted"
    assert len(member.metrics["update"]) == CONFIG.num_updates // 3
    assert run_command("resume", str(member.path)) == 0
    run = ppo_jax.run(CONFIG, HYPER._replace(**NINE[number // SEEDS]), 0, tmp_path / "run", quiet=True)
    assert_same(columns_of(ppo_jax.open_run(member.path)), columns_of(run))


# chunks: in the first rung, and in the second
@pytest.mark.parametrize("when", [pytest.param(2, marks=pytest.mark.long), 5])
def test_halving_resumes_to_the_same_bits(halved, tmp_path, monkeypatch, when):
    original, calls = training_block.BlockLoop._advance, []

    def advance(loop, until):
        original(loop, until)
        calls.append(loop.training.update)
        if len(calls) == when:
            loop.session.stop.signal = signal.SIGTERM

    with monkeypatch.context() as patched:
        patched.setattr(training_block.BlockLoop, "_advance", advance)
        with pytest.raises(SystemExit):
            swept(tmp_path / "sweep", NINE, halving=HALVING, checkpoint_every=3)
    resumed = swept(tmp_path / "sweep", NINE, resume=True, halving=HALVING, checkpoint_every=3)
    assert resumed.summary["ranking"] == halved.summary["ranking"]
    best = halved.summary["ranking"][0]["point"] * SEEDS
    assert tensors_of(resumed, best) == tensors_of(halved, best)


@pytest.mark.parametrize("halving", [(1, 3), (2, 1), (3, 9), (2, 10), (2.5, 3), (4, 2)])
def test_rungs_that_cannot_be_climbed_are_refused(tmp_path, halving):
    with pytest.raises(UsageError, match=r"cannot be climbed|need at least|too few"):
        swept(tmp_path / "sweep", NINE[:7], halving=ppo_jax.Halving(*halving))
