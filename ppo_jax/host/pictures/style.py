"""How pictures look, and how they are written."""

import io
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from ppo_jax.errors import UsageError

# Okabe and Ito's palette, which the colour-blind can tell apart, from dark to light.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
GUIDE = "#777777"
HEALTHY = "#009E7326"  # the palette's green, faint


class Scheme(NamedTuple):
    """How pictures look on a page.

    Attributes:
        settings: Of matplotlib.
        colors: Of curves, most contrast first.
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
    """Writes a picture, making its directory if need be.

    Args:
        figure: What to write.
        path: Where; the suffix decides the format (png, pdf, svg).

    Raises:
        UsageError: If it cannot be written there, or not in that format.
    """
    formats = figure.canvas.get_supported_filetypes()
    if path.suffix[1:] not in formats:
        raise UsageError(f"output = '{path}' has no suffix of a picture; give one of {', '.join(formats)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise UsageError(
            f"output = '{path}' cannot be written: {error.strerror}; give another path"
        ) from error


def png(figure: Figure) -> bytes:
    """Returns a picture as the bytes of a PNG, fine enough for screens of twice the usual density."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160)
    return buffer.getvalue()
