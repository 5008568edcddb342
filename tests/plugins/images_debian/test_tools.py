"""What images have that Debian does not: scripts of ours, run for real."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import banger_images_debian

SCRIPT = Path(banger_images_debian.__file__).with_name("tmux-sessions.sh")
PANES = "#{session_name} #{window_index} #{window_name} #{pane_current_path}"


class Tmux:
    """A tmux with a home and a configuration of its own, which is the image's."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.conf = home / "tmux.conf"
        text = SCRIPT.with_name("tmux.conf").read_text()
        assert "/usr/local/bin/tmux-sessions" in text
        # SCRIPT's own path may have spaces in it
        script = home / "tmux-sessions"
        script.symlink_to(SCRIPT)
        self.conf.write_text(text.replace("/usr/local/bin/tmux-sessions", f"sh {script}"))
        kept = {name: os.environ[name] for name in ("PATH",)}
        self.environment = {
            **kept,
            "HOME": str(home),
            "TMUX_TMPDIR": str(home),
            "TMUX_SESSIONS_PAUSE": "0.2",
            "LC_ALL": "C.UTF-8",
            "SHELL": "/bin/sh",
        }

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        line = ["tmux", "-f", str(self.conf), *arguments]
        return subprocess.run(
            line, env=self.environment, cwd=self.home, capture_output=True, text=True, timeout=60, check=False
        )

    def __call__(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def panes(self) -> list[str]:
        return self.run("list-panes", "-a", "-F", PANES).stdout.splitlines()


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition, longer than a busy host is slow."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[Tmux]:
    if shutil.which("tmux") is None or shutil.which("flock") is None:
        pytest.skip("needs the Debian packages tmux and util-linux")
    tmux = Tmux(tmp_path)
    try:
        yield tmux
    finally:
        subprocess.run(["tmux", "kill-server"], env=tmux.environment, capture_output=True, check=False)


def test_sessions_of_tmux_come_back(tmux: Tmux) -> None:
    odd = tmux.home / "a b|c"
    odd.mkdir()
    tmux("new-session", "-d", "-s", "work", "-n", "one", "-c", str(odd))
    tmux("split-window", "-d", "-t", "=work:", "-c", "/usr")
    tmux("new-window", "-d", "-t", "=work:7", "-n", "x|y:z", "-c", "/etc")
    tmux("new-session", "-d", "-s", "gone", "-n", "two", "-c", str(tmux.home))
    before = tmux.panes()
    assert len(before) == 4
    saved = tmux.home / ".local" / "state" / "tmux-sessions"
    until(lambda: saved.is_file() and len(saved.read_text().splitlines()) == 4, "nothing was saved")
    tmux("kill-server")
    # A server that ends takes requests down with it for a moment.
    again = ("new-session", "-d", "-s", "gone", "-n", "mine", "-c", "/")
    until(lambda: tmux.run(*again).returncode == 0, "no new server")
    until(lambda: len(tmux.panes()) == 4, "the sessions did not come back")
    found = sorted(tmux.panes())
    assert found == sorted(["gone 0 mine /", f"work 0 one {odd}", "work 0 one /usr", "work 7 x_y:z /etc"])


def test_what_it_does_not_know_it_refuses(tmux: Tmux) -> None:
    done = subprocess.run(
        ["sh", SCRIPT, "x"], env=tmux.environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (2, "usage: tmux-sessions save|restore|watch\n")
