"""How pictures look, and how they are written."""

from pathlib import Path

from matplotlib.figure import Figure

from ppo_jax.errors import UsageError

# Okabe and Ito's palette, which the colour-blind can tell apart, from dark to light.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
GUIDE = "#777777"
HEALTHY = "#009E7326"  # the palette's green, faint


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
