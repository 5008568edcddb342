"""Whose the host's daemon is, and which daemon a user's command line means."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from banger.config import paths
from banger.config.install import Install, find_install
from banger.config.paths import SYSTEM_SOCKET, SYSTEM_STATE, find_paths
from banger.config.settings import read_settings
from banger.errors import ConfigError
from banger.testing.pytest_plugin import BangerDirs

ME = os.getuid()
TEXT = 'owner = "somebody"\nuid = 4242\nversion = "0.1.0"\ncommit = "abc"\ninstalled_at = "2020-01-01"\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "install.toml"
    file.write_text(TEXT)
    file.chmod(0o644)
    return file


def test_what_is_installed(file: Path) -> None:
    assert find_install(file, ME) == Install("somebody", 4242, "0.1.0", "abc")


def test_nothing_is_installed(tmp_path: Path) -> None:
    assert find_install(tmp_path / "install.toml", ME) is None
    assert find_install(Path("/etc/passwd/install.toml"), ME) is None


def test_a_note_that_others_can_write_is_not_believed(file: Path) -> None:
    file.chmod(0o666)
    with pytest.raises(ConfigError, match="written by others"):
        find_install(file, ME)
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="written by others"):
        find_install(file, ME + 1)
    link = file.with_name("link")
    link.symlink_to(file)
    with pytest.raises(ConfigError):
        find_install(link, ME)


@pytest.mark.parametrize(
    "text", ["", "uid = 1", "owner", TEXT.replace("4242", '"4242"'), TEXT.replace("4242", "true"), "\x00"]
)
def test_a_note_that_is_not_as_written_is_said(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError, match="not as it was written") as caught:
        find_install(file, ME)
    assert "system install --owner USER" in str(caught.value.hint)


@pytest.fixture
def owned(banger_dirs: BangerDirs, monkeypatch: pytest.MonkeyPatch) -> None:
    """This user has the host's daemon."""
    monkeypatch.delenv("BANGER_MODE")
    monkeypatch.setattr(paths, "find_install", lambda: Install("me", ME, "0", "0"))


@pytest.mark.usefixtures("owned")
def test_the_owner_means_the_hosts_daemon() -> None:
    found = find_paths()
    assert found.is_system and (found.state, found.daemon_socket) == (SYSTEM_STATE, SYSTEM_SOCKET)
    assert found.stream_socket == SYSTEM_SOCKET.with_name("stream.sock")


@pytest.mark.usefixtures("owned")
def test_the_owner_can_mean_his_own(banger_dirs: BangerDirs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANGER_MODE", "user")
    assert find_paths().state == banger_dirs.state
    assert find_paths().daemon_socket == banger_dirs.state / "s" / "bangerd.sock"


def test_others_mean_their_own(banger_dirs: BangerDirs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BANGER_MODE")
    monkeypatch.setattr(paths, "find_install", lambda: Install("other", ME + 1, "0", "0"))
    assert find_paths().state == banger_dirs.state
    monkeypatch.setattr(paths, "find_install", lambda: None)
    assert find_paths().state == banger_dirs.state


@pytest.mark.usefixtures("owned")
def test_a_socket_that_is_named_is_meant_before_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANGER_SOCKET", "/elsewhere/one.sock")
    found = find_paths()
    assert not found.is_system and found.daemon_socket == Path("/elsewhere/one.sock")
    assert found.stream_socket == Path("/elsewhere/stream.sock")


@pytest.mark.parametrize(("name", "value"), [("BANGER_MODE", "root"), ("BANGER_SOCKET", "one.sock")])
def test_wrong_variables_are_said(
    banger_dirs: BangerDirs, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=name):
        find_paths()


def test_of_a_users_own_file_the_hosts_daemon_takes_what_vms_get(tmp_path: Path) -> None:
    mine = tmp_path / "config.toml"
    mine.write_text(
        'log_level = "debug"\ndisabled = ["dns"]\n[defaults]\nvcpu = 3\n[plugins.dns]\nport = 1\n'
    )
    settings = read_settings((mine,), personal=mine)
    assert settings.core.defaults.vcpu == 3
    assert (settings.core.log_level, settings.core.disabled, settings.tables) == ("info", (), {})
    assert read_settings((mine,)).core.disabled == ("dns",)
