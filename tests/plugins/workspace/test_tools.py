"""Tools that a repository pins: what is read, what is refused before a VM exists, what the guest does about it."""

from __future__ import annotations

import shutil
import subprocess
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

import click
import pytest

from banger.api import Ended, UsageError
from banger_workspace import extend, tools
from banger_workspace.newcomer import Newcomer
from banger_workspace.prepare import Wanted, read_repository
from banger_workspace.tools import Tools, check_way_out, fetch, find_tools

from .conftest import Local, commit_all, git

SCRIPT = files("banger_workspace").joinpath("tools.sh").read_text()


def pinned(repo: Path, **contents: str) -> Tools:
    """Return what is found in a repository with these files."""
    for name, text in contents.items():
        (repo / name).write_text(text)
    git(repo, "add", "-A")
    return find_tools(read_repository(Wanted(str(repo))))


@pytest.mark.parametrize(
    ("file", "text", "pin"),
    [
        (".nvmrc", "v20.11.0\n", "node@20.11.0"),
        (".nvmrc", "lts/*\n", "node@lts"),
        (".node-version", "# why\n18\n", "node@18"),
        (".python-version", "3.12.1\n3.11\n", "python@3.12.1"),
        ("go.mod", "module x\n\ngo 1.21\n\ntoolchain go1.22.3\n", "go@1.22.3"),
        ("go.mod", "module x\ngo 1.21\n", "go@1.21"),
        ("rust-toolchain.toml", '[toolchain]\nchannel = "1.75.0"\n', "rust@1.75.0"),
        ("rust-toolchain", "nightly-2024-01-01\n", "rust@nightly-2024-01-01"),
    ],
)
def test_files_that_pin_a_version(repo: Path, file: str, text: str, pin: str) -> None:
    assert pinned(repo, **{file: text}) == Tools(pins=((pin, file),))


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (".nvmrc", "lts/iron\n"),
        (".nvmrc", "20; touch /tmp/x\n"),
        (".nvmrc", "--help\n"),
        (".nvmrc", "\n"),
        (".python-version", "system\n"),
        ("go.mod", "module x\n"),
        ("rust-toolchain.toml", '[toolchain]\npath = "/x"\nchannel = 3\n'),
        ("rust-toolchain", "a" * 100),
    ],
)
def test_what_is_no_version_is_left_out_and_said(repo: Path, file: str, text: str) -> None:
    found = pinned(repo, **{file: text})
    assert not found and found.skipped == ((file, "no version that can be fetched"),)


def test_what_mise_reads_itself_is_left_to_it(repo: Path) -> None:
    found = pinned(
        repo, **{"mise.toml": '[tools]\nnode = "20"\n', ".tool-versions": "# x\ngolang 1\npython 3\n"},
        **{".nvmrc": "18\n", ".python-version": "3.9\n", "rust-toolchain": "stable\n"},
    )  # fmt: skip
    assert found.own == ("mise.toml", ".tool-versions") and found.pins == (("rust@stable", "rust-toolchain"),)
    assert found.describe() == "mise.toml, .tool-versions, rust@stable (rust-toolchain)"
    (repo / "mise.toml").write_text("[[[")
    assert pinned(repo).pins == (("node@18", ".nvmrc"), ("rust@stable", "rust-toolchain"))


def test_only_files_that_arrive_count_and_as_they_arrive(repo: Path, tmp_path: Path) -> None:
    (repo / ".nvmrc").write_text("18\n")
    first = commit_all(repo)
    (repo / ".nvmrc").write_text("20\n")
    (repo / ".python-version").write_text("3.12\n")
    (tmp_path / "elsewhere").write_text("1.70\n")
    (repo / "rust-toolchain").symlink_to(tmp_path / "elsewhere")
    git(repo, "add", "rust-toolchain")
    assert find_tools(read_repository(Wanted(str(repo)))).pins == (("node@20", ".nvmrc"),)
    both = read_repository(Wanted(str(repo), include_untracked=True))
    assert [pin for pin, _ in find_tools(both).pins] == ["node@20", "python@3.12"]
    commit_all(repo)
    older = read_repository(Wanted(str(repo), branch="x", from_ref=first))
    assert find_tools(older).pins == (("node@18", ".nvmrc"),)
    (repo / ".nvmrc").unlink()
    (repo / "go.mod").write_text("go 1.21\n" + "x" * 70_000)
    git(repo, "add", "go.mod")
    assert not find_tools(read_repository(Wanted(str(repo)))).pins[1:]


class Daemon:
    """Answers what a network gives."""

    def __init__(self, egress: bool) -> None:
        self.egress, self.asked = egress, dict[str, Any]()

    def call(self, name: str, params: dict[str, Any]) -> dict[str, Any]:
        assert name == "vm.workspace.egress"
        self.asked = params
        return {"network": "user", "egress": self.egress}


def test_without_a_way_out_it_is_refused_before_a_vm_exists(repo: Path) -> None:
    found = pinned(repo, **{".nvmrc": "20\n"})
    with pytest.raises(
        UsageError, match=r"node@20 \(\.nvmrc\)\), and network 'user' leaves no way out"
    ) as caught:
        check_way_out(found, Daemon(egress=False), {"network": None})
    assert "--no-bootstrap" in (caught.value.hint or "")
    daemon = Daemon(egress=True)
    check_way_out(found, daemon, {"network": "n", "nat": True, "with_": ("a:b=c",), "without": ("d",)})
    assert daemon.asked == {"network": "n", "nat": True, "with": ["a:b=c"], "without": ["d"]}


