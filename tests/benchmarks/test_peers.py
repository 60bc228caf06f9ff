"""The comparison with peers: who takes part where, the protocol with a worker, failures, and ratios."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ppo_jax.host.programs.chunks import CPU_OPTIONS

PEERS = Path(__file__).parents[2] / "benchmarks" / "peers"
ECHO = "import json; print(json.dumps({'version': json.loads(input())}), flush=True); input()"  # of the job


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    """The scripts can be imported, and workers end soon."""
    monkeypatch.syspath_prepend(str(PEERS / "workers"))
    monkeypatch.syspath_prepend(str(PEERS))
    monkeypatch.setattr("worker.PATIENCE", 0.2)


def compare(*arguments, cwd):
    command = [sys.executable, str(PEERS / "compare.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False, timeout=600)


def make_job(num_envs=2, agents=1, cores=None):
    from peer import CORES
    from workers.protocol import Job

    return Job("CartPole-v1", num_envs, 8, 1, 1, agents, cores or CORES, seconds=0.1)


def start(script, tmp_path, xla="own", cores=1, source=None):
    """A contestant whose worker is a script."""
    from contestant import Contestant
    from peer import Peer
    from worker import Worker

    path = tmp_path / "worker.py"
    path.write_text(script)
    contestant = Contestant(Peer("a peer", path, source=source), make_job(), xla)
    contestant.start(lambda: Worker(Path(sys.executable), path, tmp_path / "log", 2.0, cores))
    return contestant


@pytest.mark.slow
def test_ours_is_measured_round_by_round_everywhere_and_with_all_options(tmp_path):
    flags = "--peers ours-library ours-command products --shapes 2x8 --agents 2 --on-one-core 2x8"
    rest = "--repeats 2 --seconds 0.01 --num-minibatches 2"
    result = compare(
        *flags.split(), *rest.split(), "--output", str(tmp_path / "new" / "out.json"), cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    content = json.loads((tmp_path / "new" / "out.json").read_text())
    assert content["xla_options"] == {"own": {}, "ours": CPU_OPTIONS}
    kinds = [
        ("ours-library", "own"),
        *((peer, "ours") for peer in ("ours-library", "ours-command", "products")),
    ]
    cores = content["outcomes"][0]["job"]["cores"]
    assert [
        (outcome["job"]["agents"], outcome["job"]["cores"], outcome["peer"], outcome["xla"])
        for outcome in content["outcomes"]
    ] == [(*place, *kind) for place in ((1, cores), (2, cores), (1, 1)) for kind in kinds]
    for outcome in content["outcomes"]:
        assert outcome["failure"] is None
        assert len(outcome["steps_per_second"]) == 2
        assert min(outcome["steps_per_second"]) > 0
        assert min(outcome["share_of_products"]) > 0
        assert (outcome["ours_over_peer"] == [1.0, 1.0]) == (outcome["peer"] == "ours-library")


def test_several_agents_and_few_cores_are_for_the_peers_that_were_chosen_for_it():
    from peer import CORES, PEERS, single_file

    everyone = {**PEERS, "a file": single_file(Path("ppo.py"), "a file")}
    chosen = {"products", "ours-library", "ours-command", "rejax", "a file"}
    assert {name for name, peer in everyone.items() if peer.takes(make_job(agents=64))} == chosen
    assert {name for name, peer in everyone.items() if peer.takes(make_job(cores=CORES + 1))} == chosen
    assert {name for name, peer in everyone.items() if peer.takes(make_job())} == set(everyone)
    assert {name for name, peer in PEERS.items() if not peer.takes(make_job(num_envs=64))} == {"sb3", "sbx"}


@pytest.mark.parametrize(("xla", "options"), [("own", {}), ("ours", CPU_OPTIONS)])
def test_a_worker_is_told_the_options_of_xla_and_its_file(xla, options, tmp_path):
    contestant = start(ECHO, tmp_path, xla, source=tmp_path)
    contestant.stop()
    told = contestant.outcome.version
    assert (told["options"], told["source"]) == (options, str(tmp_path))
    assert contestant.outcome.job == make_job()  # the same for all peers, so that they are compared


def test_a_worker_has_the_cores_that_it_is_pinned_to_and_no_flags_of_the_user(tmp_path, monkeypatch):
    from worker import Worker

    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_prefer_vector_width=128")
    path = tmp_path / "worker.py"
    path.write_text(
        "import json, os; input()\n"
        "print(json.dumps([len(os.sched_getaffinity(0)), os.environ['XLA_FLAGS']]).join(['{\"is\":', '}']))\n"
    )
    worker = Worker(Path(sys.executable), path, tmp_path / "log", 10.0, 1)
    assert worker.ask("go") == {"is": [1, ""]}
    worker.stop()


def test_as_many_updates_are_measured_as_take_about_as_long_as_asked():
    from workers.protocol import better_updates

    job = make_job()._replace(seconds=2.0)
    assert [better_updates(job, 10, taken) for taken in (1.0, 3.0)] == [10, 10]
    assert [better_updates(job, 10, taken) for taken in (0.5, 4.0, 100.0)] == [40, 5, 1]


@pytest.mark.parametrize(("seconds", "trials"), [(1e-5, 1), (10.0, 2)])
def test_a_training_of_fixed_length_is_compiled_for_the_length_that_is_measured(seconds, trials):
    """The first length is at least one update; a second is tried where the first takes far too short."""
    import fixed_length
    import jax

    lengths = []

    def make_train(total_timesteps):
        lengths.append(total_timesteps)
        return lambda scale, key: scale * jax.random.uniform(key)

    ready = fixed_length.prepare(make_job(agents=3)._replace(seconds=seconds), "1.0", make_train, 2.0)
    steps, taken = ready.train()
    assert (len(lengths), steps, ready.version) == (trials, 3 * lengths[-1], "1.0")
    assert taken > 0 < ready.compile_seconds


def test_a_training_of_fixed_length_is_compiled_with_the_options_of_the_job():
    import fixed_length
    import jax

    job = make_job()._replace(options={"no_such_option": True})
    with pytest.raises(Exception, match="no_such_option"):
        fixed_length.prepare(job, "1.0", lambda total_timesteps: jax.random.uniform)


def test_ratios_and_shares_are_taken_within_a_round_and_with_the_same_options(tmp_path):
    import report
    from contestant import Outcome

    def outcome(peer, xla, *rates, job=None):
        rounds = [{"steps": rate, "seconds": 1} for rate in rates]
        return Outcome(job or make_job(), peer, xla, None, "1.0", None, rounds)

    outcomes = [
        outcome("ours-library", "own", 20, 40),
        outcome("rejax", "own", 10, 10),
        outcome("products", "ours", 80, 160),
        outcome("ours-library", "ours", 60, 60),
        outcome("rejax", "ours", 20, 30),
        outcome("rejax", "own", 10, 10, job=make_job(cores=1000)),
    ]
    report.write(tmp_path / "record.json", {}, outcomes)
    written = json.loads((tmp_path / "record.json").read_text())["outcomes"]
    assert [row["ours_over_peer"] for row in written] == [[1, 1], [2, 4], [0.75, 0.375], [1, 1], [3, 2], []]
    assert written[1]["share_of_products"] == [10 / 80, 10 / 160]
    assert written[3]["share_of_products"] == [60 / 80, 60 / 160]
    assert written[5]["share_of_products"] == []


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("raise RuntimeError('no such package')", "no such package"),
        ("print('not JSON', flush=True); input()", "died"),
        ("import time; time.sleep(60)", "no answer within 2 s"),
    ],
)
def test_a_worker_that_fails_is_a_result_with_a_reason(script, message, tmp_path):
    """It ends, prints nonsense, or never answers; each time the reason is one line."""
    contestant = start(script, tmp_path)
    contestant.go()
    contestant.stop()
    assert message in contestant.outcome.failure
    assert "\n" not in contestant.outcome.failure
    assert contestant.outcome.rates == []


def test_a_file_finds_its_neighbours_and_the_package_that_it_is_in(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", sys.path.copy())
    import single_file_worker

    folder = tmp_path / "a_checkout_of_rl"
    folder.mkdir()
    (folder / "a_neighbour_of_ppo.py").write_text("LR = 'LR'")
    imports = "import a_neighbour_of_ppo\nfrom a_checkout_of_rl.a_neighbour_of_ppo import LR\n"
    (folder / "ppo.py").write_text(f"{imports}def make_train(config): return config[LR]")
    assert single_file_worker.load(folder / "ppo.py")({"LR": 0.5}) == 0.5


def test_a_missing_file_is_refused(tmp_path):
    result = compare("--peers", "ours-library", "--peer-path", str(tmp_path / "nowhere.py"), cwd=tmp_path)
    assert result.returncode
    assert "nowhere.py" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_unknown_peer_is_refused_with_the_names_of_the_known_ones(tmp_path):
    result = compare("--peers", "stable", cwd=tmp_path)
    assert result.returncode
    assert "rejax" in result.stderr
    assert "Traceback" not in result.stderr
