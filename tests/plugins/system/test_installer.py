"""Installing into a root directory of the test's own: real copies, a real daemon, a systemd that is played."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from banger import errors
from banger.config.install import find_install
from banger.errors import ConflictError, DaemonError, HostError
from banger.model.check import CheckStatus
from banger.testing.fakes import FakeCommands
from banger.testing.pytest_plugin import BangerDirs
from banger_system import installer, service
from banger_system.check import check_code, check_services
from banger_system.environment import daemon_files, helper_files, make_environment
from banger_system.installer import install, restart, uninstall
from banger_system.layout import DAEMON_UNIT, HELPER_UNIT, Layout
from banger_system.units import Owner

ME = os.getuid()
OWNER = Owner("somebody", ME, os.getgid(), "/nowhere", (os.getgid(),))


class PlayedDaemon:
    """Answers every call with ``daemon.status`` as an idle daemon gives it."""

    def __init__(self, path: Path) -> None:
        self.pid = 4242
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        body = json.dumps({"pid": self.pid, "operations": 0, "running_vms": 0, "version": "0"}).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(head + body)

    def end(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()


class RealDaemon:
    """The daemon out of an installed tree, as this test's user."""

    def __init__(self, python: Path, path: Path) -> None:
        kept = {
            name: value for name, value in os.environ.items() if name.startswith("XDG_") or name == "HOME"
        }
        environment = {**kept, "PATH": os.defpath, "BANGER_SOCKET": str(path)}
        argv = [str(python), "-I", "-m", "banger.daemon.main"]
        self.process = subprocess.Popen(argv, env=environment, cwd="/", stderr=subprocess.DEVNULL)
        self.pid = self.process.pid

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0


class PlayedSystemd(FakeCommands):
    """Does what systemd does for us: makes directories, and runs a daemon."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        self.daemon: PlayedDaemon | RealDaemon | None = None
        self.real = self.broken = False
        self.answer(
            "^systemd-tmpfiles", effect=lambda _: layout.socket.parent.mkdir(parents=True, exist_ok=True)
        )
        self.answer("^systemctl (stop|disable)", effect=lambda _: self.end())
        self.answer("^systemctl restart", effect=lambda _: self.begin())

    def find(self, program: str) -> str | None:
        return None if program in ("newuidmap", "newgidmap") else super().find(program)

    def begin(self) -> None:
        self.end()
        if not self.layout.install.exists() or self.broken:
            return
        if self.real:
            self.daemon = RealDaemon(self.layout.code / "daemon/bin/python3", self.layout.socket)
        else:
            self.daemon = PlayedDaemon(self.layout.socket)

    def end(self) -> None:
        if self.daemon is not None:
            self.daemon.end()
            self.layout.socket.unlink(missing_ok=True)
        self.daemon = None

    def run(self, argv: Any, **options: Any) -> Any:
        words = [os.fspath(word) for word in argv]
        if words[:2] == ["systemctl", "show"] and words[-1].endswith(".service"):
            state = "failed" if self.broken else "active" if self.daemon else "inactive"
            lines = (
                f"LoadState=loaded\nActiveState={state}\nSubState=x\nMainPID=1\nNRestarts=0\nResult=success\n"
            )
            self.answer(re.escape(words[-1]) + "$", stdout=lines.encode())
        return super().run(argv, **options)


@pytest.fixture
def layout() -> Iterator[Layout]:
    root = Path(tempfile.mkdtemp(prefix="bs", dir="/tmp"))  # short: a socket lives below it
    root.chmod(0o755)
    yield Layout(root, ME)
    shutil.rmtree(root)


@pytest.fixture
def systemd(layout: Layout, banger_dirs: BangerDirs) -> Iterator[PlayedSystemd]:
    played = PlayedSystemd(layout)
    yield played
    played.end()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a few files only, where no code of them is run."""
    few = {PurePosixPath("banger/errors.py"): Path(errors.__file__)}
    monkeypatch.setattr(installer, "daemon_files", lambda: few)
    monkeypatch.setattr(installer, "helper_files", lambda: few)


def files(layout: Layout) -> list[str]:
    return sorted(str(path.relative_to(layout.root)) for path in layout.root.rglob("*") if path.is_file())


