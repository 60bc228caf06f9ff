"""The figures that pages quote: each function turns records into a table or a sentence of Markdown."""

import json
import math
import re
import statistics
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ppo_jax import presets
from ppo_jax.envs.registry import LIBRARIES
from ppo_jax.host.diagnosis.rules import RULES, Rule

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"  # of learning
SPEEDS = ROOT / "benchmarks" / "results"
GALLERY = ROOT / "docs" / "gallery"  # films, and episodes.json, which says what they show
WIDTH = 115  # characters of a line of text
PACKAGES = ("python", "jax", "flax", "gymnax")  # whose versions decide a result
MANY = 3  # names that are listed; more are counted
LIBRARY, COMMAND, PRODUCTS = "ours-library", "ours-command", "products"  # names in the record of the peers
NAMES = {LIBRARY: "ppo_jax, library", COMMAND: "ppo_jax, command", PRODUCTS: "matrix products alone"}
LEARNING = ("preset", "seeds", "steps", "greedy return", "worst seed")
SELECTED = (  # for the README
    *("CartPole-v1", "Acrobot-v1", "MountainCar-v0", "Pendulum-v1"),
    *("MemoryChain-bsuite", "DeepSea-bsuite", "Breakout-MinAtar"),
)
Record = dict[str, Any]


# Learning


def learning_all() -> str:
    """Returns the learning results of all presets, with the command that prints each."""
    rows = [[*_learning_cells(record), f"`{record['command']}`"] for record in _learning_records()]
    return _table([*LEARNING, "command"], rows)


def results() -> str:
    """Returns the results that the README shows: a table of selected presets, and the rest in a paragraph."""
    records = {record["preset"]: record for record in _learning_records()}
    table = _table(LEARNING, [_learning_cells(records[name]) for name in SELECTED])
    text = f"{_conditions([records[name] for name in SELECTED])} {_most_seeds()} {_throughput()}"
    return f"{table}\n\n{_paragraph(text)}"


def learning_curves() -> str:
    """Returns the pictures of all learning curves."""
    return "\n".join(f"![{record['preset']}]({record['preset']}.png)" for record in _learning_records())


def learning_conditions() -> str:
    """Says what the learning results were measured on: nearly all of them on one machine."""
    groups: dict[str, list[str]] = {}
    for record in (*_learning_records(), *_many_seeds_records()):
        groups.setdefault(_conditions([record]), []).append(record.get("preset", ""))
    usual = max(groups, key=lambda conditions: len(groups[conditions]))
    others = [
        f"{_listed(sorted(set(names)))}: {conditions[0].lower()}{conditions[1:]}"
        for conditions, names in groups.items()
        if conditions != usual
    ]
    return _paragraph(" ".join([usual, *others]))


def many_seeds() -> str:
    """Returns how soon CartPole is solved, by every recipe and number of seeds."""
    rows = [[f"`{record['command']}`", record["result"]] for record in _many_seeds_records()]
    return _table(["command", "result"], rows)


def _most_seeds() -> str:
    """Says how soon CartPole is solved from the most seeds."""
    record = max(_many_seeds_records(), key=lambda record: record["seeds"])
    return (
        f"`{record['command']}` trains {record['preset']} from {record['seeds']} seeds in one program: "
        f"{record['result']}."
    )


def bfloat16() -> str:
    """Compares learning in bfloat16 with learning in float32."""
    sentences = []
    for path in sorted((RESULTS / "bfloat16").glob("*.json")):
        record, usual = read(path), read(RESULTS / path.name)
        sentences.append(
            f"On {record['preset']}, {record['seeds']} seeds reach a greedy return of "
            f"{_learning_cells(record)[3]} in bfloat16, and {_learning_cells(usual)[3]} in float32."
        )
    return _paragraph(" ".join(sentences))


def paper_objectives() -> str:
    """Returns the table of the paper's objectives, with the paper's scores beside ours."""
    record = read(ROOT / "docs" / "paper_objectives.json")
    rows = []
    for setting in record["settings"]:
        scores = (setting["score"], setting["published"], *setting["score_of_task"].values())
        rows.append([setting["label"], *(f"{score:.2f}" for score in scores)])
    return _table(["objective", "score here", "score in the paper", *record["tasks"]], rows)


