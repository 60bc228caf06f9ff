import os
import subprocess
import sys
import time

import pytest

import ppo_jax
from ppo_jax.host.diagnosis.health import CLIP_FRACTION
from ppo_jax.host.monitor.screen import LiveScreen, QuietScreen, Screen, make_screen


def _record(**values):
    record = dict.fromkeys(ppo_jax.Metrics._fields, 0.1)
    return record | {"env_steps": 500, "episodes": 1, "seconds": 5.0} | values


def test_plain_lines_tell_progress_speed_and_diagnostics(capsys):
    Screen(1000, 475.0).update([_record(episode_return=20.0, clip_fraction=0.4)], 1234.0)
    line = capsys.readouterr().out
    for part in ("50%", "500 steps", "1,234 steps/s", "  0:00:05 left", "return 20.0", "clip 0.40"):
        assert part in line


def test_plain_lines_tell_of_days_and_hours_that_are_left(capsys):
    Screen(500 * (1 + 36_000), None).update([_record()], 1234.0)
    assert "  2 days, 2:00:00 left" in capsys.readouterr().out


def test_plain_lines_come_about_once_a_second_and_at_the_end(capsys):
    screen = Screen(1000, None)
    for seconds in (0.1, 0.2, 0.9, 1.2, 1.3):
        screen.update([_record(seconds=seconds)], 1.0)
    screen.update([_record(seconds=1.4, env_steps=1000)], 1.0)
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_an_update_without_episodes_shows_the_last_return(capsys):
    screen = Screen(1000, None)
    without = {"episodes": 0, "episode_return": None}
    screen.update([_record(episode_return=7.0), _record(episode_return=0.0), _record(**without)], 1.0)
    screen.update([_record(seconds=9.0, **without)], 1.0)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert all("return 0.0" in line for line in lines)


def test_the_live_screen_shows_the_verdict_on_the_clip_fraction(capsys):
    screen = LiveScreen(1000, 475.0)
    with screen.waiting("compiling"):
        pass
    with screen.training():
        screen.update([_record(clip_fraction=0.41)], 1.0)
    shown = capsys.readouterr().out
    assert "0.41" in shown
    assert "high (healthy: 0.05 to 0.30)" in shown


@pytest.mark.parametrize(
    ("value", "verdict"), [(0.049, "low"), (0.05, "healthy"), (0.3, "healthy"), (0.31, "high")]
)
def test_the_healthy_band_includes_its_ends(value, verdict):
    assert CLIP_FRACTION.verdict(value) == verdict


def test_a_quiet_screen_prints_only_failures(capsys):
    screen = make_screen(True, 1000, None)
    assert isinstance(screen, QuietScreen)
    screen.say("hello")
    with screen.waiting("compiling"):
        screen.update([_record()], 1.0)
    screen.fail("broken")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "broken" in printed.err


def test_output_that_is_not_a_terminal_gets_plain_lines():
    assert type(make_screen(False, 1000, None)) is Screen


def test_plain_lines_tell_every_second_that_something_takes_a_while(capsys, monkeypatch):
    monkeypatch.setattr(Screen, "LINE_SECONDS", 0.01)
    with Screen(1000, None).waiting("compiling"):
        time.sleep(0.2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "compiling ..."
    assert lines[1] == "compiling ... 0 s"


def test_a_screen_outlives_its_reader(tmp_path):
    program = (
        "import sys; from ppo_jax.host.monitor.screen import Screen\n"
        "screen = Screen(1, None)\n"
        "for _ in range(10_000): screen.say('x' * 100)\n"
        "print('still here', file=sys.stderr)"
    )
    command = f'{sys.executable} -c "$PROGRAM" | head -1'
    environment = os.environ | {"PROGRAM": program}
    result = subprocess.run(command, shell=True, env=environment, capture_output=True, text=True, timeout=60)
    assert result.stderr.strip() == "still here"
