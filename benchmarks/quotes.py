"""Writes the figures that pages and presets quote, from the records that hold them.

Run it after a measurement: `python benchmarks/quotes.py`. A page marks what it quotes, and everything between
the marks is written anew:

    <!-- quote: benchmark -->
    ...
    <!-- end of quote -->

`tests/pages/test_quotes.py` fails if a page or a preset says anything else than the records.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path

import figures

ROOT = figures.ROOT
MARKED = re.compile(r"(<!-- quote: (\S+) -->\n).*?(<!-- end of quote -->)", re.DOTALL)
QUOTES: dict[str, Callable[[], str]] = {
    "acting": figures.acting,
    "bfloat16": figures.bfloat16,
    "benchmark": figures.benchmark,
    "diagnostics": figures.diagnostics,
    "environments": figures.environments,
    "exchanges": figures.exchanges,
    "expensive-reset": figures.expensive_reset,
    "fast-forms": figures.fast_forms,
    "gallery": figures.gallery,
    "gallery-conditions": figures.gallery_conditions,
    "host-loop": figures.host_loop,
    "learning": figures.learning_all,
    "learning-conditions": figures.learning_conditions,
    "learning-curves": figures.learning_curves,
    "limits": figures.limits,
    "many-seeds": figures.many_seeds,
    "paper-objectives": figures.paper_objectives,
    "paper-objectives-conditions": figures.paper_objectives_conditions,
    "peers-in-short": figures.peers_in_short,
    "peers-with-our-options": figures.peers_with_our_options,
    "peers-with-own-options": figures.peers_with_own_options,
    "results": figures.results,
    "searches": figures.searches,
    "speed-conditions": figures.speed_conditions,
    "simulators": figures.simulators,
    "sweep-files": figures.sweep_files,
    "sweep-memory": figures.sweep_memory,
    "sweep-overhead": figures.sweep_overhead,
    "sweeps": figures.sweeps,
    "time-to-solve": figures.time_to_solve,
    "two-simulators": figures.two_simulators,
    "warm-starts": figures.warm_starts,
}


def main() -> None:
    """Rewrites every page and every preset that differs from the records, and says which."""
    texts = {path: fill(path.read_text(encoding="utf-8")) for path in pages()}
    texts |= {path: fill_preset(path.stem, path.read_text(encoding="utf-8")) for path in presets()}
    for path, text in texts.items():
        if path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")


def pages() -> list[Path]:
    """Returns the pages that may quote a record."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def presets() -> list[Path]:
    """Returns the files of all presets."""
    return sorted((ROOT / "ppo_jax" / "presets").glob("*.toml"))


def fill(text: str) -> str:
    """Returns a page with every quote written anew.

    Raises:
        KeyError: If the page asks for a quote that is not in QUOTES.
    """

    def write_anew(match: re.Match[str]) -> str:
        opening, name, closing = match.groups()
        return f"{opening}{QUOTES[name]()}\n{closing}"

    return MARKED.sub(write_anew, text)


def fill_preset(name: str, text: str) -> str:
    """Returns a preset with its table `recorded` written anew, if there is a record.

    Args:
        name: The name of the preset.
        text: The whole file.
    """
    path = record_of(name)
    if path is None:
        return text
    record = figures.read(path)
    hardware = record["hardware"]
    fields = {
        "result": record["result"],
        "command": record["command"],
        "record": path.relative_to(ROOT).as_posix(),
        "seeds": record["seeds"],
        "hardware": f"{hardware['cpu']}, {hardware['cpu_count']} cores",
        "versions": ", ".join(figures.software(record)),
    }
    table = "".join(f"{field} = {json.dumps(value)}\n" for field, value in fields.items())
    return text[: text.index("[recorded]")] + "[recorded]\n" + table


def record_of(preset: str) -> Path | None:
    """Returns the record that a preset quotes; None if it has none.

    The presets for CartPole quote how soon the task is solved, the others what their policies reach.
    """
    name = f"many_seeds/{preset}-20.json" if preset.startswith("CartPole") else f"{preset}.json"
    path = figures.RESULTS / name
    return path if path.exists() else None


if __name__ == "__main__":
    main()