def paper_objectives_conditions() -> str:
    """Says how the table of the paper's objectives was measured."""
    record = read(ROOT / "docs" / "paper_objectives.json")
    return _paragraph(
        f"Printed by `{record['command']}`: {len(record['settings'])} settings, each from {record['seeds']} "
        f"seeds for {record['env_steps']:,} steps on {_listed(record['tasks'])}. {_conditions([record])}"
    )


# The gallery


def gallery() -> str:
    """Returns a row for each preset: its curve, an episode, its result, and its command."""
    episodes = read(GALLERY / "episodes.json")["episodes"]
    rows = []
    for name in presets.names():
        curve, result = _learned(name)
        film = ""
        if name in episodes:
            shown = "{steps} steps, return {return:.4g}".format(**episodes[name])
            film = f"![{name}: {shown}](gallery/{name}.gif)"
        rows.append([f"`ppo-jax train --preset {name}`", curve, film, result])
    return _table(["command", "learning curve", "an episode", "result"], rows)


def gallery_conditions() -> str:
    """Says how the episodes of the gallery were drawn."""
    record = read(GALLERY / "episodes.json")
    return _paragraph(f"Drawn by `{record['command']}`. {_conditions([record])}")


def _learned(name: str) -> tuple[str, str]:
    """Returns the learning curve and the result of a preset, or what would record them."""
    for path in (RESULTS / f"{name}.json", RESULTS / "many_seeds" / f"{name}-20.json"):
        if path.exists():
            picture = path.with_suffix(".png").relative_to(GALLERY.parent).as_posix()
            return f"![Learning curve of {name}]({picture})", read(path)["result"]
    return f"`python benchmarks/learning.py {name}` would draw it", "not recorded"


# Diagnosis


def diagnostics() -> str:
    """Returns the rules by which diagnostics are judged, a table for each metric."""
    heads = ["value", "verdict", "meaning", "try"]
    return "\n\n".join(
        f"### `{metric}`\n\n{_table(heads, map(_rule_cells, rules))}" for metric, rules in RULES.items()
    )


def _rule_cells(rule: Rule) -> list[str]:
    """Returns a row of the table; a rule about a fact has no value, because its meaning states the fact."""
    value = "" if isinstance(rule.when, str) else _values_up_to(rule.when, rule.measure.words)
    return [
        value,
        rule.verdict,
        *(re.sub(r"--[\w-]+", r"`\g<0>`", text) for text in (rule.meaning, rule.advice)),
    ]


def _values_up_to(most: float, words: str) -> str:
    """Says which values a rule is about, given that no rule before it applies."""
    if math.isinf(most):
        return "more"
    is_just_below = round(most, 2) != most and math.isclose(most, round(most, 2))
    words = re.sub(r",? (?:over|the median of) \{\w+\}", "", words.removeprefix("at most "))
    words = words.replace("{value", f"{'less than' if is_just_below else 'at most'} {{value")
    return words.format(value=most, recent="the last updates")


# Environments


def environments() -> str:
    """Returns how many environments of each library keep to the contract, and why the others do not."""
    rows = []
    for path in sorted(SPEEDS.glob("environments-*.json")):
        record, library = read(path), path.stem.removeprefix("environments-")
        problems = record["problems"]
        conforming = [name for name, problem in problems.items() if not problem]
        rows.append(
            [
                f"{record['library']} {record['versions'][library]}",
                f"`{library}:{conforming[0]}`",
                f"{len(conforming)} of {len(problems)}",
                _exceptions(problems),
            ]
        )
    return _table(["library", "example", "conform", "others, with the reason"], rows)


def _exceptions(problems: dict[str, str]) -> str:
    """Says which environments have a problem, together where it is the same."""
    sentences = []
    for problem in dict.fromkeys(filter(None, problems.values())):
        names = [f"`{name}`" for name, other in problems.items() if other == problem]
        who = _listed(names) if len(names) <= MANY else f"{len(names)} others, such as {names[0]}"
        reason = problem.rpartition(" does not work with its defaults: ")[2].replace("|", "")
        sentences.append(f"{who}: {reason}")
    return "; ".join(sentences)


# Speed


def speed_conditions() -> str:
    """Says what all speeds were measured on."""
    names = ("benchmark", "agents", "peers", "fast-forms", "host-loop", "time-to-solve")
    return _paragraph(_conditions([_speeds(name) for name in names]))


