"""The user's own code: loaded where it may be, and never from a run directory."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

import jax
import pytest

import ppo_jax
from ppo_jax import registered
from ppo_jax.config import Config, Hyperparams
from ppo_jax.host.runs import agents, code, directory, loading, policy, request
from ppo_jax.host.runs.checkpoints import store
from ppo_jax.host.runs.code import CodeError, Source
from ppo_jax.host.runs.directory import RunDirectory
from ppo_jax.host.runs.request import Request
from ppo_jax.host.training import start
from tests.host.conftest import run_command

pytestmark = pytest.mark.usefixtures("blank_pictures")

LEVER = """
import jax.numpy as jnp
import ppo_jax
from ppo_jax.envs.environment import Dynamics, Transition
from ppo_jax.spaces import Box, Discrete

def reset(key):
    return jnp.int32(0), jnp.ones(1)

def step(key, state, action):
    reward = (action == 1).astype(jnp.float32)
    return state + 1, Transition(jnp.ones(1), reward, terminated=state >= 3, truncated=jnp.array(False))

lever = Dynamics(reset, step, Box((1,)), Discrete(2))
three = 3

@ppo_jax.environment
def marked(size: int = 1):
    return lever

def unmarked():
    return lever

@ppo_jax.environment
def broken():
    return 1 / 0

@ppo_jax.network
def network(config, observation_space, action_space, privileged_space=None):
    from ppo_jax.networks.flax import make_network
    return make_network(config, observation_space, action_space, privileged_space)
"""
MARKER = "open({path!r}, 'w').close()\n"  # code that shows that it has run
SIZES = {"num_envs": 4, "num_steps": 8, "total_timesteps": 64, "num_minibatches": 2, "hidden_sizes": (4,)}


WRONG = (
    LEVER
    + """
from gymnax.environments import environment

def none():
    return None

def number():
    return 3

def kind():
    return Dynamics

def needy(size):
    return lever

class Needy(environment.Environment):
    def __init__(self, size: int):
        self.size = size

def raises(*_):
    return [][0]

def no_network(*_):
    return lever
