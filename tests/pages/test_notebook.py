"""The notebook runs from a clean kernel, and is stored with its outputs, small and in short cells."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.support import variables

PATH = Path(__file__).parents[2] / "docs" / "ppo_from_the_paper.ipynb"
CELL_SECONDS = 240  # the whole takes about 90 s on two cores; this catches a cell that hangs
# What shortens its longest trainings: the figures of fewer seeds and steps are as good for finding an error.
SHORTER = {
    "jax.random.split(jax.random.key(7), 100)": "jax.random.split(jax.random.key(7), 3)",
    "keys[:10]": "keys[:2]",
    "jax.random.split(jax.random.key(11), 10)": "jax.random.split(jax.random.key(11), 2)",
    "total_timesteps=75_000": "total_timesteps=20_000",
    "total_timesteps=100_000": "total_timesteps=10_000",
}
LINES_OF_A_SCREEN = 32
MEGABYTES = 3


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(PATH, as_version=4)


def copy_of(notebook, shorter):
    """A copy with other texts, each of which stands in exactly one cell."""
    copied = nbformat.from_dict(notebook)
    for old, new in shorter.items():
        (cell,) = [cell for cell in code_cells(copied) if old in cell.source]
        cell.source = cell.source.replace(old, new)
    return copied


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.parametrize(
    "shorter",
    [
        pytest.param(SHORTER, marks=pytest.mark.long, id="shorter"),
        pytest.param({}, marks=pytest.mark.slow, id="as it stands"),
    ],
)
def test_it_executes_from_a_clean_kernel(notebook, tmp_path, monkeypatch, shorter):
    if not shorter:
        monkeypatch.setenv("XLA_FLAGS", variables.computing_fast()["XLA_FLAGS"])
    executed = copy_of(notebook, shorter)
    client = NotebookClient(executed, timeout=CELL_SECONDS, resources={"metadata": {"path": tmp_path}})
    client.execute()
    assert all(cell.execution_count for cell in code_cells(executed))


def test_it_is_stored_in_the_order_of_one_clean_execution(notebook):
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))


def test_every_figure_is_stored(notebook):
    drawing = [cell for cell in code_cells(notebook) if "figure" in cell.source or "plots." in cell.source]
    pictures = [cell for cell in drawing if any("image/png" in out.get("data", {}) for out in cell.outputs)]
    assert len(pictures) >= 8
    assert {out.output_type for cell in notebook.cells for out in cell.get("outputs", ())} <= {
        "stream",
        "display_data",
        "execute_result",
    }


def test_no_cell_is_longer_than_a_screen(notebook):
    lengths = {cell.id: len(cell.source.splitlines()) for cell in notebook.cells}
    assert max(lengths.values()) <= LINES_OF_A_SCREEN, lengths


def test_it_is_small_enough_to_be_read_on_a_code_host():
    assert PATH.stat().st_size < MEGABYTES * 2**20


def test_it_calls_the_package_and_defines_no_part_of_ppo(notebook):
    source = "\n".join(cell.source for cell in code_cells(notebook))
    for name in ("gae", "clipped_surrogate", "probability_ratio", "ppo_loss", "train", "run", "sweep"):
        assert f"ppo_jax.{name}" in source
        assert f"def {name}(" not in source