def benchmark() -> str:
    """Returns the speed of each part at each shape, and that of several agents."""
    headings = ("environments x steps", "agents", "part", "compile s", "memory MB", "steps/s")
    several = [row for row in _speeds("agents")["measurements"] if row["agents"] > 1]
    rows = [
        [
            _shape(row["shape"]),
            str(row["agents"]),
            row["part"],
            f"{row['compile_seconds']:.1f}",
            f"{row['memory_bytes'] / 1e6:,.1f}",
            f"{row['steps_per_second']:,.0f}",
            f"{row['slowest']:,.0f} to {row['fastest']:,.0f}",
            f"{_flops(row) / 1e9:.0f}" if row["part"] in ("training", "matrix products") else "",
        ]
        for row in (*_speeds("benchmark")["measurements"], *several)
    ]
    return _table([*headings, "slowest to fastest", "GFLOP/s"], rows)


def limits() -> str:
    """Says how much is reached of what the device can do."""
    record = _speeds("benchmark")
    rows = {(row["part"], row["shape"]): row for row in record["measurements"]}
    shapes = [shape for part, shape in rows if part == "training"]
    reached = [_flops(rows["training", shape]) for shape in shapes]
    products = [_flops(rows["matrix products", shape]) for shape in shapes]
    most = record["limits"]["flops_per_second"]
    shares = [one / other for one, other in zip(reached, products, strict=True)]
    of_products = _listed(
        f"{share:.0%} at {_shape(shape)}" for share, shape in zip(shares, shapes, strict=True)
    )
    row = rows["training", shapes[0]]
    acting = row["flops_per_step"] - record["options"]["num_epochs"] * row["flops_per_sample"]
    of_most = _listed(f"{one / most:.0%}" for one in reached)
    return _paragraph(
        f"As a share of the speed of its matrix products alone, training reaches {of_products}. Large square "
        f"products reach {most / 1e9:.0f} GFLOP/s on this machine; training reaches {of_most} of that at the "
        f"same shapes. The matrix products of one environment step take {row['flops_per_step'] / 1e3:.0f} "
        f"kFLOP: {acting / 1e3:.1f} to act and to estimate the value, and "
        f"{row['flops_per_sample'] / 1e3:.1f} in each epoch."
    )


def peers_with_own_options() -> str:
    """Returns the speed of this and other packages, compiled with XLA's own options."""
    return _peers_with("own")


def peers_with_our_options() -> str:
    """Returns the speed of this and other packages, compiled with the options of the command."""
    return _peers_with("ours")


def _peers_with(xla: str) -> str:
    rows = []
    for outcome in _measured_peers(xla):
        job, compiling, peer = outcome["job"], outcome["compile_seconds"], outcome["peer"]
        ratio = "" if peer == PRODUCTS else _ratio(*_middle_and_ends(outcome["ours_over_peer"]))
        rows.append(
            [
                _shape(f"{job['num_envs']}x{job['num_steps']}"),
                str(job["agents"]),
                str(job["cores"]),
                NAMES.get(peer, f"{peer} {outcome['version']}".strip()),
                "" if compiling is None else f"{compiling:.1f}",
                f"{_median_rate(outcome):,.0f}",
                ratio,
                f"{statistics.median(outcome['share_of_products']):.0%}",
            ]
        )
    head = ["environments x steps", "agents", "cores", "package", "compile s", "steps/s", "ratio"]
    return _table([*head, "share of products"], rows)


def peers_in_short() -> str:
    """Says how much faster than the fastest other package training is, and what our options of XLA gain."""
    record = _speeds("peers")
    cores = record["hardware"]["cpu_count"]
    own, ours = ([_span(_leads(xla, count)) for count in (cores, 1)] for xla in ("own", "ours"))
    plain, tuned, command = (
        _rates_of(*who) for who in ((LIBRARY, "own"), (LIBRARY, "ours"), (COMMAND, "ours"))
    )
    gain, lead = _span(_median_ratios(tuned, plain)), _span(_median_ratios(command, tuned))
    return _paragraph(
        f"With XLA's own options for every package, `jax.jit(ppo_jax.train)` is {own[0]} times as fast as "
        f"the fastest other package on {cores} cores, and {own[1]} times as fast on one. With the options of "
        f"the command for every package, it is {ours[0]} and {ours[1]} times as fast. These options make it "
        f"{gain} times as fast as without them; the command is then {lead} times as fast as the library. "
        f"Measured at commit {record['code']['commit'][:10]}."
    )


