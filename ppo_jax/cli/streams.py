"""Prepares the standard streams: what cannot be shown is shown in another way, and never ends a run."""

import codecs
import io
import os
import sys

# What the screens and the help draw with, for streams that have no such characters.
_PLAIN = {"-": "─━╸╺═–—", "|": "│┃║", "+": "╭╮╰╯┌┐└┘├┤┼┬┴", "*": "•", "#": "█", "...": "…"}
_DRAWN = {character: plain for plain, characters in _PLAIN.items() for character in characters}


def prepare() -> None:
    """Opens the streams that are closed, and makes every character printable.

    A descriptor that is closed would be taken by the next file that is opened, and then written to by
    whatever prints.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it takes the lowest number that is free: this one
    # They stay open for as long as the process lives, so no `with` block closes them.
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    codecs.register_error("ppo_jax", _replace)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="ppo_jax")


def _replace(error: UnicodeError) -> tuple[str, int]:
    """Replaces what a stream cannot show: lines by plain ones, letters by escapes, anything else by "?"."""
    assert isinstance(error, UnicodeEncodeError)
    shown = [
        _DRAWN.get(x) or (x.encode("ascii", "backslashreplace").decode() if x.isalnum() else "?")
        for x in error.object[error.start : error.end]
    ]
    return "".join(shown), error.end
