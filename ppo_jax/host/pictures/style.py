"""The look of the pictures, and how they are written to files."""

import io
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from ppo_jax.errors import UsageError
from ppo_jax.host.runs import files

# Okabe and Ito's palette, which colour-blind people can tell apart, from dark to light.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
GUIDE = "#777777"
HEALTHY = "#009E7326"  # the palette's green, faint


class Scheme(NamedTuple):
    """The look of pictures on a page.

    Attributes:
        settings: The settings for matplotlib.
        colors: The colors of curves, highest contrast first.
    """

    settings: dict[Any, Any]
    colors: tuple[str, ...]


_INK = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
_PAPER = ("figure.facecolor", "axes.facecolor", "savefig.facecolor", "legend.facecolor")
_LIGHT = {**dict.fromkeys(_INK, "#1f2328"), **dict.fromkeys(_PAPER, "#ffffff")}
_DARK = {**dict.fromkeys(_INK, "#e6e8eb"), **dict.fromkeys(_PAPER, "#1b1f24")}
# Ink and paper are those of report.css.
SCHEMES = {"light": Scheme(_LIGHT, COLORS), "dark": Scheme(_DARK, (*COLORS[4:], *COLORS[:4]))}


def save(figure: Figure, path: Path) -> None:
    """Writes a picture, whole or not at all; makes its directory if need be.

    Args:
        figure: The figure to write.
        path: The file; its suffix decides the format (png, pdf, svg).

    Raises:
        UsageError: If the file cannot be written, or matplotlib does not know the format.
    """
    kind, kinds = path.suffix[1:], figure.canvas.get_supported_filetypes()
    if kind not in kinds:
        raise UsageError(f"output = '{path}' is not a known kind of picture; give one of {', '.join(kinds)}")

    with files.output(path) as draft:
        figure.savefig(draft, format=kind, dpi=150)


def png(figure: Figure) -> bytes:
    """Returns a picture as the bytes of a PNG, sharp enough for screens with twice the usual density."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160)
    return buffer.getvalue()