def _throughput() -> str:
    """Says how fast training is, and how much faster than the fastest other package."""
    rows = _speeds("benchmark")["measurements"]
    rates = [row["steps_per_second"] for row in rows if row["part"] == "training"]
    others = {outcome["peer"] for outcome in _measured_peers("own")} - set(NAMES)
    cores = _speeds("peers")["hardware"]["cpu_count"]
    return (
        f"On CartPole-v1, training runs at {min(rates):,.0f} to {max(rates):,.0f} environment steps per "
        "second, depending on the number of environments. With XLA's own options for every package, "
        f"`jax.jit(ppo_jax.train)` is {_span(_leads('own', cores))} times as fast as the fastest of "
        f"{len(others)} other packages, and {_span(_leads('own', 1))} times as fast on one core "
        "([docs/performance.md](docs/performance.md))."
    )


def time_to_solve() -> str:
    """Says how long it takes until CartPole is solved."""
    runs = _speeds("time-to-solve")["runs"]
    of_kind = {kind: [run for run in runs if run["kind"] == kind] for kind in ("cold", "warm")}
    wall = {kind: [run["wall_seconds"] for run in those] for kind, those in of_kind.items()}
    compiling = {
        kind: statistics.median(run["compile_seconds"] for run in those) for kind, those in of_kind.items()
    }
    training = [run["train_seconds"] for run in (*of_kind["cold"], *of_kind["warm"])]
    return _paragraph(
        f"With nothing compiled beforehand, this takes {statistics.median(wall['cold']):.1f} s (at most "
        f"{max(wall['cold']):.1f} s), of which compiling takes {compiling['cold']:.1f} s. With `--cache-dir` "
        "and the programs that an earlier run left there, this takes "
        f"{statistics.median(wall['warm']):.1f} s (at most {max(wall['warm']):.1f} s), of which compiling "
        f"takes {compiling['warm']:.1f} s. Training alone takes {statistics.median(training):.2f} s (at most "
        f"{max(training):.2f} s). These are medians over {len(wall['cold'])} runs of the first kind and "
        f"{len(wall['warm'])} of the second."
    )


def host_loop() -> str:
    """Says what the host adds to the time of training."""
    record = _speeds("host-loop")
    share = record["share_of_the_host"]["median"]
    checkpoint = record["seconds_per_checkpoint"]["median"] * 1e3
    return _paragraph(
        f"The host trains {record['preset']} in chunks, writes metrics and watches for NaN. Together this "
        f"takes {share:.1%} longer than training in a single call. A checkpoint takes {checkpoint:.0f} ms."
    )


def expensive_reset() -> str:
    """Says what expensive resets cost, drawn for every step and from a pool."""
    record = _speeds("expensive-reset")
    options = record["options"]

    def ratio(part: str, kind: str) -> str:
        row = record[part][kind]
        return _ratio(row["ratio"], row["least"], row["most"])

    rows = [
        [words, *(ratio(part, kind) for part in ("training", "rollout"))]
        for kind, words in (
            ("every step", "a first state for every step of every copy"),
            ("pool", f"a pool of {options['pool']} first states for each rollout"),
        )
    ]
    head = f"expensive reset, {options['num_envs']} x {options['num_steps']}"
    return _table([head, "training, times as long", "rollout alone, times as long"], rows)


def sweeps() -> str:
    """Returns what many seeds cost in one sweep, beside as many runs."""
    record = _speeds("sweeps")
    rows = [
        [
            f"{row['seeds']}",
            f"{row['total_seconds']:.0f} s",
            f"{row['steps_per_second']:,}",
            f"{row['share_of_runs']:.2f}",
            f"{row['share_of_training']:.2f}",
            f"{row['peak_bytes'] / 2**30:.2f} GiB",
        ]
        for row in record["sweeps"]
    ]
    heads = ["seeds", "total time", "steps/s", "ratio", "ratio, training", "peak RAM"]
    run = record["run"]
    single = (
        f"A single run took {run['total_seconds']:.1f} s, {run['train_seconds']:.1f} s of them training "
        f"({run['steps_per_second']:,} steps/s)."
    )
    return f"{_table(heads, rows)}\n\n{single}"


