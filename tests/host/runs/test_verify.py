import shutil

import pytest

from ppo_jax.host.runs import verify
from ppo_jax.host.runs.directory import RunDirectory


@pytest.fixture
def run(trained, tmp_path):
    shutil.copytree(trained.path, tmp_path / "run")
    return tmp_path / "run"


def lines_about(run):
    return [verify.describe(finding) for finding in verify.verify(RunDirectory(run))]


def damage_the_configuration(run):
    (run / "config.json").write_text("{}")


def damage_the_metrics(run):
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(lines[:5] + lines[6:]))


def damage_a_line_of_the_metrics(run):
    (run / "metrics.jsonl").write_text("{\n" + (run / "metrics.jsonl").read_text())


def damage_the_summary(run):
    (run / "summary.json").write_text("[")


def damage_the_policy(run):
    path = run / "policy.safetensors"
    path.write_bytes(path.read_bytes()[:-4])


def damage_the_checkpoint(run):
    path = next((run / "checkpoints").rglob("_METADATA"))
    path.write_text("")


DAMAGES = {
    damage_the_configuration: "config.json",
    damage_the_metrics: "metrics.jsonl",
    damage_a_line_of_the_metrics: "metrics.jsonl",
    damage_the_summary: "summary.json",
    damage_the_policy: "policy.json",
    damage_the_checkpoint: "0000000031",
}


def test_a_whole_run_is_found_whole(run):
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"update": 32, "torn')
    lines = lines_about(run)
    assert len(lines) == 5
    assert all(line.startswith("ok ") for line in lines)
    assert lines[1].endswith("metrics.jsonl  31 updates")
    assert lines[-1].split()[1].endswith("checkpoints/0000000031")


@pytest.mark.parametrize(("damage", "name"), DAMAGES.items())
def test_what_is_damaged_is_named(run, damage, name):
    damage(run)
    damaged = [line for line in lines_about(run) if line.startswith("DAMAGED")]
    assert name in damaged[0]