"""
)


def config_of(env, **fields):
    return Config(env=env, **{**SIZES, **fields})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current directory, with a file of code in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "mine.py").write_text(LEVER)
    return tmp_path


def plant(folder, name):
    """Writes a file that leaves a trace when it is run; returns the trace."""
    trace = folder / "trace"
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(MARKER.format(path=str(trace)) + LEVER)
    return trace


def load_typed(reference, **fields):
    config = config_of(reference, **fields)
    return loading.load(config, code.locate(config), trust=True)


# Named by the user


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        ("gone.py:lever", r"gone\.py' cannot be read: No such file or directory"),
        ("folder.py:lever", r"folder\.py' is not a plain file"),
        ("mine.py:", "it does not name an object; give FILE.py:OBJECT or MODULE:OBJECT"),
        (":lever", "it does not name an object"),
        ("mine.py:a.b", "it does not name an object"),
        ("mine.py:levr", r"has no 'levr'; did you mean 'lever'"),
        ("mine.py:three", "is a int, not an environment or a function that returns one"),
        ("no_such_module:lever", "there is no module 'no_such_module' on Python's path or in the current"),
        ("math:pi", "is not a file of Python code"),
        ("ppo_jax.host.python:run", "it names a module of ppo_jax itself"),
        ("syntax.py:lever", r"cannot be imported: SyntaxError: .*syntax\.py, line 2\)"),
        (
            "raises.py:lever",
            r"imported: ZeroDivisionError: division by zero \(.*raises\.py, line 3\)",
        ),
        ("leaves.py:lever", r"cannot be imported: SystemExit: 7 \(.*leaves\.py, line 1\)"),
        ("missing.py:lever", r"cannot be imported: ModuleNotFoundError: No module named 'no_such_package'"),
        ("x64.py:lever", "importing it changes jax_enable_x64, but JAX has started already"),
        ("keys.py:lever", "importing it changes jax_default_prng_impl"),
        ("variable.py:lever", "importing it changes XLA_FLAGS"),
    ],
)
def test_code_that_cannot_be_used_is_explained_in_one_line(folder, monkeypatch, reference, problem):
    monkeypatch.setenv("XLA_FLAGS", os.environ.get("XLA_FLAGS", ""))
    (folder / "folder.py").mkdir()
    (folder / "syntax.py").write_text("a = 1\nb = = 2\n")
    (folder / "raises.py").write_text("a = 1\n\nb = a / 0\n")
    (folder / "leaves.py").write_text("raise SystemExit(7)\n")
    (folder / "missing.py").write_text("import no_such_package\n")
    (folder / "x64.py").write_text("import jax\njax.config.update('jax_enable_x64', True)\n" + LEVER)
    (folder / "keys.py").write_text("import jax\njax.config.update('jax_default_prng_impl', 'rbg')\n" + LEVER)
    (folder / "variable.py").write_text("import os\nos.environ['XLA_FLAGS'] = '--none'\n" + LEVER)
    with pytest.raises(CodeError, match=problem) as caught:
        load_typed(reference)
    assert "\n" not in str(caught.value)
    assert f"env = {reference!r}" in str(caught.value)
    assert not jax.config.jax_enable_x64
    assert jax.config.jax_default_prng_impl == "threefry2x32"
    assert sys.dont_write_bytecode or not list(folder.rglob("__pycache__"))


LONG = "x" * 300  # longer than the name of a file may be


@pytest.mark.parametrize(
    "reference",
    ["~nobody-at-all/mine.py:lever", "mine\0.py:lever", "mine\ud800.py:lever", "mi\nne.py:lever"],
)
def test_an_odd_path_is_explained_in_one_line(folder, reference):
    with pytest.raises(ppo_jax.UsageError) as caught:
        load_typed(reference)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "reference", [f"{LONG}.py:lever", f"{LONG}:lever", "..mine:lever", "mine.:lever", "a/b:lever", "sys:exit"]
)
def test_an_odd_name_is_explained_in_one_line(folder, reference):
    with pytest.raises(CodeError) as caught:
        load_typed(reference)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("env", "network", "problem"),
    [
        ("none", "network", r"env = '.*:none' returned a NoneType; return a Dynamics"),
        ("number", "network", r"env = '.*:number' returned a int; return a Dynamics"),
        ("kind", "network", r"env = '.*:kind' returned a type; return a Dynamics"),
        ("needy", "network", r"env = '.*:needy' needs size; give env_args size=VALUE"),
        ("Needy", "network", r"env = '.*:Needy' needs size; give env_args size=VALUE"),
        ("raises", "network", r"env = '.*:raises' failed: IndexError: .*wrong\.py, line \d+\)"),
        ("lever", "three", r"network = '.*:three' is a int, not a network or a function that returns one"),
        ("lever", "lever", r"network = '.*:lever' is a Dynamics, not a network"),
        ("lever", "none", r"network = '.*:none' failed: TypeError"),
        ("lever", "no_network", r"network = '.*:no_network' returned a Dynamics; return a Network"),
        ("lever", "raises", r"network = '.*:raises' failed: IndexError: .*wrong\.py, line \d+\)"),
        ("lever", "networ", r"network = '.*:networ': .* has no 'networ'; did you mean 'network'"),
    ],
)
def test_an_object_of_another_kind_is_explained_and_leaves_no_directory(folder, env, network, problem):
    (folder / "wrong.py").write_text(WRONG)
    config = config_of(f"wrong.py:{env}", network=f"wrong.py:{network}")
    with pytest.raises(ppo_jax.UsageError, match=f"^{problem}") as caught:
        start.run(Request(None, config, Hyperparams(), 0), folder / "run", quiet=True)
    assert "\n" not in str(caught.value)
    assert not (folder / "run").exists()


MEDDLING = {
    "a switch": "import jax\njax.config.update('jax_enable_x64', True)\n",
    "a variable": "import os\nos.environ['XLA_FLAGS'] = '--none'\n",
}


def settings():
    return jax.config.jax_enable_x64, os.environ["XLA_FLAGS"]


@pytest.fixture
def before(monkeypatch):
    """The settings of JAX, which come back after a test that could not keep them."""
    monkeypatch.setenv("XLA_FLAGS", os.environ.get("XLA_FLAGS", ""))
    yield settings()
    jax.config.update("jax_enable_x64", False)


@pytest.mark.parametrize(
    "kind",
    [
        "a switch",
        "a variable",
    ],
)
def test_settings_are_restored_after_a_refusal(folder, before, kind):
    (folder / "meddling.py").write_text(MEDDLING[kind] + LEVER)
    with pytest.raises(CodeError, match="importing it changes"):
        load_typed("meddling.py:lever")
    assert settings() == before


@pytest.mark.parametrize("kind", MEDDLING)
def test_settings_are_restored_although_the_file_raises(folder, before, kind):
    (folder / "meddling.py").write_text(MEDDLING[kind] + "1 / 0\n")
    with pytest.raises(CodeError):
        load_typed("meddling.py:lever")
    assert settings() == before


@pytest.mark.parametrize("kind", MEDDLING)
def test_a_file_that_was_refused_is_refused_again(folder, before, kind):
    """As when the cell of a notebook is run again."""
    (folder / "meddling.py").write_text(MEDDLING[kind] + LEVER)
    for _ in range(2):
        with pytest.raises(CodeError, match="importing it changes"):
            load_typed("meddling.py:lever")


@pytest.mark.parametrize("kind", ["beside it", "a module"])
def test_so_is_code_that_imports_what_was_refused(folder, before, kind):
    (folder / "meddling_module.py").write_text(MEDDLING["a switch"] + LEVER)
    (folder / "importing.py").write_text("import ppo_jax, meddling_module\n" + LEVER)
    reference = {"beside it": "importing.py:lever", "a module": "meddling_module:lever"}[kind]
    for _ in range(2):
        with pytest.raises(CodeError, match="importing it changes jax_enable_x64"):
            load_typed(reference)


def test_all_that_is_wrong_with_two_references_is_said_at_once(folder):
    with pytest.raises(CodeError) as caught:
        code.locate(config_of("gone.py:lever", network="lost.py:network"))
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize("name", ["lever", "marked", "unmarked"])
def test_what_the_user_names_is_loaded_and_only_an_unmarked_function_is_remarked_on(folder, name):
    remarks = load_typed(f"mine.py:{name}")
    assert bool(remarks) == (name == "unmarked")
    assert all("put @ppo_jax.environment above the function" in remark for remark in remarks)


def test_code_that_does_not_say_what_it_is_for_is_remarked_on_and_later_refused(folder):
    """Otherwise a run directory could name any script of this machine that acts when it is imported."""
    (folder / "exporting.py").write_text("from mine import lever\n")
    config = config_of("exporting.py:lever")
    sources = code.locate(config)
    (remark,) = loading.load(config, sources, trust=True)
    assert "exporting.py' mentions neither ppo_jax nor gymnax, so it was not written for either" in remark
    assert remark.endswith("import ppo_jax in it, or later commands will need --trust-code")
    with pytest.raises(CodeError, match=r"mentions neither ppo_jax nor gymnax.*; to allow it this once"):
        code.check(config, sources, trust=False)
    assert code.check(config, sources, trust=True) == sources


def test_a_file_runs_once_for_environment_and_network(folder):
    (folder / "once.py").write_text(
        f"import tempfile\ntempfile.mkdtemp(dir={str(folder)!r}, prefix='count')\n{LEVER}"
    )
    load_typed("once.py:lever", network="once.py:network")
    load_typed("once.py:marked")
    assert len(list(folder.glob("count*"))) == 1


@pytest.mark.parametrize("name", ["jax", "gymnax", "ppo_jax", "errors", "json"])
def test_a_file_beside_it_hides_no_module(folder, name):
    trace = plant(folder, f"{name}.py")
    load_typed("mine.py:lever")
    assert not trace.exists()
    load_typed(f"{name}.py:lever")  # and the file itself may be meant
    assert trace.exists()
    assert str(folder / f"{name}.py") not in [getattr(sys.modules.get(name), "__file__", None)]


def test_it_may_import_what_is_beside_it(folder):
    (folder / "helper_of_mine.py").write_text("value = 3\n")
    (folder / "uses.py").write_text("from helper_of_mine import value\n" + LEVER)
    load_typed("uses.py:lever")


def test_a_module_is_found_from_the_current_directory_and_named_with_its_packages(folder):
    (folder / "pack_of_mine" / "sub").mkdir(parents=True)
    for path in ("__init__.py", "sub/__init__.py"):
        (folder / "pack_of_mine" / path).write_text("")
    (folder / "pack_of_mine" / "sub" / "tasks.py").write_text(LEVER)
    config = config_of("pack_of_mine.sub.tasks:lever")
    (source,) = sources = code.locate(config)
    assert source.path == str(folder / "pack_of_mine" / "sub" / "tasks.py")
    loading.load(config, sources, trust=False)
    (folder / "pack_of_mine" / "__init__.py").write_text("changed = True\n")
    with pytest.raises(CodeError, match="has changed since the run was started"):
        code.check(config, sources, trust=False)


def test_a_file_that_changes_after_it_was_compared_is_not_run(folder):
    config = config_of("mine.py:lever")
    sources = code.locate(config)
    trace = plant(folder, "mine.py")
    with pytest.raises(CodeError, match=r"^env = 'mine\.py:lever': .*mine\.py' has just changed; try again$"):
        loading.load(config, sources, trust=True)
    assert not trace.exists()


def test_a_module_that_changes_after_it_was_compared_is_not_run(folder):
    (folder / "module_of_mine.py").write_text(LEVER)
    config = config_of("module_of_mine:lever")
    sources = code.locate(config)
    trace = plant(folder, "module_of_mine.py")
    with pytest.raises(CodeError, match="changed"):
        loading.load(config, sources, trust=True)
    assert not trace.exists()


def test_a_module_that_has_changed_since_it_was_imported_is_not_recorded_as_what_it_is_now(folder):
    """As when a module is edited between two cells of a notebook."""
    (folder / "edited_module.py").write_text(LEVER)
    load_typed("edited_module:lever")
    (folder / "edited_module.py").write_text(LEVER.replace("state >= 3", "state >= 4"))
    with pytest.raises(CodeError, match="changed"):
        load_typed("edited_module:lever")


def test_a_home_and_spaces_in_a_path_are_understood(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    (folder / "my code").mkdir()
    shutil.copy(folder / "mine.py", folder / "my code" / "a file.py")
    load_typed("~/my code/a file.py:lever")


def test_code_in_a_run_directory_is_refused_even_if_the_user_names_it(folder):
    run = directory.create(
        folder / "run", "label", request.to_json(Request(None, Config(), Hyperparams(), 0))
    )
    trace = plant(folder, "run/evil.py")
    with pytest.raises(CodeError, match=r"lies in the run directory '.*run'; move it out"):
        load_typed(f"{run.path}/evil.py:lever")
    assert not trace.exists()


# Named by a run directory


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of a file, whose path is absolute, so that it can be copied."""
    folder = tmp_path_factory.mktemp("code")
    (folder / "mine.py").write_text(LEVER)
    config = config_of(f"{folder}/mine.py:lever", network=f"{folder}/mine.py:network")
    assert start.run(Request(None, config, Hyperparams(), 0), folder / "run", quiet=True) == 0
    return folder


