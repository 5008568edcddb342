"""Checks of every host: what they say, and the command that mends it."""

from __future__ import annotations

from pathlib import Path

import pytest

from banger.errors import ConfigError
from banger.host import checks
from banger.model.check import CheckStatus
from banger.testing.fakes import FakeCommands


def test_missing_ssh_is_a_warning_with_its_package() -> None:
    found = checks.check_ssh(FakeCommands(()))
    assert (found.status, found.hint) == (CheckStatus.WARN, "sudo apt install openssh-client")


def test_ssh_is_shown_with_its_version() -> None:
    commands = FakeCommands()
    commands.answer("^ssh -V", stderr=b"OpenSSH_9.2p1 Debian-2, OpenSSL 3.0.11\n")
    assert checks.check_ssh(commands).detail == "OpenSSH_9.2p1 Debian-2"


def test_proxies_are_named_without_their_values(monkeypatch: pytest.MonkeyPatch) -> None:
    _without_proxies(monkeypatch)
    assert checks.check_proxies(FakeCommands()).detail == "none set"
    monkeypatch.setenv("HTTPS_PROXY", "http://ada:secret@proxy:3128")
    found = checks.check_proxies(FakeCommands())
    assert (found.status, found.detail) == (CheckStatus.PASS, "set: https_proxy")


def test_proxies_that_differ_by_spelling_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    _without_proxies(monkeypatch)
    monkeypatch.setenv("http_proxy", "http://one:3128")
    monkeypatch.setenv("HTTP_PROXY", "http://ada:secret@two:3128")
    found = checks.check_proxies(FakeCommands())
    assert found.status is CheckStatus.WARN and "secret" not in f"{found.detail}{found.hint}"


def test_clock_before_the_installation_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.check_time(FakeCommands()).status is CheckStatus.PASS
    monkeypatch.setattr("time.time", lambda: 86400.0)
    found = checks.check_time(FakeCommands())
    assert found.status is CheckStatus.WARN and "1970-01-02" in found.detail


def test_state_directory_that_does_not_exist_yet_is_no_trouble(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "not" / "yet"))
    assert checks.check_storage(FakeCommands()).status is CheckStatus.PASS
    assert str(tmp_path) in checks.check_space(FakeCommands()).detail
    assert list(tmp_path.iterdir()) == []


def test_state_directory_too_long_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/" + "x" * 120)
    with pytest.raises(ConfigError, match="too long"):
        checks.check_storage(FakeCommands())


def _without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
