"""Keys, known_hosts and ssh_config on the host."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from banger.errors import HostError
from banger.host.ssh import SshFiles, format_config, make_key, public_key

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="openssh-client is not installed")


def test_key_is_made_once_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "id"
    make_key(path, "a comment")
    before = path.read_bytes()
    make_key(path, "another")
    assert path.read_bytes() == before
    assert path.stat().st_mode & 0o777 == 0o600
    assert str(public_key(path)).startswith("ssh-ed25519 ")


def test_half_a_key_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "id"
    path.write_text("cut off")
    make_key(path, "c")
    assert b"OPENSSH PRIVATE KEY" in path.read_bytes()


def test_known_hosts_has_who_is_there_and_forgets(tmp_path: Path) -> None:
    files = SshFiles(tmp_path / "ssh")
    files.forget("a.vm")
    files.prepare()
    for name in "ab":
        make_key(tmp_path / name, name)
    files.write_known_hosts({"a.vm": tmp_path / "a", "b.vm": tmp_path / "b", "c.vm": tmp_path / "c"})
    files.forget("a.vm")
    files.forget("a.vm")
    assert files.known_hosts.read_text() == f"b.vm {public_key(tmp_path / 'b')}\n"


def test_openssh_reads_the_config_with_odd_paths(tmp_path: Path) -> None:
    files = SshFiles(tmp_path / "a b%c")
    files.prepare()
    done = subprocess.run(
        ["ssh", "-G", "-F", files.config, "x.vm"], capture_output=True, text=True, check=True
    )
    assert "stricthostkeychecking true" in done.stdout
    assert "user root" in done.stdout
    other = subprocess.run(
        ["ssh", "-G", "-F", files.config, "x.org"], capture_output=True, text=True, check=True
    )
    assert "banger" not in other.stdout.lower().replace(str(tmp_path).lower(), "")


def test_path_that_ssh_cannot_take_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="ssh cannot use the path"):
        format_config(SshFiles(tmp_path / 'a"b'))
