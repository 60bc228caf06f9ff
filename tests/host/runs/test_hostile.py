"""Run directories made to do harm: refused at once, without JAX, and nothing in them is carried out."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from ppo_jax.host.runs.checkpoints import manifest

# Prints whether JAX was imported, the largest memory in KiB, and the seconds of the processor.
PROGRAM = """
import resource, sys
from ppo_jax.cli import main
try:
    main()
finally:
    used = resource.getrusage(resource.RUSAGE_SELF)
    peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print("jax" in sys.modules, peak, used.ru_utime + used.ru_stime)
"""
MOST_SECONDS, MOST_KIB = 1.0, 200 * 1024


@pytest.fixture
def run(trained, tmp_path):
    """A run that stopped before its end."""
    shutil.copytree(trained.path, tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()
    return tmp_path / "run"


def checkpoint_of(run):
    return next((run / "checkpoints").iterdir())


def rewrite_config(run, **changes):
    content = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(content | changes))


def rewrite_manifest(run, **changes):
    """Writes the manifest with a digest that fits, as an attacker could."""
    path = checkpoint_of(run)
    content = manifest.read(path)._asdict() | changes
    (path / manifest.NAME).write_bytes(manifest._encode(content))


def climb_out_of_the_manifest(run):
    (run.parent / "secret").write_text("")
    files = manifest.read(checkpoint_of(run)).files
    rewrite_manifest(run, files=files | {"../../../secret": {"size": 0, "sha256": ""}})


def link_out_of_the_run(run):
    path = checkpoint_of(run) / "state" / "state" / "manifest.ocdbt"
    path.unlink()
    path.symlink_to("/etc/passwd")


def link_all_checkpoints_elsewhere(run):
    (run / "checkpoints").rename(run.parent / "elsewhere")
    (run / "checkpoints").symlink_to(run.parent / "elsewhere")


def put_a_pipe_in_place_of_the_metrics(run):
    (run / "metrics.jsonl").unlink()
    os.mkfifo(run / "metrics.jsonl")


def put_a_pipe_into_a_checkpoint(run):
    (checkpoint_of(run) / "manifest.json").unlink()
    os.mkfifo(checkpoint_of(run) / "manifest.json")


def claim_a_terabyte_of_layers(run):
    config = json.loads((run / "config.json").read_text())["config"]
    rewrite_config(run, config=config | {"hidden_sizes": [10**6, 10**6]})


def nest_the_configuration_deeply(run):
    (run / "config.json").write_text('{"config":' * 100_000)


def make_the_configuration_endless(run):
    os.truncate(run / "config.json", 2**40)


def give_the_manifest_wrong_magic(run):
    (checkpoint_of(run) / "manifest.json").write_bytes(b"\x80\x04\x95pickle")


def give_the_manifest_wrong_types(run):
    rewrite_manifest(run, files=[["state", 1]], leaves="all")


def give_the_configuration_wrong_types(run):
    rewrite_config(run, config=["env", 3], hyper={"gamma": {"a": []}}, seed="zero", options=7)


def name_an_environment_that_is_code(run):
    config = json.loads((run / "config.json").read_text())["config"]
    rewrite_config(run, config=config | {"env": "__import__('os').system('touch pwned')"}, preset="../../etc")


HARM = [
    climb_out_of_the_manifest,
    link_out_of_the_run,
    link_all_checkpoints_elsewhere,
    put_a_pipe_in_place_of_the_metrics,
    put_a_pipe_into_a_checkpoint,
    claim_a_terabyte_of_layers,
    nest_the_configuration_deeply,
    make_the_configuration_endless,
    give_the_manifest_wrong_magic,
    give_the_manifest_wrong_types,
    give_the_configuration_wrong_types,
    name_an_environment_that_is_code,
]


@pytest.mark.parametrize("do_harm", HARM)
def test_a_hostile_run_is_refused_within_a_second(run, do_harm):
    do_harm(run)
    before = sorted(run.parent.rglob("*"))
    command = [sys.executable, "-c", PROGRAM, "resume", run]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2, result
    assert result.stderr.startswith("ppo-jax: error: ")
    assert "Traceback" not in result.stderr
    imported, peak, seconds = result.stdout.split()
    assert imported == "False"
    assert int(peak) < MOST_KIB
    assert float(seconds) < MOST_SECONDS
    assert sorted(run.parent.rglob("*")) == before