def sweep_memory() -> str:
    """Returns what a member of a sweep takes, and what is predicted."""
    rows = [
        [
            "-".join(map(str, row["hidden_sizes"])),
            f"{row['peak_of_few'] / 2**30:.2f} GiB with {row['few']}",
            f"{row['peak_of_many'] / 2**30:.2f} GiB with {row['many']:,}",
            f"{row['bytes_of_a_member'] / 1e6:.2f} MB",
            f"{row['predicted'] / 1e6:.2f} MB",
        ]
        for row in _speeds("sweep-memory")["cases"]
    ]
    return _table(["layers", "peak", "peak with more members", "per member", "predicted"], rows)


def sweep_overhead() -> str:
    """Says what a sweep costs beyond its members."""
    record = _speeds("sweep-overhead")
    pairs = list(zip(record["seconds_alone"], record["seconds_as_sweep"], strict=True))
    each = ", ".join(f"{as_sweep / alone:.3f}" for alone, as_sweep in pairs)
    return _paragraph(
        f"A sweep of {record['members']} seeds of {record['preset']} takes {1 + record['overhead']:.3f} "
        "times as long as their program alone, counting everything from the call to the summary except "
        f"compiling: the median of {len(pairs)} pairs ({each}). The first pair includes what a process "
        "imports once."
    )


def sweep_files() -> str:
    """Says what the metrics of a sweep take as a NumPy array and as Parquet."""
    record = _speeds("sweep-files")
    numpy, parquet = record["files"]["NumPy"], record["files"]["Parquet"]

    def describe(row: Record) -> str:
        write, read = (row[name] * 1e3 for name in ("seconds_to_write", "seconds_to_read_one_column"))
        size = row["bytes"] / 1e6
        return f"{size:.1f} MB, {write:.0f} ms to write, and {read:.1f} ms to read one metric of all members"

    return _paragraph(
        f"{record['members']} members with {record['updates']} updates of {record['columns']} columns take "
        f"{describe(numpy)}. As Parquet (pyarrow {record['pyarrow']}), they take {describe(parquet)}."
    )


def searches() -> str:
    """Returns what searches find with fewer steps than random search."""
    record = _speeds("searches")

    def band(values: Sequence[float]) -> str:
        return "{:.3g} [{:.3g}, {:.3g}]".format(*values)

    rows = [
        [task["preset"], name, f"{row['share_of_steps']:.0%}", band(row["return"]), band(row["gain"])]
        for task in record["tasks"]
        for name, row in task["searches"].items()
    ]
    heads = ["task", "search", "steps", "return", "minus random search"]
    return _table(heads, rows)


def two_simulators() -> str:
    """Returns by how much gymnax and Gymnasium differ, step by step and in the returns of policies."""

    def band(row: Record) -> str:
        return "{iqm:.1f} [{low:.1f}, {high:.1f}]".format(**row)

    rows = [
        [
            f"{row['env']}",
            f"{row['steps']:,}",
            f"{row['largest_difference_of_observations']:.1e}",
            f"{row['steps_beyond_rounding']:,}",
            f"{row['ends_in_one']:,} of {row['ends_in_one'] + row['ends_in_both']:,}",
            band(row["gymnax"]),
            band(row["gymnasium"]),
        ]
        for row in _speeds("two-simulators")["environments"]
    ]
    heads = ["environment", "steps", "largest difference", "steps above 1e-5", "ends in only one"]
    return _table([*heads, "return in gymnax", "return in Gymnasium"], rows)


def simulators() -> str:
    """Says what the host adds to simulators and to learning."""
    record = _speeds("simulators")
    parts = "seconds_of_an_update", "seconds_of_the_simulators", "seconds_of_learning"
    whole, stepping, learning = (f"{record[part] * 1e3:.0f} ms" for part in parts)
    return _paragraph(
        f"With {record['num_envs']} simulators, an update of {record['preset']} takes {whole}: {stepping} in "
        f"the simulators and {learning} to learn. The whole update takes {record['times_as_long']:.2f} times "
        f"as long as the two together, which makes {record['steps_per_second']:,} steps/s."
    )


def acting() -> str:
    """Says how long the forms of an exported policy take to act."""
    record = _speeds("acting")

    def times(form: str) -> str:
        one, batch = (record[form][f"microseconds_per_{what}"]["median"] for what in ("call", "batch"))
        return f"{one:.0f} microseconds for one observation and {batch:.0f} for {record['batch']}"

    return _paragraph(
        f"For {record['preset']}, a call of `act` takes {times('numpy')} as NumPy, {times('onnx')} in "
        f"onnxruntime, and {times('stablehlo')} as StableHLO. {_conditions([record])}"
    )


