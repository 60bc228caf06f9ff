"""The environment of a peer: made once with venv and pip, and kept while its requirements stay the same."""

import platform
import subprocess
import sys
from pathlib import Path

from peer import Peer, PeerError

MARKER = "requirements.txt"  # written last, so an environment that has it is complete
SECONDS = 3600  # that pip may take


def install(peer: Peer, work_dir: Path) -> Path:
    """Makes the environment of a peer, unless it exists already.

    Args:
        peer: The peer to install.
        work_dir: The directory of all environments.

    Returns:
        The interpreter of the environment.

    Raises:
        PeerError: If it cannot be installed.
    """
    if not peer.requirements:
        return Path(sys.executable)
    directory = work_dir / peer.script.stem.removesuffix("_worker")
    marker = directory / MARKER
    wanted = "\n".join((f"# Python {platform.python_version()}", *peer.requirements)) + "\n"
    if not marker.is_file() or marker.read_text() != wanted:
        _make(directory, peer.requirements)
        marker.write_text(wanted)
    return _interpreter(directory)


def _make(directory: Path, requirements: tuple[str, ...]) -> None:
    directory.parent.mkdir(parents=True, exist_ok=True)
    (directory.parent / ".gitignore").write_text("*\n")
    log = directory.with_suffix(".install.log")
    log.write_text("")
    _run([sys.executable, "-m", "venv", "--clear", str(directory)], log)
    _run([str(_interpreter(directory)), "-m", "pip", "install", *requirements], log)


def _run(command: list[str], log: Path) -> None:
    with log.open("a") as file:
        try:
            status = subprocess.run(command, stdout=file, stderr=file, timeout=SECONDS).returncode
        except subprocess.TimeoutExpired:
            raise PeerError(f"not installed within {SECONDS} s; see {log}") from None
    if status:
        errors = [line for line in log.read_text().splitlines() if line.startswith("ERROR: ")]
        raise PeerError(f"not installed: {errors[0] if errors else f'status {status}'}; see {log}")


def _interpreter(directory: Path) -> Path:
    return directory / "bin" / "python"
