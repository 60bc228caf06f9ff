"""The design of the package, enforced: floors, forbidden imports, and functions that stay readable.

Each rule is a function from a parsed module to its violations, and is itself tried on planted ones.
"""

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parents[1] / "ppo_jax"

# A module imports only from lines above its own. Floor 0 has an order of its own, made explicit here;
# the modules of `runs` may import each other as long as there is no circle.
FLOORS = (
    ("errors", "envs", "envs.spaces"),  # 0
    ("envs.registry", "envs.environment", "envs.episodes", "envs.deferred"),
    ("distributions", "gae", "normalization", "product", "shuffle"),
    ("config", "actor_critic", "envs.gymnax", "envs.conformance"),
    ("networks", "presets", "schedules"),
    ("rollout", "loss"),  # 1
    ("update", "estimate"),  # 2
    ("train", "evaluate"),  # 3
    ("sweep",),  # 4
    ("runs",),  # 5
    ("cli",),  # 6
    ("",),  # "" is the package itself, which re-exports
)
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}
ON_THE_HOST = {"presets", "envs.conformance"}  # for the host alone: no pure module may import them
CORE = {name for name, level in LEVEL.items() if level < LEVEL["sweep"]} - ON_THE_HOST

# The only module that may know a library.
HOME = {
    "gymnax": "envs.gymnax",
    "flax": "networks",
    "gymnasium": "runs.render",
    "orbax": "runs.arrays",
    "orjson": "runs.records",
}
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
MAX_BODY_LINES = 50
MAX_PARAMETERS = 8

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
        elif isinstance(node, ast.Attribute | ast.Name):
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


def level(name: str) -> int | None:
    return LEVEL.get("runs" if name.startswith("runs.") else name)


def matches(name: str, *prefixes: str) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


# The rules


def every_module_has_a_floor(module: Module) -> Violations:
    if level(module.name) is None:
        yield 1, f"{module.name} has no floor"


def imports_come_from_floors_below(module: Module) -> Violations:
    here = level(module.name)
    for line, name in own_imports(module) if module.name and here is not None else ():
        among_runs = matches(module.name, "runs") and matches(name, "runs")
        if not among_runs and (level(name) is None or level(name) >= here):
            yield line, f"{module.name} imports {name or 'ppo_jax'}, which is not on a floor below"


def the_core_leaves_the_host_alone(module: Module) -> Violations:
    for line, name in own_imports(module) if module.name in CORE else ():
        if name in ON_THE_HOST:
            yield line, f"the pure core imports {name}, which is for the host"


def imports_are_absolute(module: Module) -> Violations:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield node.lineno, "imports relatively"


def libraries_have_one_home(module: Module) -> Violations:
    for line, name in used_names(module):
        library = name.split(".")[0]
        if HOME.get(library, module.name) != module.name:
            yield line, f"only {HOME[library]} may know {library}"


def the_core_is_pure(module: Module) -> Violations:
    for line, name in used_names(module) if module.name in CORE else ():
        if matches(name, *IMPURE) or "callback" in name:
            yield line, f"the pure core uses {name}"


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


def functions_are_not_nested(module: Module) -> Violations:
    for outer in functions(module.tree):
        for inner in functions(outer):
            if inner is not outer and (nesting(inner.body) or len(list(functions(inner))) > 1):
                yield inner.lineno, f"{inner.name} has logic of its own inside {outer.name}"


def bodies_are_short(module: Module) -> Violations:
    for function in functions(module.tree):
        first = function.body[1 if ast.get_docstring(function) and len(function.body) > 1 else 0]
        lines = (function.end_lineno or 0) - first.lineno + 1
        if lines > MAX_BODY_LINES:
            yield function.lineno, f"the body of {function.name} has {lines} lines"


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
    every_module_has_a_floor,
    imports_come_from_floors_below,
    the_core_leaves_the_host_alone,
    imports_are_absolute,
    libraries_have_one_home,
    the_core_is_pure,
    nothing_is_unsafe,
    control_flow_is_shallow,
    functions_are_not_nested,
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


def test_no_modules_import_each_other_in_a_circle():
    graph = {name: {home for _, home in own_imports(module)} for name, module in MODULES.items()}
    graphlib.TopologicalSorter(graph).prepare()


