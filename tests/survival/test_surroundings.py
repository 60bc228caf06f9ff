"""A command in odd surroundings: what keeps it from working is one line, and all else does not matter."""

import json
import os
import pty
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from typing import NamedTuple

import pytest

from tests.support.marks import first_long
from tests.support.variables import of_this_process

LONG, SLOW = pytest.mark.long, pytest.mark.slow
PROGRAM = (sys.executable, "-m", "ppo_jax")
SMALL = ("--num-envs", "4", "--num-steps", "8", "--hidden-sizes", "8", "--num-epochs", "1")
SHORT = (*SMALL, "--total-timesteps", "64")
ENDLESS = (*SMALL, "--total-timesteps", "100000000", "--checkpoint-every", "1000")
SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

/* A file system without locks, or one that cannot sync directories. */
int flock(int descriptor, int operation) {
    char *number = getenv("FLOCK_FAILS_WITH");
    int (*real)(int, int) = dlsym(RTLD_NEXT, "flock");
    if (number) errno = atoi(number);
    return number ? -1 : real(descriptor, operation);
}

int fsync(int descriptor) {
    char *number = getenv("FSYNC_OF_DIRECTORIES_FAILS_WITH");
    int (*real)(int) = dlsym(RTLD_NEXT, "fsync");
    struct stat found;
    int fails = number && !fstat(descriptor, &found) && S_ISDIR(found.st_mode);
    if (fails) errno = atoi(number);
    return fails ? -1 : real(descriptor);
}
"""


class Ending(NamedTuple):
    """How a command ended: its exit status, and what it printed."""

    status: int
    out: str
    error: str


def run(*arguments, cwd, redirect="", **variables) -> Ending:
    """Runs the program with environment variables, and with streams redirected as a shell does it."""
    command = ["bash", "-c", f'exec "$@" {redirect}', "bash", *PROGRAM, *map(str, arguments)]
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**of_this_process(), **variables},
        capture_output=True,
        timeout=300,
        text=True,
        errors="replace",
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Ending(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    """The library that takes functions of the file system away."""
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
    folder = tmp_path_factory.mktemp("shim")
    (folder / "shim.c").write_text(SHIM)
    library = folder / "shim.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, folder / "shim.c", "-ldl"], check=True)
    return str(library)


# Settings that keep JAX from working: one line, status 2, and the place is free again

WRONG = {
    "JAX_PLATFORMS=nonsense": "JAX_PLATFORMS = 'nonsense': JAX finds nothing to compute on",
    "JAX_ENABLE_X64=perhaps": "JAX cannot start: .*JAX_ENABLE_X64",
    "JAX_DISABLE_JIT=1": "JAX_DISABLE_JIT is on",
    "JAX_DEBUG_NANS=1": "JAX_DEBUG_NANS is on, but a metric without a value is NaN",
    "JAX_DEBUG_INFS=1": "JAX_DEBUG_INFS is on, but a hyperparameter that is off is infinite",
    "XLA_FLAGS=--xla_nonsense=1": "XLA_FLAGS = '--xla_nonsense=1' ends the program",
    "XLA_FLAGS=--xla_backend_optimization_level=high": "Couldn't interpret value high",
}
KEPT_IN_THE_DEFAULT_RUN = "XLA_FLAGS=--xla_nonsense=1"


@pytest.mark.parametrize(
    "setting", [KEPT_IN_THE_DEFAULT_RUN, *first_long([x for x in WRONG if x != KEPT_IN_THE_DEFAULT_RUN], 3)]
)
def test_a_setting_that_keeps_jax_from_working_is_named_and_the_place_is_free(setting, tmp_path):
    name, _, value = setting.partition("=")
    ending = run("train", *SHORT, "--run-dir", "run", cwd=tmp_path, **{name: value})
    assert ending.status == 2
    (line,) = ending.error.splitlines()
    assert re.search(WRONG[setting], line)
    assert not (tmp_path / "run").exists()


# What does not matter: the run is as always

HARMLESS = {  # in a few processes, because each takes seconds to start
    "a notebook, ASCII, no terminal": {
        "MPLBACKEND": "module://nothing.there",
        "PYTHONIOENCODING": "ascii",
        "PYTHONUTF8": "0",
        "TERM": "dumb",
        "COLUMNS": "20",
    },
    "a backend that does not exist, Latin-1, another generator, strict types": {
        "MPLBACKEND": "nothing",
        "PYTHONIOENCODING": "latin-1",
        "JAX_DEFAULT_PRNG_IMPL": "rbg",
        "JAX_NUMPY_DTYPE_PROMOTION": "strict",
        "JAX_NUMPY_RANK_PROMOTION": "raise",
    },
    "64 bits": {"JAX_ENABLE_X64": "1", "PYTHONWARNINGS": "error::FutureWarning"},
}
CLOSED = {
    "all streams are closed": "<&- >&- 2>&-",
    "standard output is closed": ">&-",
    "standard error is full": "2>/dev/full",
}


@pytest.mark.parametrize("kind", first_long(HARMLESS, 2))  # tests/algorithm/test_modes.py has 64 bits as well
def test_a_setting_that_does_not_matter_changes_nothing(kind, tmp_path):
    ending = run("train", *SHORT, "--run-dir", "läufe", cwd=tmp_path, **HARMLESS[kind])
    assert ending.status == 0, ending.error
    assert json.loads((tmp_path / "läufe" / "summary.json").read_text())["status"] == "done"


@pytest.mark.parametrize("kind", first_long(CLOSED, 1))
def test_streams_that_cannot_be_written_to_do_not_matter(kind, tmp_path):
    ending = run("train", *SHORT, "--run-dir", "run", cwd=tmp_path, redirect=CLOSED[kind])
    assert ending.status == 0
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["update"] for line in lines] == [1, 2], "nothing else was written into it"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_the_help_can_be_read_on_every_terminal(encoding, tmp_path):
    ending = run("--help", cwd=tmp_path, PYTHONIOENCODING=encoding)
    assert ending.status == 0
    assert "* train      Train an agent." in ending.out
    assert "\\u" not in ending.out


@pytest.mark.parametrize("module", ["ppo_jax", "ppo_jax.cli"])
def test_the_package_is_a_program_and_tells_its_version(module, tmp_path):
    command = [sys.executable, "-m", module, "--version"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("ppo-jax 0.")
    assert "jax" in done.stdout


# Places


def test_the_home_directory_stands_for_a_tilde_where_the_shell_leaves_it(tmp_path):
    ending = run("evaluate", "--seed=0", "~/nothing", cwd=tmp_path)
    assert "'~/nothing'" in ending.error, "without = it is the shell's"
    ending = run("train", *SHORT, "--run-dir=~/taken", cwd=tmp_path, HOME=str(tmp_path))
    assert ending.status == 2
    assert f"run_dir = '{tmp_path}/taken' exists" in ending.error


@pytest.fixture
def tmp_path(tmp_path):
    """A directory with something that is taken."""
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("mine")
    return tmp_path


@LONG
def test_a_run_whose_programs_come_from_a_directory_is_as_quiet_as_the_first(tmp_path):
    """Without the tests' own flags, with which XLA has nothing to say about its cached programs."""
    for number in (1, 2):
        place = ("--run-dir", f"run{number}", "--cache-dir", "programs")
        ending = run("train", *SHORT, *place, "--quiet", cwd=tmp_path, XLA_FLAGS="")
        assert (ending.status, ending.error) == (0, "")