@pytest.fixture
def run(trained, tmp_path, monkeypatch):
    """A copy of that run, and `mine.py` as it was."""
    monkeypatch.chdir(tmp_path)
    (trained / "mine.py").write_text(LEVER)
    shutil.copytree(trained / "run", tmp_path / "run")
    return RunDirectory(tmp_path / "run")


def rewrite(run, env=None, sources=None):
    """Changes what a run directory says about its code, as a stranger could."""
    content = json.loads(run.config.read_text())
    described = json.loads(run.policy.read_text())
    content["config"] |= {"env": env or content["config"]["env"], "network": None}
    described["config"] |= {"env": env or described["config"]["env"], "network": None}
    content["sources"] = content["sources"] if sources is None else [one._asdict() for one in sources]
    run.config.write_text(json.dumps(content))
    run.policy.write_text(json.dumps(described))


def source_of(path, name="lever", reference=None):
    return Source(reference or f"{path}:{name}", str(path), code.digest([Path(path)]))


def test_a_run_is_evaluated_as_long_as_its_file_is_as_it_was(run):
    config, agent = agents.load(run)
    assert config.env.endswith("mine.py:lever")
    assert "actor" in agent.params


def test_a_file_that_has_changed_is_refused_before_a_checkpoint_is_read(run, trained, monkeypatch):
    trace = plant(trained, "mine.py")
    monkeypatch.setattr(store, "load_newest", lambda *_: pytest.fail("too late"))
    asked = request.read(run)
    longer = asked._replace(config=dataclasses.replace(asked.config, total_timesteps=128))
    for act in (
        lambda: agents.load(run),
        lambda: agents.load(run, best=True),
        lambda: start.run(longer, run.path, resume=True, quiet=True),
    ):
        with pytest.raises(CodeError, match=r"mine\.py' has changed since the run was started; to allow it"):
            act()
    assert not (trained / "trace").exists()
    assert trace.parent == trained


