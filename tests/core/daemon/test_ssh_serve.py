"""What starts an sshd in a guest: its files are written when they are missing or others, and only then."""

from __future__ import annotations

import subprocess
from pathlib import Path

from banger.daemon.ops.ssh import _SERVE, _make_environment

_SSHD = """#!/bin/sh
echo "$@"
env | grep -c SSH_ && exit 9
exit 42
"""


class Guest:
    """The script with its paths under a directory."""

    def __init__(self, root: Path) -> None:
        self.ssh = root / "run" / "ssh"
        self.sshd = root / "sshd"
        self.sshd.write_text(_SSHD)
        self.sshd.chmod(0o755)
        hosts, mounts = root / "hosts", root / "mounts"
        hosts.write_text("127.0.0.1 localhost\n")
        mounts.write_text(f"proc /proc proc rw 0 0\ntmpfs {hosts} tmpfs rw 0 0\n")
        self.hosts = hosts
        replaced = {
            "/run/banger/ssh": str(self.ssh),
            "/usr/sbin/sshd /usr/bin/sshd /usr/local/sbin/sshd": str(self.sshd),
            "/run/sshd": str(root / "privsep"),
            "/etc/hosts": str(hosts),
            "/proc/mounts": str(mounts),
        }
        self.script = _SERVE
        for before, after in replaced.items():
            assert before in self.script
            self.script = self.script.replace(before, after)

    def connect(self, identity: str = "ssh-ed25519 AAAA", key: str = "KEY\nlines\n") -> tuple[int, str]:
        env = {"PATH": "/usr/bin:/bin", **_make_environment(identity, key)}
        done = subprocess.run(["/bin/sh", "-c", self.script], env=env, capture_output=True, timeout=20)
        return done.returncode, (done.stdout + done.stderr).decode()

    def stamps(self) -> dict[str, int]:
        return {file.name: file.stat().st_ino for file in self.ssh.iterdir()}


def test_files_are_written_once(tmp_path: Path) -> None:
    guest = Guest(tmp_path)
    status, said = guest.connect()
    assert (status, said.splitlines()[0]) == (42, f"-i -f {guest.ssh}/sshd_config")
    assert (guest.ssh / "host_key").read_text() == "KEY\nlines\n"
    assert (guest.ssh / "host_key").stat().st_mode & 0o777 == 0o600
    assert (guest.ssh / "authorized_keys").read_text() == "ssh-ed25519 AAAA\n"
    assert (guest.ssh / "authorized_keys").stat().st_mode & 0o777 == 0o644
    before = guest.stamps()
    assert guest.connect()[0] == 42
    assert guest.stamps() == before
    assert set(before) == {"host_key", "authorized_keys", "sshd_config", "version"}


def test_another_key_and_a_missing_file_are_written(tmp_path: Path) -> None:
    guest = Guest(tmp_path)
    guest.connect()
    assert guest.connect(identity="ssh-ed25519 BBBB")[0] == 42
    assert (guest.ssh / "authorized_keys").read_text() == "ssh-ed25519 BBBB\n"
    for name in ("host_key", "authorized_keys", "sshd_config", "version"):
        (guest.ssh / name).unlink()
        assert guest.connect(identity="ssh-ed25519 BBBB")[0] == 42
        assert (guest.ssh / name).stat().st_size > 0


def test_pams_client_gets_a_name_once_and_only_in_the_agents_file(tmp_path: Path) -> None:
    guest = Guest(tmp_path)
    guest.connect()
    guest.connect()
    assert guest.hosts.read_text() == "127.0.0.1 localhost\n127.0.0.1 UNKNOWN\n"
    (tmp_path / "mounts").write_text("")
    guest.hosts.write_text("127.0.0.1 localhost\n")
    guest.connect()
    assert guest.hosts.read_text() == "127.0.0.1 localhost\n"


def test_what_is_in_the_way_is_said(tmp_path: Path) -> None:
    guest = Guest(tmp_path)
    guest.ssh.parent.write_text("a file")
    status, said = guest.connect()
    assert (status, "cannot be written in the guest" in said) == (125, True)
    guest.ssh.parent.unlink()
    guest.sshd.unlink()
    status, said = guest.connect()
    assert (status, "the image has no sshd" in said) == (127, True)