def quiet(_: str) -> None:
    pass


@pytest.mark.timeout(300)
def test_what_is_installed_runs_and_goes_again(layout: Layout, systemd: PlayedSystemd) -> None:
    systemd.real = True
    told: list[str] = []
    answer = install(OWNER, layout, systemd, told.append)
    assert systemd.daemon is not None and answer["pid"] == systemd.daemon.pid
    assert len(told) == 2
    found = find_install(layout.install, ME)
    assert found is not None and (found.owner, found.uid) == ("somebody", ME)
    assert check_code(systemd, layout).status is CheckStatus.PASS
    assert check_services(systemd, layout).status is CheckStatus.PASS
    assert not [path for path in layout.code.iterdir() if path.name not in ("helper", "daemon", "bin")]
    assert f"systemctl enable --quiet {HELPER_UNIT} {DAEMON_UNIT}" in systemd.lines
    (layout.jails / "firecracker").mkdir(parents=True)  # which systemd makes, and the helper fills
    removed = uninstall(layout, systemd, force=False, purge=False)
    assert not layout.jails.exists()
    assert str(layout.code) in removed.removed
    assert files(layout) == []
    assert uninstall(layout, systemd, force=False, purge=True).removed == ()


@pytest.mark.usefixtures("small")
def test_installing_again_and_starting_again(layout: Layout, systemd: PlayedSystemd) -> None:
    with pytest.raises(ConflictError):
        restart(layout, systemd, force=False)
    install(OWNER, layout, systemd, quiet)
    first = files(layout)
    daemon = systemd.daemon
    restart(layout, systemd, force=False)
    assert systemd.daemon is not daemon
    install(OWNER, layout, systemd, quiet)
    assert files(layout) == first


@pytest.mark.usefixtures("small")
def test_a_daemon_that_does_not_come_up_leaves_nothing(layout: Layout, systemd: PlayedSystemd) -> None:
    layout.jails.mkdir(parents=True)  # as systemd does for the helper
    systemd.broken = True
    with pytest.raises(DaemonError, match=r"bangerd-root.service ended \(x\)"):
        install(OWNER, layout, systemd, quiet)
    assert files(layout) == [] and not layout.jails.exists()
    assert f"systemctl disable --quiet {HELPER_UNIT} {DAEMON_UNIT}" in systemd.lines


@pytest.mark.usefixtures("small")
def test_an_update_that_fails_leaves_what_was(layout: Layout, systemd: PlayedSystemd) -> None:
    install(OWNER, layout, systemd, quiet)
    before = {path: (layout.root / path).read_bytes() for path in files(layout)}
    systemd.broken = True
    other = Owner("another", ME, os.getgid(), "/nowhere", ())
    with pytest.raises(DaemonError):
        install(other, layout, systemd, quiet)
    assert {path: (layout.root / path).read_bytes() for path in files(layout)} == before
    assert systemd.lines[-1] == f"systemctl restart {HELPER_UNIT} {DAEMON_UNIT}"


@pytest.mark.usefixtures("small")
def test_a_place_that_others_write_to_is_refused(layout: Layout, systemd: PlayedSystemd) -> None:
    library = layout.code.parent
    library.mkdir(parents=True)
    library.chmod(0o777)
    with pytest.raises(HostError, match=f"{library} can be written by everybody"):
        install(OWNER, layout, systemd, quiet)
    assert files(layout) == [] and not layout.code.exists()
    assert not [line for line in systemd.lines if re.match("systemctl (stop|restart|enable)", line)]


def test_code_that_was_opened_up_fails_the_check(layout: Layout, systemd: PlayedSystemd) -> None:
    layout.install.parent.mkdir(parents=True)
    layout.install.write_text("")
    (layout.code / "helper").mkdir(parents=True)
    for name in (HELPER_UNIT, DAEMON_UNIT):
        layout.unit(name).parent.mkdir(parents=True, exist_ok=True)
        layout.unit(name).write_text("")
    for path in (layout.root, *layout.root.rglob("*")):
        path.chmod(0o755)
    assert check_code(systemd, layout).status is CheckStatus.PASS
    (layout.code / "helper").chmod(0o777)
    assert check_code(systemd, layout).status is CheckStatus.FAIL
    assert check_services(systemd, layout).status is CheckStatus.FAIL  # install.toml says nothing


