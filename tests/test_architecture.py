"""The design of the package, enforced: rooms, one home per library, purity, and functions that stay readable.

Each rule is a function from a parsed module to its violations, and is itself tried on planted ones.
"""

import ast
import graphlib
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parents[1] / "ppo_jax"

# The rooms, in order: a module imports from its own room and from the rooms above it.
ROOMS = (
    *("errors", "spaces", "shards", "fast", "config", "count", "registered", "presets", "envs", "validation"),
    *("networks", "algorithm", "scale"),
    # Everything above this line is pure, except `presets`, which reads files.
    *("conformance", "host.programs", "host.runs", "host.diagnosis", "host.monitor", "host.pictures"),
    *(
        "host.training",
        "host.report",
        "host.export",
        "host.benchmark",
        "host.python",
        "host.sweeps",
        "cli",
        "__main__",
    ),
    "",  # the package itself, which re-exports
)
PURE = set(ROOMS[: ROOMS.index("conformance")]) - {"presets"}
WITHOUT_IMPORTS = {"errors", "spaces", "config", "shards"}  # of this package

# The only modules or rooms that may know a library.
HOMES = {
    "gymnax": ("envs.gymnax", "envs.gymnax_spaces"),
    "brax": ("envs.brax",),
    "craftax": ("envs.craftax",),
    "jumanji": ("envs.jumanji",),
    "navix": ("envs.navix",),
    "pgx": ("envs.pgx",),
    "mujoco": ("envs.mujoco",),
    "mujoco_playground": ("envs.playground",),
    "xminigrid": ("envs.xminigrid",),
    "flax": ("networks.flax",),
    "gymnasium": ("envs.gymnasium", "host.programs.simulators", "host.pictures.film"),
    "orbax": ("host.runs.checkpoints.arrays",),
    "orjson": ("host.runs.records",),
    "safetensors": ("host.runs.policy", "host.export.standalone", "host.export.formats.as_numpy"),
    "onnx": ("host.export.formats.as_onnx",),
    "onnxruntime": ("host.export.formats.as_onnx",),
    "tyro": ("cli",),
    "matplotlib": ("host.pictures", "host.report", "host.benchmark.plots"),
}
ADAPTERS = tuple(
    homes[0] for library, homes in HOMES.items() if homes[0].startswith("envs.") and library != "mujoco"
)
UNSAFE = (
    *("pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "eval", "exec"),
    *("torch.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "yaml.Loader", "yaml.UnsafeLoader"),
)
IMPURE = (
    *("time", "datetime", "os", "pathlib", "io", "shutil", "tempfile", "subprocess", "socket", "threading"),
    *("random", "secrets", "numpy.random", "logging", "print", "open", "input", "breakpoint"),
    *("jax.jit", "jax.pmap", "jax.debug", "jax.pure_callback", "jax.experimental", "jax.block_until_ready"),
    *("jax.device_get", "jax.device_put"),
)

MAX_NESTING = 2
MAX_NESTING_OF_LOCAL_FUNCTIONS = 1
MAX_BODY_LINES = 50
MIN_MEDIAN_BODY_LINES = 6
MAX_PARAMETERS = 8
MAX_FILE_LINES = 400
MAX_PARTIALS = 35

FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef
CONTROL_FLOW = ast.If | ast.For | ast.AsyncFor | ast.While | ast.With | ast.AsyncWith | ast.Try | ast.Match

Violations = Iterator[tuple[int, str]]


class Module(NamedTuple):
    """A module of the package: its dotted name without `ppo_jax.`, and its syntax tree."""

    name: str
    tree: ast.Module


def parse(path: Path) -> Module:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    name = ".".join(part for part in parts if part != "__init__")
    return Module(name, ast.parse(path.read_text(), path))


MODULES = {module.name: module for module in map(parse, sorted(PACKAGE.rglob("*.py")))}


# What a module uses


def used_names(module: Module) -> Violations:
    """Every dotted name a module imports or mentions, aliases resolved, with its line."""
    aliases = dict(_aliases(module.tree))
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Attribute | ast.Name) and not isinstance(node.ctx, ast.Store):
            root, _, rest = ast.unparse(node).partition(".")
            yield node.lineno, f"{aliases.get(root, root)}.{rest}".rstrip(".")


def _aliases(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.asname, alias.name) for alias in node.names if alias.asname)
        elif isinstance(node, ast.ImportFrom):
            yield from ((alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names)


def own_imports(module: Module) -> Violations:
    """The modules of the package that a module imports, by name, with the line."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom):
            dotted = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            dotted = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        yield from ((node.lineno, _home(name)) for name in dotted if matches(name, "ppo_jax"))


def _home(dotted: str) -> str:
    """The longest prefix of a dotted name that is a module: `ppo_jax.train.Metrics` is in `train`."""
    parts = dotted.split(".")[1:]
    prefixes = [".".join(parts[:end]) for end in range(len(parts), 0, -1)]
    return next((prefix for prefix in prefixes if prefix in MODULES), "")


def room(name: str) -> str | None:
    """The room that a module is in; None if it is in none."""
    return name if name == "" else next((room for room in ROOMS if room and matches(name, room)), None)


def matches(name: str, *prefixes: str) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


# The rules


def every_module_is_in_a_room(module: Module) -> Violations:
    if room(module.name) is None and module.name != "host":
        yield 1, f"{module.name} is in no room"


def imports_come_from_the_rooms_above(module: Module) -> Violations:
    here = room(module.name)
    for line, name in own_imports(module) if here else ():
        there = room(name)
        is_alone = here in WITHOUT_IMPORTS and there != here
        if is_alone or not there or ROOMS.index(there) > ROOMS.index(here):
            yield line, f"{module.name} imports {name or 'ppo_jax'}, which is not in a room above it"


def the_pure_rooms_read_no_presets(module: Module) -> Violations:
    for line, name in own_imports(module) if room(module.name) in PURE else ():
        if room(name) == "presets":
            yield line, f"{module.name} imports {name}, which reads files"


def adapters_are_called_through_make(module: Module) -> Violations:
    for line, name in own_imports(module):
        if name in ADAPTERS:
            yield line, f"{module.name} imports an adapter by name"


def imports_are_absolute(module: Module) -> Violations:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield node.lineno, "imports relatively"


def libraries_have_one_home(module: Module) -> Violations:
    for line, name in used_names(module):
        homes = HOMES.get(name.split(".")[0])
        if homes and not matches(module.name, *homes):
            yield line, f"only {' and '.join(homes)} may know {name}"


def the_pure_rooms_are_pure(module: Module) -> Violations:
    for line, name in used_names(module) if room(module.name) in PURE else ():
        if matches(name, *IMPURE) or "callback" in name:
            yield line, f"a pure room uses {name}"


def nothing_is_unsafe(module: Module) -> Violations:
    for line, name in used_names(module):
        if matches(name, *UNSAFE):
            yield line, f"uses {name}"
    for node in ast.walk(module.tree):
        if (
            isinstance(node, ast.keyword)
            and node.arg == "allow_pickle"
            and ast.unparse(node) != "allow_pickle=False"
        ):
            yield node.lineno, "allows pickle"


def control_flow_is_shallow(module: Module) -> Violations:
    for function in functions(module.tree):
        if nesting(function.body) > MAX_NESTING:
            yield function.lineno, f"{function.name} nests control flow {nesting(function.body)} deep"


def local_functions_are_simple(module: Module) -> Violations:
    for outer in functions(module.tree):
        for inner in functions(outer):
            if inner is outer:
                continue
            if len(list(functions(inner))) > 1:
                yield inner.lineno, f"{inner.name}, inside {outer.name}, has functions of its own"
            if nesting(inner.body) > MAX_NESTING_OF_LOCAL_FUNCTIONS:
                yield inner.lineno, f"{inner.name}, inside {outer.name}, has too much logic of its own"


def bodies_are_short(module: Module) -> Violations:
    for function in functions(module.tree):
        if body_lines(function) > MAX_BODY_LINES:
            yield function.lineno, f"the body of {function.name} has {body_lines(function)} lines"


def parameters_are_few(module: Module) -> Violations:
    for function in functions(module.tree):
        parameters = [node.arg for node in ast.walk(function.args) if isinstance(node, ast.arg)]
        count = len([name for name in parameters if name not in ("self", "cls")])
        if count > MAX_PARAMETERS:
            yield function.lineno, f"{function.name} has {count} parameters"


def everything_public_has_a_docstring(module: Module) -> Violations:
    for node in public(module.tree):
        if not ast.get_docstring(node):
            yield getattr(node, "lineno", 1), f"{getattr(node, 'name', module.name)} has no docstring"


def functions(tree: ast.AST) -> Iterator[FUNCTION]:
    return (node for node in ast.walk(tree) if isinstance(node, FUNCTION))


def body_lines(function: FUNCTION) -> int:
    """The lines of a function without its signature and its docstring."""
    first = function.body[1 if ast.get_docstring(function) and len(function.body) > 1 else 0]
    return (function.end_lineno or 0) - first.lineno + 1


def public(node: ast.Module | ast.ClassDef) -> Iterator[ast.Module | ast.ClassDef | FUNCTION]:
    yield node
    for child in node.body:
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from public(child)
        elif isinstance(child, FUNCTION) and not child.name.startswith("_"):
            yield child


def nesting(body: list[ast.stmt]) -> int:
    """How deep control flow is nested; `elif` is no deeper than its `if`, a nested `def` starts anew."""
    return max(map(_depth, body), default=0)


def _depth(node: ast.AST) -> int:
    if isinstance(node, FUNCTION | ast.ClassDef):
        return 0
    if isinstance(node, ast.If) and [type(other) for other in node.orelse] == [ast.If]:
        return max(1 + nesting(node.body), nesting(node.orelse))
    inner = max(map(_depth, ast.iter_child_nodes(node)), default=0)
    return inner + isinstance(node, CONTROL_FLOW)


RULES = (
    every_module_is_in_a_room,
    imports_come_from_the_rooms_above,
    the_pure_rooms_read_no_presets,
    adapters_are_called_through_make,
    imports_are_absolute,
    libraries_have_one_home,
    the_pure_rooms_are_pure,
    nothing_is_unsafe,
    control_flow_is_shallow,
    local_functions_are_simple,
    bodies_are_short,
    parameters_are_few,
    everything_public_has_a_docstring,
)


def where(module: Module, line: int) -> str:
    path = Path("ppo_jax", *module.name.split("."))
    file = (
        path.with_suffix(".py")
        if (PACKAGE.parent / path.with_suffix(".py")).exists()
        else path / "__init__.py"
    )
    return f"{file}:{line}"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_package_keeps_to_its_design(rule):
    violations = [
        f"{where(module, line)}: {what}" for module in MODULES.values() for line, what in rule(module)
    ]
    assert not violations, "\n" + "\n".join(violations)


def test_nothing_is_unsafe_outside_of_the_package_either():
    folders = (PACKAGE.parent / "benchmarks", PACKAGE.parent / "scripts")
    modules = [
        Module(path.name, ast.parse(path.read_text())) for folder in folders for path in folder.rglob("*.py")
    ]
    assert len(modules) > 5
    assert not [(module.name, found) for module in modules for found in nothing_is_unsafe(module)]


def test_functions_are_long_enough_to_tell_a_story():
    lengths = [body_lines(function) for module in MODULES.values() for function in functions(module.tree)]
    assert statistics.median(lengths) >= MIN_MEDIAN_BODY_LINES


def test_partials_are_few_and_files_are_short():
    sources = {path: path.read_text() for path in PACKAGE.rglob("*.py")}
    assert sum(source.count("partial(") for source in sources.values()) <= MAX_PARTIALS
    assert not [path for path, source in sources.items() if source.count("\n") > MAX_FILE_LINES]


def test_no_modules_import_each_other_in_a_circle():
    graph = {name: {home for _, home in own_imports(module)} for name, module in MODULES.items()}
    graphlib.TopologicalSorter(graph).prepare()


LONG = "def f():\n" + "    x = 1\n" * (MAX_BODY_LINES + 1)
PLANTED = [
    (every_module_is_in_a_room, "misplaced", ""),
    (every_module_is_in_a_room, "host.misplaced", ""),
    (imports_come_from_the_rooms_above, "algorithm.gae", "from ppo_jax.scale.sweep import sweep"),
    (imports_come_from_the_rooms_above, "networks.network", "from ppo_jax.algorithm.agent import Agent"),
    (
        imports_come_from_the_rooms_above,
        "scale.sweep",
        "def f():\n    import ppo_jax.host.training.session",
    ),
    (imports_come_from_the_rooms_above, "algorithm.update", "from ppo_jax import Config"),
    (imports_come_from_the_rooms_above, "config", "from ppo_jax.errors import UsageError"),
    (imports_come_from_the_rooms_above, "fast.loops", "from ppo_jax.config import Config"),
    (imports_come_from_the_rooms_above, "envs.make", "from ppo_jax.networks.flax import make_network"),
    (imports_come_from_the_rooms_above, "host.programs.chunks", "from ppo_jax.host.runs import records"),
    (imports_come_from_the_rooms_above, "host.pictures.plots", "from ppo_jax.host.report import page"),
    (imports_come_from_the_rooms_above, "host.runs.policy", "from ppo_jax.cli import main"),
    (the_pure_rooms_read_no_presets, "algorithm.train", "def f():\n    from ppo_jax.presets import preset"),
    (adapters_are_called_through_make, "algorithm.train", "from ppo_jax.envs import gymnax"),
    (adapters_are_called_through_make, "host.pictures.film", "from ppo_jax.envs.gymnax import wrap"),
    (adapters_are_called_through_make, "algorithm.train", "from ppo_jax.envs.brax import make_dynamics"),
    (imports_are_absolute, "algorithm.loss", "from . import gae"),
    (libraries_have_one_home, "algorithm.train", "from flax import linen"),
    (libraries_have_one_home, "networks.network", "import flax"),
    (libraries_have_one_home, "envs.gymnax", "from mujoco_playground import registry"),
    (libraries_have_one_home, "networks.flax", "import gymnax.environments"),
    (libraries_have_one_home, "host.runs.options", "import tyro"),
    (libraries_have_one_home, "host.diagnosis.health", "from matplotlib.figure import Figure"),
    (
        libraries_have_one_home,
        "host.runs.checkpoints.store",
        "import orbax.checkpoint.experimental.v1 as ocp",
    ),
    (the_pure_rooms_are_pure, "algorithm.train", "import time"),
    (the_pure_rooms_are_pure, "algorithm.train", "from pathlib import Path"),
    (the_pure_rooms_are_pure, "algorithm.train", "import jax\nf = jax.jit(g)"),
    (the_pure_rooms_are_pure, "algorithm.train", "from jax import jit"),
    (the_pure_rooms_are_pure, "algorithm.train", "from jax import debug as quiet\nquiet.print('x')"),
    (the_pure_rooms_are_pure, "algorithm.train", "import jax\njax.pure_callback(f, x)"),
    (the_pure_rooms_are_pure, "fast.loops", "from jax.experimental import io_callback"),
    (the_pure_rooms_are_pure, "scale.sweep", "import numpy as np\nnp.random.seed(0)"),
    (the_pure_rooms_are_pure, "algorithm.gae", "print('hello')"),
    (the_pure_rooms_are_pure, "envs.make", "open('file')"),
    (nothing_is_unsafe, "host.runs.records", "from pickle import loads"),
    (nothing_is_unsafe, "cli", "eval('1')"),
    (nothing_is_unsafe, "host.runs.records", "import numpy as np\nnp.load(file, allow_pickle=True)"),
    (nothing_is_unsafe, "host.runs.records", "import numpy as np\nnp.load(file, allow_pickle=flag)"),
    (nothing_is_unsafe, "host.runs.records", "import yaml\nyaml.load(text, Loader=yaml.SafeLoader)"),
    (nothing_is_unsafe, "host.runs.records", "from yaml import unsafe_load"),
    (
        control_flow_is_shallow,
        "algorithm.gae",
        "def f():\n  for a in b:\n    if a:\n      while a:\n        pass",
    ),
    (
        control_flow_is_shallow,
        "algorithm.gae",
        "class C:\n def f(self):\n  for a in b:\n    with a:\n      if a: pass",
    ),
    (local_functions_are_simple, "algorithm.gae", "def f():\n  def g():\n    for x in y:\n      if x: pass"),
    (local_functions_are_simple, "algorithm.gae", "def f():\n  def g():\n    def h():\n      pass"),
    (bodies_are_short, "algorithm.gae", LONG),
    (parameters_are_few, "algorithm.gae", "def f(a, b, c, d, e, /, f, g, *, h, i): pass"),
    (everything_public_has_a_docstring, "algorithm.gae", "x = 1"),
    (everything_public_has_a_docstring, "algorithm.gae", "'''Doc.'''\ndef f(): pass"),
    (
        everything_public_has_a_docstring,
        "algorithm.gae",
        "'''Doc.'''\nclass C:\n  '''Doc.'''\n  def f(self): pass",
    ),
]


@pytest.mark.parametrize(("rule", "name", "source"), PLANTED)
def test_each_rule_finds_a_planted_violation(rule, name, source):
    assert list(rule(Module(name, ast.parse(source))))


INNOCENT = [
    (control_flow_is_shallow, "def f():\n  if a:\n    pass\n  elif b:\n    pass\n  elif c:\n    if d: pass"),
    (local_functions_are_simple, "def f():\n  def g():\n    if x: pass\n  return g"),
    (
        bodies_are_short,
        LONG.replace("    x = 1\n", "    '''Doc.\n\n    '''\n    x = 1\n", 1)[: -len("    x = 1\n")],
    ),
    (parameters_are_few, "def f(self, a, b, c, d, e, f, g, h): pass"),
    (imports_come_from_the_rooms_above, "from ppo_jax.envs import environment"),
    (the_pure_rooms_are_pure, "timestep = 1\nx.open"),
    (nothing_is_unsafe, "np.load(file, allow_pickle=False)\nx.eval()"),
    (everything_public_has_a_docstring, "'''Doc.'''\ndef _f(): pass"),
]


@pytest.mark.parametrize(("rule", "source"), INNOCENT)
def test_no_rule_complains_about_what_is_allowed(rule, source):
    assert not list(rule(Module("algorithm.gae", ast.parse(source))))


@pytest.mark.parametrize("module", ["ppo_jax", "ppo_jax.config", "ppo_jax.presets", "ppo_jax.envs.registry"])
def test_what_the_command_line_needs_to_answer_at_once_imports_nothing_heavy(module):
    program = (
        f"import sys, {module}; print(*{{'jax', 'gymnax', 'flax', 'optax', 'numpy'}} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd=PACKAGE.parent, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == ""