@LONG
def test_a_directory_for_programs_that_cannot_be_made_is_refused(tmp_path):
    place = tmp_path / "taken" / "file"
    ending = run("train", *SHORT, "--run-dir", "run", "--cache-dir", place, cwd=tmp_path)
    assert ending.status == 2
    assert f"cache_dir = '{place}' cannot be made or written to" in ending.error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("number", first_long([37, 38, 95], 1))  # ENOLCK, ENOSYS, EOPNOTSUPP
def test_without_locks_it_trains_and_says_once_what_is_not_guaranteed(shim, number, tmp_path):
    ending = run(
        "train", *SHORT, "--run-dir", "run", cwd=tmp_path, LD_PRELOAD=shim, FLOCK_FAILS_WITH=str(number)
    )
    assert ending.status == 0, ending.error
    assert ending.out.count("this file system has no locks") == 1


@SLOW
def test_where_directories_cannot_be_synced_it_trains_and_resumes(shim, tmp_path):
    variables = {"LD_PRELOAD": shim, "FSYNC_OF_DIRECTORIES_FAILS_WITH": "22"}
    ending = run("train", *SHORT, "--run-dir", "run", cwd=tmp_path, **variables)
    assert ending.status == 0, ending.error
    assert ending.out.count("cannot write directories through to the disk") == 1
    ending = run("resume", "run", "--total-timesteps", "128", cwd=tmp_path, **variables)
    assert ending.status == 0, ending.error
    assert "resumed at update 2 of 4" in ending.out


# A terminal that is closed


