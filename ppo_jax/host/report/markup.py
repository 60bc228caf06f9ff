"""Elements of HTML, in which whatever is not markup itself is escaped."""

import base64
import html
from collections.abc import Iterable, Sequence
from typing import Any

_VOID = ("img", "meta", "source")  # elements that hold nothing and have no end


class Markup(str):
    """Text that is HTML already: it is taken as it is, all other text is escaped."""


def element(tag: str, *content: Any, **attributes: Any) -> Markup:
    """Makes an element.

    Args:
        tag: Its name.
        content: Markup, or anything else, which becomes text.
        attributes: Values become text. In a name, "_" stands for "-", and is left out at its end: `class_`.
    """
    pairs = [
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for name, value in attributes.items()
    ]
    start = f"<{tag}{''.join(pairs)}>"
    return Markup(start if tag in _VOID else f"{start}{join(*content)}</{tag}>")


def join(*content: Any) -> Markup:
    """Puts markup and text side by side."""
    return Markup("".join(part if isinstance(part, Markup) else html.escape(str(part)) for part in content))


def table(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> Markup:
    """Makes a table that scrolls by itself where the page is narrow; the first column names the rows."""
    head = element("tr", *(element("th", heading, scope="col") for heading in headings))
    body = [
        element("tr", element("th", first, scope="row"), *(element("td", cell) for cell in rest))
        for first, *rest in rows
    ]
    whole = element("table", element("thead", head), element("tbody", *body))
    return element(
        "div", whole, class_="scroll", tabindex=0, role="region", aria_label=f"table: {', '.join(headings)}"
    )


def picture(light: bytes, dark: bytes, alt: str) -> Markup:
    """Makes a picture that is part of the page, and follows the scheme of the reader.

    Args:
        light: PNG for a light background.
        dark: PNG for a dark one.
        alt: What is in it, for those who cannot see it.
    """
    other = element("source", srcset=data("png", dark), media="(prefers-color-scheme: dark)")
    return element("picture", other, element("img", src=data("png", light), alt=alt))


def data(kind: str, content: bytes) -> str:
    """Returns the address of an image that is part of the page itself.

    Args:
        kind: Such as "png".
        content: Bytes of the file.
    """
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
