from ppo_jax import presets
from ppo_jax.cli.catalogue import Envs
from ppo_jax.envs.registry import ENVIRONMENTS


def test_every_preset_is_listed_with_its_recorded_result_and_every_environment(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "300")
    assert Envs().run() == 0
    tables = []
    for table in capsys.readouterr().out.split("Environments: "):
        rows = [[cell.strip() for cell in line.split("│")] for line in table.splitlines()]
        tables.append({row[1]: row[3] for row in rows if len(row) == 5})
    assert tables[0] == {name: presets.read(name)["recorded"]["result"] for name in presets.names()}
    assert tables[1] == {name: info.needs for name, info in ENVIRONMENTS.items()}
