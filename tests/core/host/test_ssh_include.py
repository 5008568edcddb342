"""The block in the user's ssh_config: put in, taken out, and what is refused."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from banger.config.paths import find_paths
from banger.errors import HostError
from banger.host.ssh import find_ssh_files
from banger.host.ssh_include import find_home, include_line, install, is_installed, passwd_home, uninstall

_OURS = Path("/x y/ssh/config")
_BLOCK = b'# banger: begin\nInclude "/x y/ssh/config"\n# banger: end\n'


@pytest.mark.parametrize(
    ("before", "block"),
    [
        (b"", _BLOCK),
        (b"Host a\n  User b\n", _BLOCK),
        (b"Host a", _BLOCK),
        (b"# caf\xe9 \xff\n", _BLOCK),
        (b"Host a\r\n  User b\r\n", _BLOCK.replace(b"\n", b"\r\n")),
    ],
    ids=["empty", "hosts", "no last newline", "not UTF-8", "CRLF"],
)
def test_block_goes_to_the_top_once_and_out_to_the_byte(tmp_path: Path, before: bytes, block: bytes) -> None:
    path = tmp_path / "config"
    path.write_bytes(before)
    path.chmod(0o640)
    assert install(path, _OURS) and is_installed(path, _OURS)
    assert path.read_bytes() == block + before
    assert not install(path, _OURS)
    assert path.read_bytes() == block + before
    assert uninstall(path, _OURS) and not is_installed(path, _OURS)
    assert path.read_bytes() == before and path.stat().st_mode & 0o777 == 0o640
    assert not uninstall(path, _OURS)
    assert os.listdir(tmp_path) == ["config"]


def test_missing_directory_and_file_are_made_private(tmp_path: Path) -> None:
    path = tmp_path / ".ssh" / "config"
    assert not uninstall(path, _OURS) and not path.parent.exists()
    install(path, _OURS)
    assert path.parent.stat().st_mode & 0o777 == 0o700 and path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("folder", [True, False], ids=["folder of the user's", "folder made"])
def test_what_was_made_for_the_block_goes_with_it(tmp_path: Path, folder: bool) -> None:
    path, ours = tmp_path / "home" / ".ssh" / "config", tmp_path / "state" / "config"
    for directory in (path.parent.parent, ours.parent):
        directory.mkdir()
    if folder:
        path.parent.mkdir()
    assert install(path, ours) and uninstall(path, ours)
    assert not path.exists() and path.parent.exists() is folder
    assert os.listdir(ours.parent) == []


def test_what_came_into_the_file_or_beside_it_stays(tmp_path: Path) -> None:
    path, ours = tmp_path / ".ssh" / "config", tmp_path / "ours"
    install(path, ours)
    path.write_bytes(path.read_bytes() + b"Host a\n")
    assert uninstall(path, ours) and path.read_bytes() == b"Host a\n"
    path.write_bytes(b"")
    assert install(path, ours) and uninstall(path, ours)
    assert path.read_bytes() == b""  # it was there, if empty
    path.unlink()
    install(path, ours)
    (path.parent / "id").touch()
    assert uninstall(path, ours) and os.listdir(path.parent) == ["id"]


@pytest.mark.parametrize("exists", [True, False])
def test_link_stays_a_link(tmp_path: Path, exists: bool) -> None:
    dotfiles = tmp_path / "dotfiles"
    dotfiles.mkdir()
    if exists:
        (dotfiles / "ssh").write_bytes(b"Host a\n")
    path = tmp_path / "config"
    path.symlink_to("dotfiles/ssh")
    install(path, _OURS)
    assert path.is_symlink() and (dotfiles / "ssh").read_bytes().startswith(_BLOCK)
    assert os.listdir(dotfiles) == ["ssh"]


def test_block_moved_or_of_another_state_directory_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_bytes(b"Host a\n" + _BLOCK.replace(b"/x y", b"/old") + b"Host b\n")
    assert not is_installed(path, _OURS)
    assert install(path, _OURS)
    assert path.read_bytes() == _BLOCK + b"Host a\nHost b\n"


@pytest.mark.parametrize("half", [b"# banger: begin\nHost a\n", b"Host a\n# banger: end\n"])
def test_half_a_block_is_left_alone(tmp_path: Path, half: bytes) -> None:
    path = tmp_path / "config"
    path.write_bytes(half)
    for change in (lambda: install(path, _OURS), lambda: uninstall(path, _OURS)):
        with pytest.raises(HostError, match="half of banger's block"):
            change()
    assert path.read_bytes() == half


@pytest.mark.parametrize("kind", ["file for a directory", "directory for a file", "loop"])
def test_what_cannot_be_written_is_one_line(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ".ssh" / "config"
    if kind == "file for a directory":
        path.parent.write_text("mine")
    elif kind == "directory for a file":
        path.mkdir(parents=True)
    else:
        path.parent.mkdir()
        path.symlink_to("config")
    with pytest.raises(HostError) as caught:
        install(path, _OURS)
    assert caught.value.hint and "\n" not in caught.value.message


@pytest.mark.parametrize("name", ["a*b", "a?b", "a[b", 'a"b', "a%b", "a$b", "a\nb"])
def test_path_that_ssh_reads_otherwise_is_refused(name: str) -> None:
    with pytest.raises(HostError, match="cannot include"):
        include_line(Path("/") / name)


def test_home_is_the_passwd_entrys_unless_home_is_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_home() == tmp_path
    for other in ("relative", "/nowhere/at/all", ""):
        monkeypatch.setenv("HOME", other)
        assert find_home() == passwd_home()


@pytest.mark.skipif(shutil.which("ssh") is None, reason="openssh-client is not installed")
def test_openssh_finds_our_state_through_the_users_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "a state"))
    files = find_ssh_files(find_paths())
    files.prepare()
    assert files.config.stat().st_mode & 0o777 == 0o600
    user_config = tmp_path / "config"
    user_config.write_text("User me\nHost other\n  Port 7\n")
    install(user_config, files.config)
    monkeypatch.delenv("XDG_STATE_HOME")
    seen = {}
    for host in ("x.vm", "other"):
        done = subprocess.run(
            ["ssh", "-G", "-F", user_config, host], capture_output=True, text=True, check=True
        )
        seen[host] = done.stdout
    assert "user root\n" in seen["x.vm"] and f"XDG_STATE_HOME='{tmp_path}/a state'" in seen["x.vm"]
    assert (
        "user me\n" in seen["other"] and "port 7\n" in seen["other"] and "proxycommand" not in seen["other"]
    )