def exchanges() -> str:
    """Says what an exchange between processes costs, and how an update compares with the model."""
    record = _speeds("exchanges")
    count = record["processes"]
    small, gradient, computing, predicted, measured = (
        f"{record[name] * 1e3:.1f} ms"
        for name in (
            "seconds_of_a_small_exchange",
            "seconds_of_a_gradient",
            "seconds_of_computing",
            "predicted_seconds_of_an_update",
            "seconds_of_an_update",
        )
    )
    return _paragraph(
        f"{count} processes of one core each exchange four numbers in {small}, and a gradient of "
        f"{record['num_params']:,} numbers in {gradient}. At {record['num_envs']} x {record['num_steps']}, "
        f"with K = 4 and M = 4, an update of {record['num_envs'] // count} environments takes {computing} in "
        f"one process. With the exchanges, the model predicts {predicted}; measured in {count} processes, it "
        f"takes {measured}."
    )


def warm_starts() -> str:
    """Says what a teacher and a warm start save in the corridor with a sign."""
    record = _speeds("warm-starts")
    taught, further = record["teacher"], record["warm_start"]

    def band(values: Sequence[float], form: str) -> str:
        iqm, low, high = (format(value, form) for value in values)
        return f"{iqm} [{low}, {high}]"

    rows = [
        [name, f"{taught[arm]['solved']} of {record['seeds']}", band(taught[arm]["band"], ",.0f")]
        for arm, name in {"alone": "rewards alone", "taught": "with a teacher"}.items()
    ]
    first = _paragraph(
        f"The task is a corridor of {taught['length']} steps, at whose end the agent has to turn to the side "
        "that a sign shows. The policy has a memory and sees the sign in the first step only; its teacher "
        "has no memory and sees the sign all the time. Steps until the mean return of 100 episodes is "
        f"{record['solved_return']}, as interquartile means over {record['seeds']} seeds with their 95 % "
        "intervals:"
    )
    table = _table(["learning from", "seeds that solve it", "environment steps"], rows)
    returns = {name: band(values, ".2f") for name, values in further["returns"].items()}
    theirs = [steps or taught["teachers"]["most"] for steps in taught["teachers"]["steps"]]
    second = _paragraph(
        f"A seed that does not solve it in {taught['alone']['most']:,} steps counts as that many. "
        f"Seed by seed, a teacher reduces the steps to {band(taught['share'], '.2f')} of those without one. "
        f"Every seed has its own teacher, trained in a corridor of {further['short']} steps; "
        f"{taught['teachers']['solved']} of {record['seeds']} teachers solve it, after "
        f"{statistics.median(theirs):,.0f} steps (median), which are not counted above."
    )
    third = _paragraph(
        f"Warm starts go from a corridor of {further['short']} steps to one of {further['long']}. After "
        f"{further['warm']['most']:,} steps in the longer one, policies that start from the shorter one "
        f"have a return of {returns['warm']}, and those from scratch {returns['scratch']}. After "
        f"{further['scratch']['most']:,}, the total of both corridors, those from scratch have "
        f"{returns['scratch, all steps']}. The difference, seed by seed, is {band(further['gain'], '.2f')}, "
        f"or {band(further['gain at equal steps'], '.2f')} with the steps of both corridors counted. Printed "
        f"by `python benchmarks/warm_starts.py`. {_conditions([record])}"
    )
    return f"{first}\n\n{table}\n\n{second}\n\n{third}"


def fast_forms() -> str:
    """Returns the fast forms beside the plain ones."""
    rows = [
        [
            form["name"],
            *(
                f"{form[name]:,.0f}" if form[name] >= 100 else f"{form[name]:.3g}"
                for name in ("fast_ns", "plain_ns")
            ),
            _ratio(form["ratio"], form["least"], form["most"]),
        ]
        for form in _speeds("fast-forms")["outcomes"]
    ]
    return _table(["work: fast form, plain form", "fast ns", "plain ns", "times as fast"], rows)


# Records


def software(record: Record) -> list[str]:
    """Returns names and versions of what decides a result: of PACKAGES, and of the library of its task."""
    libraries = [name for name in record["versions"] if name in LIBRARIES and name not in PACKAGES]
    return [f"{name} {record['versions'][name]}" for name in (*PACKAGES, *libraries)]