def plan(monkeypatch: pytest.MonkeyPatch, *words: str, command: tuple[str, ...] = ()) -> list[str]:
    """Let ``vm run`` plan; return the operations that were asked for."""
    asked: list[str] = []

    def check(found: Tools, client: object, choices: object) -> None:
        asked.append(found.describe())

    monkeypatch.setattr(tools, "check_way_out", check)
    parsed = click.Command("run", params=list(extend.vm_run.params)).make_context("run", list(words))
    parsed.params["command"] = command
    with parsed:
        choices = {name: value for name, value in parsed.params.items() if name != "command"}
        extend.vm_run.plan(choices)
    return asked


def test_only_who_comes_to_work_gets_tools(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repo / ".nvmrc").write_text("20\n")
    commit_all(repo)
    assert plan(monkeypatch, str(repo)) == ["node@20 (.nvmrc)"]
    assert plan(monkeypatch, str(repo), "--no-bootstrap") == []
    assert plan(monkeypatch, str(repo), command=("make",)) == []
    with pytest.raises(click.UsageError, match="--no-bootstrap needs the PATH"):
        plan(monkeypatch, "--no-bootstrap")


class Guest:
    """A home and a PATH of the guest's, on this machine."""

    def __init__(self, base: Path) -> None:
        self.home, self.bin, self.said = base / "root", base / "bin", base / "said"
        self.home.mkdir()
        self.bin.mkdir()
        (self.home / "repo").mkdir()
        self.profiles = base / "profile.d"
        self.profiles.mkdir()
        for name in ("sh", "mkdir", "setsid", "cat", "rm", "cp", "timeout"):
            (self.bin / name).symlink_to(str(shutil.which(name)))
        self.path = str(self.bin)

    def plant(self, name: str, script: str) -> None:
        """Put a program there."""
        (self.bin / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.bin / name).chmod(0o755)

    def run(self, *words: str) -> None:
        """Run the script to the end of what goes on in the background."""
        environment = {"HOME": str(self.home), "PATH": self.path, "SAID": str(self.said)}
        line = [
            "/bin/sh",
            "-c",
            SCRIPT,
            "tools",
            "begin",
            SCRIPT,
            str(self.profiles),
            str(self.home / "repo"),
            *words,
        ]
        subprocess.run(line, env=environment, check=True, timeout=60)
        state, deadline = self.home / ".cache/banger/tools.state", time.monotonic() + 60
        while state.read_text() not in ("done\n", "failed\n"):
            assert time.monotonic() < deadline, self.log
            time.sleep(0.02)
        self.state = state.read_text().strip()

    @property
    def log(self) -> str:
        return (self.home / ".cache/banger/tools.log").read_text()


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    return Guest(tmp_path)


def test_the_guest_fetches_in_the_background_and_says_how_it_ended(guest: Guest) -> None:
    guest.plant(
        "mise", 'echo "$PWD $*" >>"$SAID"; case $* in *broken*) echo no such tool >&2; exit 1 ;; esac'
    )
    guest.run("yes", "node@20", "python@3.12")
    assert guest.said.read_text().splitlines() == [
        f"{guest.home}/repo {line}"
        for line in ("trust -q .", "install", "use --global node@20", "use --global python@3.12")
    ]
    assert guest.state == "done" and guest.log.endswith("tools: done\n")
    assert "mise/shims" in (guest.profiles / "banger-tools.sh").read_text()
    guest.run("no", "broken@1", "node@20")
    assert guest.state == "failed" and "no such tool" in guest.log
    assert guest.said.read_text().endswith("use --global node@20\n"), (
        "one that fails is no reason for the next"
    )


def test_mise_is_fetched_where_the_guest_has_none(guest: Guest) -> None:
    guest.run("no", "node@20")
    assert guest.state == "failed" and "it takes curl or wget to fetch mise" in guest.log
    guest.plant("curl", 'echo "could not resolve host" >&2; exit 6')
    guest.run("no", "node@20")
    assert guest.state == "failed" and "could not resolve host" in guest.log
    guest.plant("made", 'echo "$*" >>"$SAID"')
    installer = f"cp {guest.bin}/made {guest.bin}/mise; echo to $MISE_INSTALL_PATH"
    guest.plant("curl", f'while [ "$1" != -o ]; do shift; done; echo \'{installer}\' >"$2"')
    guest.run("no", "node@20")
    assert guest.state == "done" and "to /usr/local/bin/mise" in guest.log
    assert guest.said.read_text() == "use --global node@20\n"


def test_a_guest_that_cannot_begin_is_a_note_and_no_failure(
    local: Local, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = Tools(pins=(("node@20", ".nvmrc"),))
    for status, said in (
        (0, "tools are fetched in the background: node@20 (.nvmrc); log in the VM"),
        (1, "no room"),
    ):
        ended = Ended(status, b"", b"x\nno room\n")
        monkeypatch.setattr(tools, "run_piped", lambda *_, ended=ended, **__: ended)
        fetch(found, local, "vm", "/root/repo")
        assert said in capsys.readouterr().err


def test_a_new_vm_gets_its_tools_once_its_repository_is_there(
    repo: Path, local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[tuple[Any, ...]] = []
    monkeypatch.setattr(tools, "fetch", lambda found, client, vm, path: begun.append((found, vm, path)))
    found = Tools(own=("mise.toml",))
    newcomer = Newcomer(read_repository(Wanted(str(repo), str(local.path))), found)
    newcomer.arrive(local, "vm", False)
    assert begun == [(found, "vm", str(local.path))] and (local.path / "a.txt").exists()
