"""What the plugin offers, what a start does about it, and what its script does in a guest."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from pydantic import ValidationError

from banger.api import Client, ConflictError, Ended, GuestError, GuestInterface, NotFoundError, QemuUser
from banger.testing.samples import sample_vm
from banger.testing.start import FakeGuest, FakeStart
from banger_opencode import banger_register_auth_syncs, banger_register_capabilities, commands, step
from banger_opencode.options import Options
from banger_opencode.step import ENDED, MISSING, NOTHING_FETCHES, SCRIPT

[CAPABILITY] = banger_register_capabilities()
[STEP] = CAPABILITY.steps


def test_the_login_goes_to_its_place_for_its_owner_alone() -> None:
    [entry] = banger_register_auth_syncs()
    assert (entry.name, entry.mode) == ("opencode", 0o600)
    assert entry.host_path == entry.guest_path == "~/.local/share/opencode/auth.json"
    assert CAPABILITY.lends == ("opencode",) and not CAPABILITY.default


@pytest.mark.parametrize(
    "wrong", [{"port": 0}, {"port": 70000}, {"version": "1; x"}, {"version": "-g"}, {"wait": 0}, {"ports": 1}]
)
def test_options_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Options.model_validate(wrong)


class Guest(FakeGuest):
    """Answers by what it is asked; :attr:`listens` after that many looks."""

    def __init__(self, statuses: dict[str, tuple[int, str]], listens: int = 0) -> None:
        super().__init__()
        self.statuses, self.looks, self.after = statuses, 0, listens
        self.asked: list[tuple[str, ...]] = []

    def run(self, argv: Any, *, input: bytes = b"", timeout: float = 30) -> tuple[int, str]:
        assert tuple(argv[:4]) == ("/bin/sh", "-c", SCRIPT, "opencode")
        self.asked.append(tuple(argv[4:]))
        return self.statuses.get(argv[4], (0, ""))

    def request(self, op: str, *, timeout: float = 10, **fields: Any) -> dict[str, Any]:
        assert op == "ports"
        self.looks += 1
        return {"ports": [7, {"port": "4096"}, *([{"port": 4096}] if self.looks > self.after else [])]}


def start(
    folder: Path, guest: Guest, options: dict[str, Any] | None = None, *, restrict: bool = False
) -> None:
    """Run the step."""
    given = Options.model_validate(options or {}).model_dump(mode="json")
    vm = sample_vm()
    vm = vm.model_copy(update={"spec": vm.spec.model_copy(update={"capabilities": {"opencode": given}})})
    paper = FakeStart(folder, vm=vm)
    paper.guest = guest
    paper.attachment = QemuUser(GuestInterface("02:00:00:00:00:01", "10.0.2.15/24"), restrict=restrict)
    paper.run(STEP)


def test_one_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    guest = Guest({})
    start(tmp_path, guest)
    assert guest.asked == [("find",)] and guest.looks == 0


def test_one_that_is_missing_is_fetched(tmp_path: Path) -> None:
    guest = Guest({"find": (MISSING, "there is no opencode")})
    start(tmp_path, guest, {"version": "1.0.180"})
    assert guest.asked == [("find",), ("install", "1.0.180", "/usr/local/bin")]


@pytest.mark.parametrize(
    ("options", "restrict", "installed", "complaint"),
    [
        ({"install": False}, False, (0, ""), "there is no opencode in the guest$"),
        ({}, True, (0, ""), "leaves no way out to fetch it"),
        ({}, False, (NOTHING_FETCHES, "it takes npm"), "there is no opencode in the guest: it takes npm"),
        ({}, False, (1, "npm error EAI_AGAIN"), "could not be fetched: npm error EAI_AGAIN"),
    ],
)
def test_why_it_is_not_there_is_said(
    tmp_path: Path, options: dict[str, Any], restrict: bool, installed: tuple[int, str], complaint: str
) -> None:
    guest = Guest({"find": (MISSING, ""), "install": installed})
    with pytest.raises(GuestError, match=complaint) as caught:
        start(tmp_path, guest, options, restrict=restrict)
    assert "an image that has it" in (caught.value.hint or "")
    assert (len(guest.asked) == 2) == (not options and not restrict)


def test_a_port_is_served_and_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "_PAUSE", 0.0)
    guest = Guest({}, listens=3)
    start(tmp_path, guest, {"port": 4096})
    assert guest.asked == [("find",), ("serve", "4096"), ("look",), ("look",)]
    guest = Guest({})
    start(tmp_path / "again", guest, {"port": 4096})
    assert guest.asked == [("find",)], "something listens there already"


def test_a_server_that_ends_or_never_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "_PAUSE", 0.0)
    with pytest.raises(GuestError, match="opencode's server ended: address in use"):
        start(tmp_path, Guest({"look": (ENDED, "address in use")}, listens=9), {"port": 4096})
    with pytest.raises(GuestError, match="does not listen on port 4096 after 1 s; it said last: starting"):
        start(tmp_path / "slow", Guest({"look": (0, "starting")}, listens=10**9), {"port": 4096, "wait": 1})


class Home:
    """A guest's home and PATH, on this machine."""

    def __init__(self, base: Path) -> None:
        self.home, self.bin = base / "root", base / "bin"
        self.home.mkdir()
        self.bin.mkdir()
        for name in ("sh", "mkdir", "setsid", "cat", "rm", "tail", "grep"):
            (self.bin / name).symlink_to(str(shutil.which(name)))

    def plant(self, name: str, script: str, folder: Path | None = None) -> None:
        """Put a program there."""
        place = folder or self.bin
        place.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(f"#!/bin/sh\n{script}\n")
        (place / name).chmod(0o755)

    def run(self, *words: str) -> tuple[int, list[str], str]:
        """Run the script; return status, lines of output, and the last line of its errors."""
        environment = {"HOME": str(self.home), "PATH": str(self.bin)}
        line = ["/bin/sh", "-c", SCRIPT, "opencode", *words]
        done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout.splitlines(), (done.stderr.splitlines() or [""])[-1]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_the_script_looks_where_installers_put_it(home: Home) -> None:
    assert home.run("find") == (MISSING, [], "there is no opencode in the guest")
    home.plant("opencode", "", home.home / ".opencode" / "bin")
    assert home.run("find") == (0, [], "")


