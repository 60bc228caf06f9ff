"""Makes elements of HTML. Any content that is not markup already is escaped."""

import base64
import html
from collections.abc import Iterable, Sequence
from typing import Any

_VOID = ("img", "meta", "source")  # elements that hold nothing and have no end


class Markup(str):
    """Text that is HTML already and is used unchanged; all other text is escaped."""


def element(tag: str, *content: Any, **attributes: Any) -> Markup:
    """Makes an element.

    Args:
        tag: The name of the element.
        content: The content: markup, or anything else, which becomes text.
        attributes: The attributes, whose values become text. In a name, "_" stands for "-", and a final "_"
            is dropped, as in `class_`.
    """
    pairs = [
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for name, value in attributes.items()
    ]
    start = f"<{tag}{''.join(pairs)}>"
    return Markup(start if tag in _VOID else f"{start}{join(*content)}</{tag}>")


def join(*content: Any) -> Markup:
    """Joins markup and text."""
    return Markup("".join(part if isinstance(part, Markup) else html.escape(str(part)) for part in content))


def table(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> Markup:
    """Makes a table, which scrolls by itself if the page is too narrow.

    Args:
        headings: The headings of the columns.
        rows: The cells of each row, of which the first names the row.
    """
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
    """Makes a picture that is part of the page and fits the reader's color scheme.

    Args:
        light: A PNG for a light background.
        dark: A PNG for a dark background.
        alt: A description of the picture for those who cannot see it.
    """
    other = element("source", srcset=data("png", dark), media="(prefers-color-scheme: dark)")
    return element("picture", other, element("img", src=data("png", light), alt=alt))


def data(kind: str, content: bytes) -> str:
    """Returns the address of an image that is part of the page itself.

    Args:
        kind: The format, such as "png".
        content: The bytes of the file.
    """
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
