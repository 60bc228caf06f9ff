"""The settings of the site: `sphinx-build -W docs build/site` writes it to build/site.

The pages are plain Markdown that a code host shows as well, so what only a site needs is done here: links to
files of the repository lead to pages that show them, equations become MathML, which browsers draw without a
script, and docstrings in Google style are read as reStructuredText.
"""

import html
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml import converter
from sphinx.application import Sphinx
from sphinx.util.osutil import relative_uri

DOCS = Path(__file__).parent
ROOT = DOCS.parent

project = "ppo_jax"
html_title = project
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.linkcode"]
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_math_renderer = "mathml"
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"

nb_execution_mode = "off"  # the notebook is shown with the outputs that it is stored with
nb_ipywidgets_js: dict[str, Any] = {}  # nothing from other hosts
nb_merge_streams = True
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
myst_update_mathjax = False
myst_url_schemes = {"http": None, "https": None, "file-of-repository": "{{path}}"}

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 90
napoleon_use_ivar = True
napoleon_use_rtype = False
default_role = "literal"  # docstrings write `code` as Markdown does

# Pages that are files of the repository, which have to lie where code hosts look for them.
COPIES = {"changelog": "CHANGELOG.md", "contributing": "CONTRIBUTING.md"}
HOMES = {**{name: page for page, name in COPIES.items()}, "README.md": "index"}
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!https?://)([^()\s#]+)(#[\w-]+)?\)")
SHOWN = (".py", ".json", ".md", ".toml", ".sh")  # what a page shows of a file; other files are only named
LARGEST = 200_000  # characters of a file that is shown
LINE = "line"  # the anchor of line 7 of a file is line-7
SECTION = re.compile(r"\w[\w ]*:$")


def setup(app: Sphinx) -> None:
    """Connects the functions below to the steps of a build."""
    app.connect("source-read", lead_to_files)
    app.connect("html-collect-pages", show_files)
    app.connect("autodoc-process-docstring", adapt_docstring, priority=400)  # before napoleon, at 500
    app.connect("autodoc-skip-member", skip_positions)
    app.add_html_math_renderer("mathml", (write_inline, None), (write_display, None))


def lead_to_files(app: Sphinx, page: str, source: list[str]) -> None:
    """Makes links of a page that lead out of docs/ lead to the pages that show those files.

    A link whose words are the name of a page gets its title instead.
    """
    folder = (ROOT / COPIES[page] if page in COPIES else DOCS / page).parent
    if page in COPIES:
        source[0] = (ROOT / COPIES[page]).read_text(encoding="utf-8")

    def lead(match: re.Match[str]) -> str:
        words, path, anchor = match.groups(default="")
        target = (folder / path).resolve()
        if not (target.exists() and target.is_relative_to(ROOT)):
            return match[0]
        name = target.relative_to(ROOT).as_posix()
        if name not in HOMES and not target.is_relative_to(DOCS):
            return f"[{words}](file-of-repository:{relative_uri(f'{page}.html', page_of(name))})"
        if words.endswith(".md") and path.endswith(words):
            words = ""
        inside = f"{HOMES[name]}.md" if name in HOMES else target.relative_to(DOCS).as_posix()
        return f"[{words}](/{inside}{anchor})"

    source[0] = LINK.sub(lead, source[0])


def page_of(name: str) -> str:
    """Returns the page that shows a file, or what is in a folder, of the repository."""
    return f"files/{name}.html"


def linked_files() -> set[Path]:
    """Returns the files and folders outside of docs/ to which pages link, and the files in such folders."""
    found = set()
    for page in (*DOCS.rglob("*.md"), *DOCS.rglob("*.ipynb"), *(ROOT / name for name in COPIES.values())):
        paths = [(page.parent / path).resolve() for _, path, _ in LINK.findall(page.read_text("utf-8"))]
        outside = [path for path in paths if path.is_relative_to(ROOT) and not path.is_relative_to(DOCS)]
        found.update(path for path in outside if path.exists())
    folders = [path for path in found if path.is_dir()]
    return found.union(*(folder.iterdir() for folder in folders)) - {ROOT / name for name in HOMES}