def test_the_script_fetches_with_npm(home: Home) -> None:
    target = home.home / ".local" / "bin"
    home.plant(
        "npm",
        f'echo "$@"; mkdir -p {target}; echo "#!/bin/sh" >{target}/opencode; chmod +x {target}/opencode',
    )
    for name in ("chmod", "ln"):
        (home.bin / name).symlink_to(str(shutil.which(name)))
    assert home.run("install", "1.2.3", str(home.bin))[0] == 0
    assert (home.bin / "opencode").readlink() == target / "opencode"
    assert "opencode-ai@1.2.3" in (home.home / ".cache/banger/opencode.log").read_text()


def test_the_script_says_why_nothing_was_fetched(home: Home) -> None:
    assert home.run("install", "latest", str(home.bin)) == (
        NOTHING_FETCHES,
        [],
        "it takes npm, or curl and bash, to fetch it",
    )
    home.plant("bash", "exit 1")
    home.plant("curl", "echo 'curl: (6) could not resolve host' >&2; exit 6")
    assert home.run("install", "latest", str(home.bin)) == (1, [], "curl: (6) could not resolve host")
    home.plant("npm", "echo 'npm error EAI_AGAIN'; echo; exit 1")
    assert home.run("install", "latest", str(home.bin)) == (1, [], "npm error EAI_AGAIN")
    home.plant("npm", "exit 0")
    assert home.run("install", "latest", str(home.bin)) == (MISSING, [], "there is no opencode in the guest")


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, bounded."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_script_serves_in_the_repository_and_tells_when_that_ends(home: Home) -> None:
    (home.home / "repo").mkdir()
    (home.bin / "mkfifo").symlink_to(str(shutil.which("mkfifo")))
    home.plant("opencode", f'echo "$PWD $*"; mkfifo {home.home}/held; echo up; cat {home.home}/held; exit 1')
    assert home.run("serve", "4096") == (0, [], "")
    wait_until((home.home / "held").exists)
    assert home.run("look")[0] == 0
    os.close(os.open(home.home / "held", os.O_WRONLY))
    wait_until(lambda: home.run("look") == (ENDED, [], "up"))
    log = (home.home / ".cache/banger/opencode.log").read_text()
    assert log == f"{home.home}/repo serve --hostname 127.0.0.1 --port 4096\nup\n"


def test_the_script_attaches_or_passes_words_on(home: Home) -> None:
    home.plant("opencode", 'printf "%s\\n" "$@"; exit 5')
    assert home.run("attach", "4096") == (5, ["attach", "http://127.0.0.1:4096"], "")
    assert home.run("attach", "none")[0] == 5
    assert home.run("attach", "4096", "run", "a b") == (5, ["run", "a b"], "")


class Daemon:
    """A client whose daemon has one VM."""

    def __init__(self, state: str = "running", workspace: str | None = "/root/repo") -> None:
        self.state, self.workspace = state, workspace

    def call(self, name: str, params: dict[str, Any]) -> dict[str, Any]:
        if name == "vm.show":
            spec = {"capabilities": {"opencode": {"port": 4096}}}
            return {
                "vm": {
                    "id": "0" * 32,
                    "name": "desk",
                    "state": self.state,
                    "spec": spec,
                    "running_spec": None,
                }
            }
        if self.workspace is None:
            raise NotFoundError("no such operation")
        return {"workspace": {"guest_path": self.workspace}}


def attach(monkeypatch: pytest.MonkeyPatch, daemon: Daemon, *words: str, found: int = 0) -> dict[str, Any]:
    """Call the command; return what would be run."""
    ran: dict[str, Any] = {}

    def run(client: Client, vm: str, argv: tuple[str, ...], **options: Any) -> int:
        ran.update(options, argv=argv[4:])
        return 7

    monkeypatch.setattr(commands, "Client", lambda: daemon)
    monkeypatch.setattr(commands, "run_piped", lambda *_, **__: Ended(found, b"", b""))
    monkeypatch.setattr(commands, "run_in_vm", run)
    with commands.opencode.make_context("opencode", ["desk", *words]) as context:
        assert commands.opencode.invoke(context) == 7
    return ran


def test_the_command_runs_in_the_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = attach(monkeypatch, Daemon())
    assert (ran["argv"], ran["workdir"]) == (("attach", "4096"), "/root/repo")
    ran = attach(monkeypatch, Daemon(workspace=None), "--", "run", "-q")
    assert (ran["argv"], ran["workdir"]) == (("attach", "4096", "run", "-q"), None)
    with pytest.raises(NotFoundError, match="there is no opencode in 'desk'"):
        attach(monkeypatch, Daemon(), found=MISSING)
    with pytest.raises(ConflictError, match="'desk' is not running"):
        attach(monkeypatch, Daemon(state="stopped"))
    with pytest.raises(click.UsageError):
        commands.opencode.make_context("opencode", [])