def read(path: Path) -> Record:
    """Reads a record."""
    return json.loads(path.read_text(encoding="utf-8"))


def _learning_records() -> list[Record]:
    return [read(path) for path in sorted(RESULTS.glob("*.json"), key=lambda path: path.stem)]


def _many_seeds_records() -> list[Record]:
    return [
        read(path) for path in sorted((RESULTS / "many_seeds").glob("*.json"), key=lambda path: path.stem)
    ]


def _speeds(name: str) -> Record:
    """Reads a record of speed on the machine that the pages tell of."""
    return read(SPEEDS / f"{name}-cpu-2-cores.json")


def _measured_peers(xla: str) -> list[Record]:
    """Returns what was measured with XLA's own options ("own"), or with those of the command ("ours")."""
    outcomes = _speeds("peers")["outcomes"]
    return [outcome for outcome in outcomes if outcome["xla"] == xla and outcome["failure"] is None]


def _rates_of(peer: str, xla: str) -> list[list[float]]:
    """Returns the speeds of all rounds, for each job."""
    return [outcome["steps_per_second"] for outcome in _measured_peers(xla) if outcome["peer"] == peer]


def _median_ratios(some: list[list[float]], others: list[list[float]]) -> list[float]:
    """Returns for each job the median over rounds of how much faster one is than the other."""
    return [
        statistics.median(one / other for one, other in zip(*rounds, strict=True))
        for rounds in zip(some, others, strict=True)
    ]


def _median_rate(outcome: Record) -> float:
    return statistics.median(outcome["steps_per_second"])


def _leads(xla: str, cores: int) -> list[float]:
    """Returns for each job on so many cores how much faster we are than the fastest other package."""
    ratios: dict[str, list[float]] = {}
    for outcome in _measured_peers(xla):
        if outcome["job"]["cores"] == cores and outcome["peer"] not in NAMES:
            ratio = statistics.median(outcome["ours_over_peer"])
            ratios.setdefault(json.dumps(outcome["job"]), []).append(ratio)
    return [min(of_job) for of_job in ratios.values()]


def _flops(row: Record) -> float:
    """Returns the FLOP per second of a measurement, in matrix products."""
    return row["flops_per_step"] * row["steps_per_second"]


def _conditions(records: Sequence[Record]) -> str:
    """Says what records were measured on.

    Raises:
        ValueError: If they were not all measured on the same machine with the same versions.
    """
    machines = {(record["hardware"]["cpu"], record["hardware"]["cpu_count"]) for record in records}
    packages = {tuple(software(record)) for record in records}
    ((cpu, cores),), (versions,) = machines, packages
    return f"Measured on {cores} cores of an {cpu} with {_listed(versions).replace('python', 'Python')}."


# Markdown


def _learning_cells(record: Record) -> list[str]:
    greedy = record["greedy"]
    return [
        record["preset"],
        str(record["seeds"]),
        f"{record['env_steps']:,}",
        f"{greedy['iqm']:.4g} [{greedy['low']:.4g}, {greedy['high']:.4g}]",
        f"{min(greedy['seeds']):.4g}",
    ]


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    first, *others = (f"| {' | '.join(cells)} |" for cells in (headings, *rows))
    return "\n".join([first, "|" + "---|" * len(headings), *others])


def _paragraph(text: str) -> str:
    """Breaks a text into lines, but not within code."""
    text = re.sub("`[^`]*`", lambda code: code.group().replace(" ", "\0"), " ".join(text.split()))
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False).replace("\0", " ")


def _listed(words: Iterable[str]) -> str:
    """Joins words as in "a, b and c"."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def _shape(name: str) -> str:
    """Writes the shape of a batch, such as 4x128, as 4 x 128."""
    num_envs, num_steps = map(int, name.split("x"))
    return f"{num_envs if num_envs < 10_000 else f'{num_envs:,}'} x {num_steps}"


def _middle_and_ends(ratios: list[float]) -> tuple[float, float, float]:
    return statistics.median(ratios), min(ratios), max(ratios)


def _span(numbers: Sequence[float]) -> str:
    return f"{min(numbers):.2f} to {max(numbers):.2f}"


def _ratio(middle: float, least: float, most: float) -> str:
    return f"{middle:.2f} [{least:.2f}, {most:.2f}]"