def test_trust_allows_it_and_a_resumed_run_goes_on_with_the_new_file(run, trained):
    (trained / "mine.py").write_text(LEVER + "\n# changed\n")
    agents.load(run, trust_code=True)
    asked = request.read(run)
    longer = asked._replace(config=dataclasses.replace(asked.config, total_timesteps=128))
    assert start.run(longer, run.path, resume=True, quiet=True, trust_code=True) == 0
    assert request.read(run).sources != asked.sources
    agents.load(run)


def test_a_file_that_is_gone_or_has_moved_is_named(run, trained):
    os.remove(trained / "mine.py")
    with pytest.raises(CodeError, match=r"it was '.*mine\.py' when the run started; put it back"):
        agents.load(run)


def test_a_file_of_the_same_name_elsewhere_is_used_only_with_trust(run, tmp_path):
    trace = plant(tmp_path, "mine.py")
    there = source_of(tmp_path / "mine.py", reference="mine.py:lever")
    rewrite(run, "mine.py:lever", [there._replace(path="/gone/mine.py")])
    with pytest.raises(CodeError, match=r"it was '/gone/mine\.py' when .* now be '.*/mine\.py'; to allow it"):
        agents.load(run)
    assert not trace.exists()
    agents.load(run, trust_code=True)
    assert trace.exists()


