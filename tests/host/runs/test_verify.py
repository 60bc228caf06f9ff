import shutil

import pytest

from tests.host.conftest import run_command


@pytest.fixture
def run(trained, tmp_path):
    shutil.copytree(trained.path, tmp_path / "run")
    return tmp_path / "run"


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


def test_a_whole_run_is_found_whole(run, capsys):
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"update": 32, "torn')
    assert run_command("verify", run) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert all(line.startswith("ok ") for line in lines)
    assert lines[1].endswith("metrics.jsonl  31 updates")
    assert lines[-1].split()[1].endswith("checkpoints/0000000031")


@pytest.mark.parametrize(("damage", "name"), DAMAGES.items())
def test_what_is_damaged_is_named(run, capsys, damage, name):
    damage(run)
    assert run_command("verify", run) == 1
    damaged = [line for line in capsys.readouterr().out.splitlines() if line.startswith("DAMAGED")]
    assert name in damaged[0]