def test_without_systemd_there_is_nothing_to_install(layout: Layout) -> None:
    with pytest.raises(HostError, match="no systemd"):
        install(OWNER, layout, FakeCommands(programs=()), quiet)
    booted_by_another = FakeCommands()
    booted_by_another.answer("^systemctl show", status=1)
    with pytest.raises(HostError, match="does not run"):
        install(OWNER, layout, booted_by_another, quiet)
    assert files(layout) == []


def test_the_helper_gets_no_more_than_it_needs() -> None:
    tops = {path.parts[0] for path in helper_files()}
    assert {"banger", "pyroute2"} <= tops
    assert not [
        name for name in tops if name.startswith("banger_") or name in ("pydantic", "pluggy", "uvicorn")
    ]
    parts = {path.parts[1] for path in helper_files() if path.parts[0] == "banger"}
    assert parts <= {"__init__.py", "_build.py", "errors.py", "helper", "host", "model"}


def test_the_daemon_gets_everything_and_nothing_that_runs_by_itself() -> None:
    names = {str(path) for path in daemon_files()}
    assert {"banger/daemon/main.py", "banger_workdisk/__init__.py", "pydantic/__init__.py"} <= names
    assert [name for name in names if re.search(r"banger-[^/]+\.dist-info/entry_points\.txt", name)]
    assert not [name for name in names if name.endswith((".pth", ".pyc")) or ".." in name]


@pytest.mark.timeout(300)
def test_the_helper_starts_from_its_own_tree_alone(layout: Layout) -> None:
    target = layout.root / "helper"
    make_environment(target, Path(os.path.realpath(sys.executable)), helper_files(), FakeCommands())
    code = "import json, sys, banger.helper; print(json.dumps([banger.helper.__file__, sys.path]))"
    argv = [str(target / "bin/python3"), "-I", "-c", code]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, cwd="/")
    assert done.returncode == 0, done.stderr
    file, path = json.loads(done.stdout)
    assert file.startswith(str(target))
    library = str(Path(os.__file__).parent)
    assert all(entry.startswith((str(target), library)) or entry.endswith(".zip") for entry in path), path


@pytest.mark.timeout(300)
def test_the_user_cannot_change_what_root_runs(layout: Layout) -> None:
    """Installed by root out of a user's own environment, then attacked as that user."""
    if ME != 0:
        pytest.skip("needs root: it becomes another user")
    make_environment(
        layout.root / "helper", Path(os.path.realpath(sys.executable)), helper_files(), FakeCommands()
    )
    code = (
        "import os, sys, pathlib\n"
        "top = pathlib.Path(sys.argv[1])\n"
        "done = []\n"
        "def attempt(what, work):\n"
        "    try:\n"
        "        work()\n"
        "    except OSError:\n"
        "        return\n"
        "    done.append(what)\n"
        "for folder, folders, names in os.walk(top):\n"
        "    attempt(folder, lambda: open(os.path.join(folder, 'evil.py'), 'w'))\n"
        "    attempt(folder, lambda: os.rename(folder, folder + '.old'))\n"
        "    for name in names:\n"
        "        path = os.path.join(folder, name)\n"
        "        attempt(path, lambda: open(path, 'a'))\n"
        "        attempt(path, lambda: os.chmod(path, 0o777))\n"
        "        attempt(path, lambda: os.unlink(path))\n"
        "seen = sum(len(names) for _, _, names in os.walk(top))\n"
        "print(seen, done)\n"
    )
    argv = ["/usr/bin/python3", "-I", "-c", code, str(layout.root / "helper")]
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=120, user=65534, group=65534, extra_groups=[]
    )
    assert done.returncode == 0, done.stderr
    seen, _, changed = done.stdout.strip().partition(" ")
    assert int(seen) > 100 and changed == "[]"


def test_waiting_for_a_daemon_is_bounded(layout: Layout, systemd: PlayedSystemd) -> None:
    with pytest.raises(DaemonError, match="did not answer within 0 s"):
        service.wait_answers(layout, systemd, seconds=0.0)