@pytest.mark.parametrize("place", ["run", "other", "run/deep/down"])
def test_nothing_in_a_run_directory_is_ever_run(run, tmp_path, place):
    if place == "other":
        shutil.copytree(run.path, tmp_path / "other")
    trace = plant(tmp_path, f"{place}/evil.py")
    path = tmp_path / place / "evil.py"
    rewrite(run, f"{path}:lever", [source_of(path)])
    with pytest.raises(CodeError, match="lies in the run directory"):
        agents.load(run)
    assert run_command("evaluate", run.path) == 2
    assert run_command("report", run.path) == 0
    assert run_command("plot", run.path) == 0
    assert run_command("verify", run.path) == 1  # its checkpoints are not of this request
    assert not trace.exists()


def test_a_link_into_a_run_directory_is_followed_to_where_it_leads(run, tmp_path):
    trace = plant(tmp_path, "run/deep/evil.py")
    (tmp_path / "innocent.py").symlink_to(tmp_path / "run" / "deep" / "evil.py")
    path = tmp_path / "innocent.py"
    rewrite(run, f"{path}:lever", [source_of(path)])
    with pytest.raises(CodeError, match="lies in the run directory"):
        agents.load(run)
    assert not trace.exists()


def test_a_module_in_a_run_directory_that_is_the_current_one_is_not_found(run, tmp_path, monkeypatch):
    trace = plant(tmp_path, "run/evil_module.py")
    monkeypatch.chdir(run.path)
    path = run.path / "evil_module.py"
    rewrite(run, "evil_module:lever", [source_of(path, reference="evil_module:lever")])
    with pytest.raises(CodeError, match="lies in the run directory"):
        agents.load(run)
    assert not trace.exists()