# Makes the terminal that is its standard input its own, and becomes a program.
ON_A_TERMINAL = """
import fcntl, os, signal, sys, termios
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may have been started with nohup
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@LONG
def test_a_terminal_that_is_closed_saves_the_run(tmp_path):
    terminal, end = pty.openpty()
    arguments = [*PROGRAM[1:], "train", *ENDLESS, "--run-dir", str(tmp_path / "run")]
    process = subprocess.Popen(
        [sys.executable, "-c", ON_A_TERMINAL, *arguments], stdin=end, stdout=end, stderr=subprocess.DEVNULL
    )
    os.close(end)
    shown = b""
    while b"entropy" not in shown:
        shown += os.read(terminal, 4096)
    os.close(terminal)
    assert process.wait(timeout=300) == 128 + signal.SIGHUP
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["status"] == "interrupted"
    assert (tmp_path / "run" / "policy.json").exists()


# Everything at once

VARIABLES = {
    "JAX_PLATFORMS": ["nonsense", "cpu", "", "cuda,cpu"],
    "JAX_ENABLE_X64": ["1", "0", "perhaps"],
    "JAX_DEFAULT_PRNG_IMPL": ["rbg", "unsafe_rbg", "nonsense"],
    "JAX_DEFAULT_MATMUL_PRECISION": ["highest", "nonsense"],
    "JAX_DEBUG_NANS": ["1"],
    "JAX_NUMPY_RANK_PROMOTION": ["raise"],
    "JAX_NUMPY_DTYPE_PROMOTION": ["strict"],
    "JAX_LOG_COMPILES": ["0"],
    "XLA_FLAGS": ["", "--xla_nonsense=1", "--xla_force_host_platform_device_count=3", "/nothing/here"],
    "MPLBACKEND": ["nothing", "module://nothing", "agg"],
    "MPLCONFIGDIR": ["/proc/nothing"],
    "PYTHONIOENCODING": ["ascii", "latin-1", "utf-16", "cp1252"],
    "PYTHONUTF8": ["0", "1"],
    "LC_ALL": ["C", "POSIX", "de_DE.ISO-8859-1"],
    "TERM": ["dumb", "unknown", ""],
    "COLUMNS": ["1", "0", "100000", "many"],
    "FORCE_COLOR": ["1"],
    "NO_COLOR": ["1"],
    "TTY_COMPATIBLE": ["1"],
    "HOME": ["/nothing", ""],
    "TMPDIR": ["/nothing"],
    "OMP_NUM_THREADS": ["1", "none"],
    "PYTHONHASHSEED": ["0"],
    "PYTHONDONTWRITEBYTECODE": ["1"],
}
REDIRECTS = [
    "",
    ">&-",
    "2>&-",
    "<&-",
    ">&- 2>&-",
    "<&- >&- 2>&-",
    ">/dev/full",
    "2>/dev/full",
    "| head -c 10",
]
PLACES = ["run", "läufe 1", "taken", "taken/file", "a/b/c", "/proc/nothing", "x" * 300, "~", "new\nline", ""]
NUM_COMMANDS = 100


@SLOW
@pytest.mark.parametrize("seed", range(NUM_COMMANDS))
def test_no_surroundings_end_in_a_traceback_or_a_place_that_stays_claimed(seed, tmp_path):
    draw = random.Random(seed)
    names = draw.sample(sorted(VARIABLES), k=draw.randint(0, 5))
    variables = {name: draw.choice(VARIABLES[name]) for name in names}
    place, redirect = draw.choice(PLACES), draw.choice(REDIRECTS)
    before = (tmp_path / "taken" / "file").read_text()
    command = ["bash", "-c", f'"$@" {redirect}; exit ${{PIPESTATUS[0]}}', "bash", *PROGRAM, "train", *SHORT]
    process = subprocess.Popen(
        [*command, f"--run-dir={place}"],
        cwd=tmp_path,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    number = draw.choice([None, None, signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    if number is not None:
        time.sleep(draw.uniform(0.5, 6))  # before that, the interpreter itself starts
        os.killpg(process.pid, number)
    _, error = process.communicate(timeout=300)
    told = (
        f"{variables} {redirect} {place!r} {number}: {process.returncode}\n{error.decode(errors='replace')}"
    )
    allowed = {0, 1, 2} | ({128 + number, -number} if number else set())
    assert process.returncode in allowed, told
    assert b"Traceback" not in error, told
    assert (tmp_path / "taken" / "file").read_text() == before, told
    directory = tmp_path / place if place not in ("~", "") else None
    if process.returncode == 2 and directory is not None and "taken" not in place and "/proc" not in place:
        assert not os.path.isdir(directory) or not os.listdir(directory), told
    if process.returncode == 0 and directory is not None:
        assert json.loads((directory / "summary.json").read_text())["status"] == "done", told
