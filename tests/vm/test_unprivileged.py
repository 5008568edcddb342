"""An ordinary user: no kvm, no sudo, no XDG_RUNTIME_DIR, a home with a space in its name, banger from its wheel."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from vmring import Home, missing_programs

USER = "banger-vm-test"
ROOT = Path(__file__).parents[2]
#: An interpreter every user can read; the one the tests run under may live in root's home.
PYTHON = "/usr/bin/python3"


class UserHome(Home):
    """banger as another user, in the directories it takes when nothing is set."""

    def __init__(self, base: Path, user: pwd.struct_passwd, program: tuple[str, ...]) -> None:
        self.base, self.program, self.user = base, program, user
        self.state = base / ".local" / "state" / "banger"
        self.config = base / ".config" / "banger" / "config.toml"
        self.env = {"HOME": str(base), "USER": USER, "LOGNAME": USER, "LANG": "C.UTF-8", "PATH": os.defpath}
        self.as_user("mkdir", "-p", str(self.config.parent))
        content = '[defaults]\nmemory = "512M"\nvcpu = 1\n\n[plugins.net-user]\nrestrict = true\n'
        self.as_user("sh", "-c", f"cat > '{self.config}'", input=content.encode())

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        argv = [*self.program, *arguments]
        return subprocess.Popen(argv, env=self.env, cwd="/", **self._identity(), **{**pipes, **options})

    def as_user(self, *argv: str, input: bytes = b"", timeout: float = 300) -> None:
        """Run a program as the user; it has to succeed."""
        options = {"env": self.env, "cwd": "/", **self._identity()}
        done = subprocess.run(argv, input=input, capture_output=True, timeout=timeout, check=False, **options)
        assert done.returncode == 0, done.stderr.decode(errors="replace")[-3000:]

    def _identity(self) -> dict[str, Any]:
        return {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": [self.user.pw_gid]}


@pytest.fixture(scope="module")
def wheel() -> Iterator[Path]:
    """The wheel, built from this source."""
    with tempfile.TemporaryDirectory(prefix="bvm-wheel-") as directory:
        os.chmod(directory, 0o755)
        argv = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", directory, str(ROOT)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        (built,) = Path(directory).glob("*.whl")
        yield built


@pytest.fixture(scope="module")
def user() -> Iterator[tuple[pwd.struct_passwd, Path]]:
    """A user made for this test, with a home that has a space in its name."""
    if os.geteuid() != 0:
        pytest.skip("needs root: it makes a user")
    if missing := [
        name for name in ("useradd", "userdel", "newuidmap", PYTHON) if shutil.which(name) is None
    ]:
        pytest.skip(f"not installed here: {', '.join(missing)}")
    if missing := missing_programs():
        pytest.skip(f"no VM can be booted here: {', '.join(missing)} not installed")
    top = Path(tempfile.mkdtemp(prefix="bvm u", dir="/tmp"))
    top.chmod(0o755)
    home = top / "the home"
    subprocess.run(["useradd", "--create-home", "--home-dir", home, "--shell", "/bin/sh", USER], check=True)
    entry = pwd.getpwnam(USER)
    try:
        yield entry, home
    finally:
        _end_processes(entry.pw_uid)
        subprocess.run(["userdel", USER], check=True)
        shutil.rmtree(top)


@pytest.fixture(scope="module")
def unprivileged(user: tuple[pwd.struct_passwd, Path], wheel: Path) -> Iterator[UserHome]:
    """Install banger from its wheel into a virtual environment of the user's."""
    entry, home = user
    banger = UserHome(home, entry, (str(home / "venv" / "bin" / "banger"),))
    banger.as_user(PYTHON, "-m", "venv", str(home / "venv"))
    banger.as_user(str(home / "venv" / "bin" / "pip"), "install", "-q", str(wheel), timeout=600)
    yield banger
    banger.close()


def _end_processes(uid: int) -> None:
    for entry in os.scandir("/proc"):
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and entry.stat().st_uid == uid:
                os.kill(int(entry.name), signal.SIGKILL)


def _owners(*tops: Path) -> set[int]:
    owners: set[int] = set()
    for top in tops:
        for folder, _, files in os.walk(top):
            for name in (folder, *(os.path.join(folder, file) for file in files)):
                with contextlib.suppress(FileNotFoundError):
                    owners.add(os.lstat(name).st_uid)
    return owners


def _sub_ids() -> range:
    for line in Path("/etc/subuid").read_text().splitlines():
        name, first, count = line.split(":")
        if name == USER:
            return range(int(first), int(first) + int(count))
    return range(0)


@pytest.mark.timeout(1800)
def test_everything_as_an_ordinary_user(unprivileged: UserHome) -> None:
    banger, uid = unprivileged, unprivileged.user.pw_uid
    result = banger("vm", "run", "--rm", "--", "id", "-u", timeout=1500)
    assert result.status == 0, result.err
    assert result.text == "0"
    assert "this happens once" in result.err
    assert _owners(banger.base) == {uid}, "files of sub-ids remain"
    banger.ok("vm", "create", "--name", "mine", "--wait", "agent", "-p", "80")
    [port] = banger.show("mine")["ports"]
    assert (port["host"], port["guest"]) == (20080, 80)
    (pid,) = banger.qemus()
    assert os.stat(f"/proc/{pid}").st_uid == uid
    banger.sh("mine", "echo kept > /root/kept; sync")
    banger.ok("vm", "stop", "mine", "--timeout", "60")
    banger.ok("vm", "start", "mine", "--wait", "agent")
    assert banger.sh("mine", "cat /root/kept") == "kept"
    banger.ok("vm", "delete", "mine")
    banger.assert_clean()
    temporary = _owners(Path("/tmp"), Path("/var/tmp")) & set(_sub_ids())
    assert not temporary, "temporary files of sub-ids remain"


@pytest.mark.timeout(300)
def test_every_file_is_private(unprivileged: UserHome) -> None:
    unprivileged.vms()
    assert (unprivileged.state.stat().st_mode & 0o777) == 0o700
    for name in ("bangerd.sock", "stream.sock"):
        assert ((unprivileged.state / "s" / name).stat().st_mode & 0o777) == 0o600