def test_a_relative_path_leads_to_no_file_that_came_with_the_run(run, tmp_path, monkeypatch):
    """A stranger does not know where their archive is unpacked, but knows what lies beside what in it."""
    trace = plant(tmp_path, "bundle/evil.py")
    shutil.copytree(run.path, tmp_path / "bundle" / "run")
    bundled = RunDirectory(tmp_path / "bundle" / "run")
    rewrite(bundled, "bundle/evil.py:lever", [source_of("bundle/evil.py")])
    with pytest.raises(ppo_jax.UsageError):
        agents.load(bundled)
    assert not trace.exists()


def test_no_path_leads_to_where_this_process_happens_to_be(run, tmp_path):
    trace = plant(tmp_path, "evil.py")
    path = "/proc/self/cwd/evil.py"
    rewrite(run, f"{path}:lever", [source_of(path)])
    with pytest.raises(CodeError, match="is not the place of a file"):
        agents.load(run)
    assert not trace.exists()


def test_a_script_of_this_machine_is_not_run(run, tmp_path):
    """Its place and its digest are known to everyone who has the same machine."""
    trace = tmp_path / "trace"
    (tmp_path / "example.py").write_text(MARKER.format(path=str(trace)))
    for reference in (f"{tmp_path}/example.py:lever", "example:lever"):
        rewrite(run, reference, [source_of(tmp_path / "example.py", reference=reference)])
        with pytest.raises(CodeError, match="mentions neither ppo_jax nor gymnax"):
            agents.load(run)
    assert not trace.exists()


