"""Completion in real shells, on real terminals: what a person sees after pressing Tab."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from banger.testing.app import BangerApp
from banger.testing.pytest_plugin import BangerDirs, MakeApp
from banger.testing.samples import sample_image, sample_kernel
from tests.core.daemon.paper_lab import CONFIG, make_lab

PROMPT = "READY> "


class Shell:
    """An interactive shell on a terminal of its own, with completion loaded."""

    def __init__(self, how: str, folder: Path) -> None:
        name = how.partition(",")[0]
        if shutil.which(name) is None:
            pytest.skip(f"needs {name}: apt-get install {name}")
        start = {
            "bash": ["--norc", "--noprofile", "-i"],
            "zsh": ["-f", "-i"],
            "fish": ["--no-config", "-i"],
        }
        environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "TERM": "xterm", "PS1": PROMPT}
        environment |= {"ZDOTDIR": str(folder), "INPUTRC": "/dev/null"}
        self.child = pexpect.spawn(
            name, start[name], env=environment, dimensions=(40, 200), timeout=30, encoding="utf-8"
        )
        zsh = f"PROMPT='{PROMPT}'; autoload -U compinit; compinit -u -D"
        load = {
            "bash": 'eval "$(banger completion bash)"; bind "set show-all-if-ambiguous on"',
            "zsh": f"banger completion zsh >{folder}/_banger; fpath+={folder}; {zsh}",
            "zsh, eval": f'{zsh}; eval "$(banger completion zsh)"',
            "fish": f"function fish_prompt; echo -n '{PROMPT}'; end; banger completion fish | source",
        }
        self.child.sendline(f"{load[how]}; echo lo''aded")
        self.child.expect_exact("loaded")

    def complete(self, typed: str) -> str:
        """Type something, press Tab, then Enter; return the arguments that the program would have run with."""
        self.child.send(f"{typed}\t")
        self.child.send("\r")
        self.child.expect(r"ran:\[(.*?)\]")
        return str(self.child.match.group(1)).strip()

    def close(self) -> None:
        self.child.close(force=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder for PATH with the program, which only says how it was called unless a shell asks it."""
    program = tmp_path / "banger"
    program.write_text(
        f'#!/bin/sh\n[ -n "$_BANGER_COMPLETE" ] || [ "$1" = completion ] || {{ echo "ran:[$*]"; exit; }}\n'
        f'exec {shlex.quote(sys.executable)} -m banger "$@"\n'
    )
    program.chmod(0o755)
    return tmp_path


@pytest.fixture(params=["bash", "zsh", "zsh, eval", "fish"])
def shell(request: pytest.FixtureRequest, folder: Path, banger_dirs: BangerDirs) -> Iterator[Shell]:
    shell = Shell(request.param, folder)
    yield shell
    shell.close()


@pytest.fixture
def app(banger_app: MakeApp) -> BangerApp:
    app = banger_app(make_lab(), builtin=["core"], config=CONFIG)
    app.services.database.add_image(sample_image())
    app.services.database.add_kernel(sample_kernel())
    for name in ("brisk-otter", "brisk-owl", "calm-deer"):
        app.call("vm.create", {"name": name, "start": False})
    return app


#: What is typed before Tab, and how the program is then called.
ROWS = [
    ("banger versio", "version"),
    ("banger vm sho", "vm show"),
    ("banger image pul", "image pull"),
    ("banger vm create --overl", "vm create --overlay-size"),
    ("banger vm run --accel k", "vm run --accel kvm"),
    ("banger vm show cal", "vm show calm-deer"),
    ("banger vm exec brisk-ot", "vm exec brisk-otter"),
    ("banger rm brisk-ow", "rm brisk-owl"),
    ("banger vm cp note.txt cal", "vm cp note.txt calm-deer:"),
    ("banger cp calm-deer:/et", "cp calm-deer:/et"),
    ("banger image show test-i", "image show test-image"),
    ("banger vm create --kernel test-k", "vm create --kernel test-kernel"),
    ("banger vm show nobody", "vm show nobody"),
]


def test_tab_completes(app: BangerApp, shell: Shell) -> None:
    assert {typed: shell.complete(typed) for typed, _ in ROWS} == dict(ROWS)


def test_nothing_is_started_and_nothing_said_without_a_daemon(shell: Shell, banger_dirs: BangerDirs) -> None:
    assert shell.complete("banger vm sho") == "vm show"
    assert shell.complete("banger vm show cal") == "vm show cal"
    assert "Traceback" not in shell.child.before and "banger: " not in shell.child.before
    assert not (banger_dirs.state / "bangerd.lock").exists()