def linkcode_resolve(domain: str, info: dict[str, str]) -> str | None:
    """Returns where the source of something in the reference is shown; None if it is only a value."""
    thing: Any = importlib.import_module(info["module"])
    for name in info["fullname"].split("."):
        thing = getattr(thing, name, None)
    thing = inspect.unwrap(thing)
    try:
        file, line = inspect.getsourcefile(thing), inspect.getsourcelines(thing)[1]
    except TypeError:
        return None
    return f"../{page_of(Path(file).relative_to(ROOT).as_posix())}#{LINE}-{line}"


def show_files(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Makes a page for each file of the package, and for what else lies outside of docs/ and is linked to."""
    files = linked_files().union((ROOT / "ppo_jax").rglob("*.py"))
    for path in sorted(files):
        name = path.relative_to(ROOT).as_posix()
        if path.is_dir():
            rows = [item(child, name) for child in sorted(path.iterdir()) if child in files]
            body = f"<ul>{''.join(rows)}</ul>"
        elif is_shown(path):
            language = {".py": "python", ".sh": "bash"}.get(path.suffix, path.suffix[1:])
            text = path.read_text(encoding="utf-8")
            body = app.builder.highlighter.highlight_block(text, language, lineanchors=LINE)
        else:
            continue
        yield f"files/{name}", {"title": name, "body": f"<h1>{html.escape(name)}</h1>{body}"}, "page.html"


def item(path: Path, folder: str) -> str:
    """Writes an item of the list of what is in a folder."""
    name = html.escape(path.name)
    uri = relative_uri(page_of(folder), page_of(f"{folder}/{path.name}"))
    return f'<li><a href="{uri}">{name}</a></li>' if is_shown(path) else f"<li>{name}</li>"


def is_shown(path: Path) -> bool:
    """Whether a page shows the content of a file."""
    return path.is_file() and path.suffix in SHOWN and path.stat().st_size <= LARGEST


def adapt_docstring(app: Sphinx, kind: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Marks what reStructuredText would misread in a docstring: indented formulas, shapes, and flags."""
    if kind == "attribute":
        lines[:0] = ["..", ""]  # an empty comment, as napoleon takes what stands before a colon for a type
    shape = re.compile(r"(`[^`]*`)|(?<=[\[ ])\*(?=\w)")  # such as [..., *D], but not in code
    flag = re.compile(r"(`[^`]*`)|(?<![\w-])(--[a-z][\w-]*)")
    lines[:] = [shape.sub(lambda match: match[1] or r"\*", line) for line in lines]
    lines[:] = [flag.sub(lambda match: match[1] or f"`{match[2]}`", line) for line in lines]
    end = next((i for i, line in enumerate(lines) if SECTION.match(line)), len(lines))
    for i in reversed(range(2, end)):
        if lines[i].startswith("    ") and not lines[i - 1].strip() and not lines[i - 2].startswith("    "):
            lines[i:i] = ["::", ""]


def skip_positions(app: Sphinx, kind: str, name: str, thing: Any, skip: bool, options: Any) -> bool | None:
    """Leaves out the fields of named tuples that are documented by their class."""
    return True if (thing.__doc__ or "").startswith("Alias for field number") else None


def write_inline(writer: Any, node: nodes.math) -> None:
    """Writes an equation within a line."""
    writer.body.append(converter.convert(node.astext()))
    raise nodes.SkipNode


def write_display(writer: Any, node: nodes.math_block) -> None:
    """Writes an equation on a line of its own, which can be scrolled on narrow screens."""
    writer.body.append(
        f'<div class="math" tabindex="0">{converter.convert(node.astext(), display="block")}</div>'
    )
    raise nodes.SkipNode