def test_a_module_that_acts_when_it_is_imported_runs_nothing_of_the_run(run, tmp_path, monkeypatch):
    trace = plant(tmp_path, "run/test_evil.py")
    (run.path / "__init__.py").write_text("")
    library = Path(unittest.__file__).parent
    files = [library / "__init__.py", library / "__main__.py"]
    source = Source("unittest.__main__:main", str(files[-1]), code.digest(files))
    rewrite(run, source.reference, [source])
    monkeypatch.setattr(sys, "argv", ["script.py"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("run", "run.test_evil"):
        monkeypatch.setitem(sys.modules, name, None)  # so that they are forgotten again
        del sys.modules[name]
    with pytest.raises(CodeError):
        agents.load(run)
    assert not trace.exists()


@pytest.mark.parametrize("kind", ["a pipe", "a file without end"])
def test_code_in_a_run_directory_is_not_even_read(run, monkeypatch, kind):
    """Reading the one never ends, and reading the other takes all memory."""
    path = run.path / "checkpoints" / "evil.py"
    if kind == "a pipe":
        os.mkfifo(path)
    else:
        path.touch()
        os.truncate(path, 2**40)
    original = Path.read_bytes

    def read_bytes(asked):
        assert asked != path, "it is read"
        return original(asked)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    rewrite(run, f"{path}:lever", [Source(f"{path}:lever", str(path), "0" * 64)])
    with pytest.raises(CodeError, match="lies in the run directory"):
        agents.load(run)


@pytest.mark.parametrize("path", [f"/{LONG}.py", f"{LONG}.py", "/a\0.py", "/a\ud800.py", "/a\n.py", "/", ""])
def test_an_odd_path_in_a_run_directory_is_refused(run, path):
    rewrite(run, f"{path}:lever", [Source(f"{path}:lever", path, "0" * 64)])
    with pytest.raises(ppo_jax.UsageError):
        agents.load(run)


@pytest.mark.parametrize(
    "fields",
    [
        {"env_args": [["a", [1]]]},
        {"env_args": {"a": None}},
        {"env_args": 3},
        {"network": 3},
        {"network": ""},
        {"network": "a:"},
        {"env": ":"},
        {"env": 3},
        {"env_args": [["a", 1], ["a", 2]]},
        {"env_args": {"a b": 1}},
        {"env_args": {"a": float("inf")}},
        {"env_args": ["abc"]},
        {"env_args": "ab"},
        {"env": {"a": 1}},
    ],
)
def test_names_and_arguments_that_are_none_are_refused(run, fields):
    described = json.loads(run.policy.read_text())
    described["config"] |= fields
    run.policy.write_text(json.dumps(described))
    with pytest.raises(ppo_jax.UsageError):
        agents.load(run)


@pytest.mark.parametrize("kind", ["none", "another reference", "another content"])
def test_a_file_whose_content_is_not_the_recorded_one_is_not_run(run, tmp_path, kind):
    trace = plant(tmp_path, "planted.py")
    path = tmp_path / "planted.py"
    sources = {
        "none": [],
        "another reference": [source_of(path, reference="else.py:lever")],
        "another content": [source_of(path)._replace(sha256="0" * 64)],
    }[kind]
    rewrite(run, f"{path}:lever", sources)
    with pytest.raises(CodeError, match=r"(does not say what its code was|has changed since)"):
        agents.load(run)
    assert not trace.exists()


def test_a_policy_that_names_other_code_than_the_run_is_refused(run, tmp_path):
    trace = plant(tmp_path, "planted.py")
    described = json.loads(run.policy.read_text())
    described["config"]["env"] = f"{tmp_path}/planted.py:lever"
    run.policy.write_text(json.dumps(described))
    with pytest.raises(CodeError, match="does not say what its code was"):
        agents.load(run)
    assert not trace.exists()


@pytest.mark.parametrize("name", ["unmarked", "marked"])
def test_a_function_is_called_only_if_its_author_marked_it(run, trained, name):
    path = trained / "mine.py"
    rewrite(run, f"{path}:{name}", [source_of(path, name)])
    if name == "marked":
        agents.load(run)
        return
    with pytest.raises(CodeError, match=r"put @ppo_jax\.environment above the function; to allow it"):
        agents.load(run)
    agents.load(run, trust_code=True)


def test_a_function_of_the_standard_library_is_never_called(run, tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    path = Path(shutil.__file__)
    content = json.loads(run.config.read_text())
    content["config"] |= {"env": "shutil:rmtree", "env_args": {"path": str(precious)}, "network": None}
    content["sources"] = [source_of(path, reference="shutil:rmtree")._asdict()]
    run.config.write_text(json.dumps(content))
    config = request.read(run).config
    _, arrays = policy.load(run)
    policy.save(run, config, arrays)
    with pytest.raises(CodeError, match="mentions neither ppo_jax nor gymnax"):
        agents.load(run)
    assert precious.exists()


def test_a_marked_function_that_fails_is_explained(run, trained):
    path = trained / "mine.py"
    rewrite(run, f"{path}:broken", [source_of(path, "broken")])
    with pytest.raises(ppo_jax.UsageError, match=r"failed: ZeroDivisionError.*mine\.py, line \d+\)"):
        agents.load(run)


@pytest.mark.parametrize(
    "sources", [3, ["x"], [{"reference": "a"}], [{"reference": 1, "path": 2, "sha256": 3}]]
)
def test_sources_that_are_none_are_damage(run, sources):
    content = json.loads(run.config.read_text())
    run.config.write_text(json.dumps({**content, "sources": sources}))
    with pytest.raises(ppo_jax.UsageError, match=r"config\.json does not say what to train"):
        request.read(run)


def test_names_that_another_program_registered_are_missing_by_name(run, capsys):
    content = json.loads(run.config.read_text())
    content["config"] |= {"env": "only there", "network": "there too"}
    run.config.write_text(json.dumps(content))
    with pytest.raises(ppo_jax.UsageError) as caught:
        start.run(request.read(run), run.path, resume=True, quiet=True)
    assert len(caught.value.problems) == 2
    assert "env = 'only there' was registered by the program that started the run" in str(caught.value)
    assert "network = 'there too' was registered by the program" in str(caught.value)
    for command in ("plot", "report"):
        assert run_command(command, run.path) == 0


@pytest.mark.long
def test_a_run_of_registered_names_is_read_anywhere_and_acts_only_where_they_are(folder, monkeypatch, capsys):
    load_typed("mine.py:lever", network="mine.py:network")
    monkeypatch.setattr(registered, "ENVIRONMENTS", dict(registered.ENVIRONMENTS))
    monkeypatch.setattr(registered, "NETWORKS", dict(registered.NETWORKS))
    ppo_jax.register("only here", registered.ENVIRONMENTS["mine.py:lever"].made_from)
    ppo_jax.register_network("here too", registered.NETWORKS["mine.py:network"])
    run = ppo_jax.run(config_of("only here", network="here too"), run_dir=folder / "run", quiet=True)
    assert run.evaluate(2).episodes == 2
    del registered.ENVIRONMENTS["only here"]
    del registered.NETWORKS["here too"]
    for command in ("verify", "plot", "report"):
        assert run_command(command, run.path) == 0
    capsys.readouterr()
    for command in (("evaluate", run.path), ("resume", run.path, "--total-timesteps", "96")):
        assert run_command(*command) == 2
        env, network = capsys.readouterr().err.splitlines()
        assert "env = 'only here' was registered by the program that started the run" in env
        assert "network = 'here too' was registered by the program that started the run" in network


# In a process of its own


def test_files_in_the_current_directory_hide_neither_jax_nor_this_package(folder):
    """The file imports them only after its own directory can be searched."""
    traces = [plant(folder, f"{name}.py") for name in ("jax", "gymnax", "ppo_jax", "flax", "numpy", "errors")]
    names = "import jax, gymnax, ppo_jax, flax, numpy, ppo_jax.errors\n"
    (folder / "asking.py").write_text(
        f"import sys\nassert 'gymnax' not in sys.modules\n{names}"
        "print(*[sys.modules[name].__file__ for name in ('jax', 'gymnax', 'ppo_jax', 'flax', 'numpy')])\n"
    )
    result = subprocess.run(
        [sys.executable, "-P", "-c", "from ppo_jax.cli import main; main()", "train", "--env", "asking.py:x"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(ppo_jax.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 2, result.stderr
    assert "has no 'x'" in result.stderr
    files = result.stdout.split("\n")[-2].split()
    assert [Path(file).parent.name for file in files] == ["jax", "gymnax", "ppo_jax", "flax", "numpy"]
    assert not any(trace.exists() for trace in traces)


def test_the_command_answers_in_one_line_with_exit_status_2_and_leaves_no_directory(folder):
    command = [sys.executable, "-c", "from ppo_jax.cli import main; main()", "train", "--env", "raises.py:x"]
    (folder / "raises.py").write_text("1 / 0\n")
    result = subprocess.run(
        [*command, "--run-dir", "run"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(ppo_jax.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "cannot be imported: ZeroDivisionError" in result.stderr
    assert not (folder / "run").exists()
