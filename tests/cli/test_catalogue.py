import re

from ppo_jax import presets
from ppo_jax.cli.catalogue import Envs
from ppo_jax.envs import make, registry
from ppo_jax.envs.registry import ENVIRONMENTS, LIBRARIES


def test_every_preset_is_listed_with_its_recorded_result_and_every_environment(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "300")
    assert Envs().run() == 0
    tables = []
    for table in re.split("Environments: |Other libraries: ", capsys.readouterr().out):
        rows = [[cell.strip() for cell in line.split("│")] for line in table.splitlines()]
        tables.append({row[1]: row[3] for row in rows if len(row) == 5})
    assert tables[0] == {name: presets.read(name)["recorded"]["result"] for name in presets.names()}
    assert tables[1] == {name: info.needs for name, info in ENVIRONMENTS.items()}
    optional = {name: library for name, library in LIBRARIES.items() if library.extra}
    installing = {name: f"pip install 'ppo-jax[{one.extra}]'" for name, one in optional.items()}
    assert tables[2] == {"gymnasium": "always installed", **installing}


def test_a_library_is_listed_with_what_keeps_environments_from_being_trained_on(monkeypatch, capsys):
    known = {"lake": "", "chess": "it is a game of several players"}
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(registry, "missing", lambda library: None)
    monkeypatch.setattr(make, "names", lambda library: known)
    assert Envs("brax").run() == 0
    shown = capsys.readouterr().out
    assert "Environments of Brax" in shown
    for name, reason in known.items():
        assert re.search(rf"│ brax:{name} +│ {reason} +│", shown)
