"""Runs in a notebook: trained, plotted, resumed and evaluated from its cells, and interrupted."""

import os
import signal
import threading
import time

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from tests.survival.test_own_code import FILES

pytestmark = pytest.mark.long

SETTING = """
import tests.conftest  # the tests' own compilation cache
import jax
jax.config.update("jax_numpy_rank_promotion", "allow")
import ppo_jax
from tests.support.own import networks
from tests.support.own.reach import Reach
sizes = dict(num_envs=8, num_steps=16, total_timesteps=2560, hidden_sizes=(8,))
"""
TRAIN = """
ppo_jax.register("reach", Reach)
ppo_jax.register_network("linear", networks.of_plain_jax)
config = ppo_jax.Config("reach", network="linear", env_args={"speed": 0.3}, **sizes)
with ppo_jax.start_run(config, run_dir="run") as training:
    for metrics in training:
        break
"""
RESUME = """
run = ppo_jax.run(config, run_dir="run", resume=True)
print(run)
print(len(run.metrics["reached"]), "updates", run.summary["status"])
"""
LOOK = """
print(run.evaluate(5).episodes, "episodes")
print(run.player().act([0.0, 1.0]).shape)
run.report("report.html")
from IPython.display import Image
Image(run.plot("plot.png"))
"""
FILE = """
config = ppo_jax.Config("corridor.py:corridor", memory_size=4, **sizes)
run = ppo_jax.run(config, run_dir="corridor", quiet=True)
print(ppo_jax.open_run("corridor").evaluate(5).episodes, "episodes in the corridor")
network = ppo_jax.Config(network="networks.py:of_flax", **sizes)
print(ppo_jax.run(network, run_dir="flax", quiet=True).summary["status"])
"""
ENDLESS = """
config = ppo_jax.Config(**{**sizes, "total_timesteps": 10**9})
ppo_jax.run(config, run_dir="endless")
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in ("corridor.py", "networks.py"):
        (tmp_path / name).write_text(FILES[name].read_text())
    monkeypatch.setenv("PYTHONPATH", str(FILES["corridor.py"].parents[1]))
    return tmp_path


def text_of(cell):
    """Everything that a cell has shown."""
    shown = [out.get("text") or out.get("data", {}).get("text/plain", "") for out in cell.outputs]
    return "".join(shown)


def client_of(folder, *sources):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    return NotebookClient(notebook, timeout=240, resources={"metadata": {"path": folder}}), notebook


def test_a_notebook_trains_stops_early_resumes_evaluates_and_plots(folder):
    client, notebook = client_of(folder, SETTING, TRAIN, RESUME, LOOK, FILE)
    client.execute()
    _, train, resume, look, file = map(text_of, notebook.cells)
    assert "to continue: ppo_jax.run(config, hyper, run_dir='run', resume=True)" in train
    assert "resumed at update" in resume
    assert "20 updates done" in resume.replace("\n", " ")
    assert "2,560 of 2,560 steps" in resume  # the panel, in its last state
    assert "5 episodes" in look
    assert "5 episodes in the corridor" in file
    assert "done" in file
    assert any("image/png" in out.get("data", {}) for out in notebook.cells[3].outputs)
    panels = [
        out for out in notebook.cells[2].outputs if "<progress" in out.get("data", {}).get("text/html", "")
    ]
    assert len(panels) == 1  # redrawn in place


def test_interrupting_the_cell_saves_and_says_how_to_go_on(folder):
    client, notebook = client_of(folder, SETTING, ENDLESS)
    with client.setup_kernel():
        client.execute_cell(notebook.cells[0], 0)

        def wait_and_interrupt():
            metrics = folder / "endless" / "metrics.jsonl"
            while not (metrics.exists() and metrics.read_text()):
                time.sleep(0.1)
            os.kill(client.km.provisioner.process.pid, signal.SIGINT)  # as the button of a notebook does

        thread = threading.Thread(target=wait_and_interrupt)
        thread.start()
        with pytest.raises(
            CellExecutionError, match=r"KeyboardInterrupt.*to continue: ppo-jax resume endless"
        ):
            client.execute_cell(notebook.cells[1], 1)
        thread.join()
    assert "its state and its policy were saved" in text_of(notebook.cells[1])
    assert list((folder / "endless" / "checkpoints").iterdir())