LONG = "def f():\n" + "    x = 1\n" * (MAX_BODY_LINES + 1)
PLANTED = [
    (every_module_has_a_floor, "misplaced", ""),
    (imports_come_from_floors_below, "gae", "from ppo_jax.train import Metrics"),
    (imports_come_from_floors_below, "train", "from ppo_jax.evaluate import evaluate"),
    (imports_come_from_floors_below, "sweep", "def f():\n    import ppo_jax.runs.session"),
    (imports_come_from_floors_below, "update", "from ppo_jax import Config"),
    (imports_come_from_floors_below, "config", "from ppo_jax.envs import gymnax"),
    (imports_come_from_floors_below, "actor_critic", "from ppo_jax.networks import make_network"),
    (imports_come_from_floors_below, "schedules", "from ppo_jax.update import Learner"),
    (the_core_leaves_the_host_alone, "train", "from ppo_jax.envs import conformance"),
    (the_core_leaves_the_host_alone, "train", "def f():\n    from ppo_jax.presets import preset"),
    (imports_are_absolute, "loss", "from . import gae"),
    (libraries_have_one_home, "train", "from flax import linen"),
    (libraries_have_one_home, "actor_critic", "import flax"),
    (libraries_have_one_home, "networks", "import gymnax.environments"),
    (the_core_is_pure, "train", "import time"),
    (the_core_is_pure, "train", "from pathlib import Path"),
    (the_core_is_pure, "train", "import jax\nf = jax.jit(g)"),
    (the_core_is_pure, "train", "from jax import jit"),
    (the_core_is_pure, "train", "from jax import debug as quiet\nquiet.print('x')"),
    (the_core_is_pure, "train", "import jax\njax.pure_callback(f, x)"),
    (the_core_is_pure, "train", "from jax.experimental import io_callback"),
    (the_core_is_pure, "train", "import numpy as np\nnp.random.seed(0)"),
    (the_core_is_pure, "gae", "print('hello')"),
    (the_core_is_pure, "gae", "open('file')"),
    (nothing_is_unsafe, "runs.records", "from pickle import loads"),
    (nothing_is_unsafe, "cli", "eval('1')"),
    (nothing_is_unsafe, "runs.records", "import numpy as np\nnp.load(file, allow_pickle=True)"),
    (nothing_is_unsafe, "runs.records", "import numpy as np\nnp.load(file, allow_pickle=flag)"),
    (nothing_is_unsafe, "runs.records", "import yaml\nyaml.load(text, Loader=yaml.SafeLoader)"),
    (nothing_is_unsafe, "runs.records", "from yaml import unsafe_load"),
    (libraries_have_one_home, "runs.store", "import orbax.checkpoint.experimental.v1 as ocp"),
    (control_flow_is_shallow, "gae", "def f():\n  for a in b:\n    if a:\n      while a:\n        pass"),
    (control_flow_is_shallow, "gae", "class C:\n def f(self):\n  for a in b:\n    with a:\n      if a: pass"),
    (functions_are_not_nested, "gae", "def f():\n  def g():\n    if x:\n      pass"),
    (functions_are_not_nested, "gae", "def f():\n  def g():\n    def h():\n      pass"),
    (bodies_are_short, "gae", LONG),
    (parameters_are_few, "gae", "def f(a, b, c, d, e, /, f, g, *, h, i): pass"),
    (everything_public_has_a_docstring, "gae", "x = 1"),
    (everything_public_has_a_docstring, "gae", "'''Doc.'''\ndef f(): pass"),
    (everything_public_has_a_docstring, "gae", "'''Doc.'''\nclass C:\n  '''Doc.'''\n  def f(self): pass"),
]


@pytest.mark.parametrize(("rule", "name", "source"), PLANTED)
def test_each_rule_finds_a_planted_violation(rule, name, source):
    assert list(rule(Module(name, ast.parse(source))))


INNOCENT = [
    (control_flow_is_shallow, "def f():\n  if a:\n    pass\n  elif b:\n    pass\n  elif c:\n    if d: pass"),
    (functions_are_not_nested, "def f():\n  def g():\n    return 1\n  return g"),
    (
        bodies_are_short,
        LONG.replace("    x = 1\n", "    '''Doc.\n\n    '''\n    x = 1\n", 1)[: -len("    x = 1\n")],
    ),
    (parameters_are_few, "def f(self, a, b, c, d, e, f, g, h): pass"),
    (the_core_leaves_the_host_alone, "from ppo_jax.envs import environment"),
    (the_core_is_pure, "timestep = 1\nx.open"),
    (nothing_is_unsafe, "np.load(file, allow_pickle=False)\nx.eval()"),
    (everything_public_has_a_docstring, "'''Doc.'''\ndef _f(): pass"),
]


@pytest.mark.parametrize(("rule", "source"), INNOCENT)
def test_no_rule_complains_about_what_is_allowed(rule, source):
    assert not list(rule(Module("gae", ast.parse(source))))


@pytest.mark.parametrize("module", ["ppo_jax", "ppo_jax.config", "ppo_jax.presets", "ppo_jax.envs.registry"])
def test_what_the_command_line_needs_to_answer_at_once_imports_nothing_heavy(module):
    program = (
        f"import sys, {module}; print(*{{'jax', 'gymnax', 'flax', 'optax', 'numpy'}} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd=PACKAGE.parent, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == ""
