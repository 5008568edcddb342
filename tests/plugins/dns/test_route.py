"""What ``dns install`` writes, under a root directory of the test's own and with a systemd that only answers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from banger.errors import ConflictError, HostError
from banger.testing.fakes import FakeCommands
from banger_dns.route import Route, find_route, install_route, uninstall_route

RELOAD = "systemctl reload-or-restart systemd-resolved.service"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc/systemd").mkdir(parents=True)
    return tmp_path


def systemd(version: int, programs: list[str] | None = None) -> FakeCommands:
    commands = FakeCommands(programs)
    commands.answer("^systemctl --version", stdout=f"systemd {version} ({version}.4-1)\n+PAM\n".encode())
    return commands


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root / "etc/systemd")) for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("version", "file", "section"),
    [
        (252, "resolved.conf.d/banger.conf", "Resolve"),
        (257, "resolved.conf.d/banger.conf", "Resolve"),
        (258, "dns-delegate.d/banger.dns-delegate", "Delegate"),
        (261, "dns-delegate.d/banger.dns-delegate", "Delegate"),
    ],
)
def test_install_and_uninstall(root: Path, version: int, file: str, section: str) -> None:
    commands = systemd(version)
    path = root / "etc/systemd" / file
    mask = os.umask(0o077)
    try:
        assert install_route(42069, commands, root) == (Route(path, 42069), True)
    finally:
        os.umask(mask)
    assert path.read_text().splitlines()[1:] == [f"[{section}]", "DNS=127.0.0.1:42069", "Domains=~vm"]
    assert path.stat().st_mode & 0o777 == 0o644 and path.parent.stat().st_mode & 0o777 == 0o755
    assert files(root) == [file] and commands.lines.count(RELOAD) == 1
    assert find_route(root) == Route(path, 42069)
    assert uninstall_route(commands, root) == [path]
    assert files(root) == [] and commands.lines.count(RELOAD) == 2
    assert find_route(root) is None


def test_again_changes_nothing(root: Path) -> None:
    commands = systemd(255)
    install_route(42069, commands, root)
    [path] = (root / "etc").rglob("*.conf")
    before = path.stat().st_mtime_ns
    assert install_route(42069, commands, root)[1] is False
    assert path.stat().st_mtime_ns == before and commands.lines.count(RELOAD) == 1
    uninstall_route(commands, root)
    assert uninstall_route(commands, root) == [] and commands.lines.count(RELOAD) == 2


def test_another_port_replaces(root: Path) -> None:
    commands = systemd(255)
    install_route(42069, commands, root)
    route, changed = install_route(42070, commands, root)
    assert changed and find_route(root) == route and route.port == 42070


def test_after_an_upgrade_of_systemd_only_the_new_way_is_left(root: Path) -> None:
    install_route(42069, systemd(257), root)
    route, changed = install_route(42069, systemd(258), root)
    assert changed and files(root) == ["dns-delegate.d/banger.dns-delegate"] and find_route(root) == route


def test_a_file_of_somebody_else_stays(root: Path) -> None:
    commands = systemd(255)
    path = root / "etc/systemd/resolved.conf.d/banger.conf"
    path.parent.mkdir()
    path.write_text("[Resolve]\nDNS=10.0.0.1\n")
    with pytest.raises(ConflictError, match=r"banger\.conf was not written by banger"):
        install_route(42069, commands, root)
    assert uninstall_route(commands, root) == []
    assert path.read_text() == "[Resolve]\nDNS=10.0.0.1\n" and RELOAD not in commands.lines
    assert find_route(root) == Route(path, None)


@pytest.mark.parametrize("before", [None, 42070])
def test_a_resolver_that_does_not_come_up_gets_back_what_it_had(root: Path, before: int | None) -> None:
    if before is not None:
        install_route(before, systemd(255), root)
    commands = systemd(255)
    commands.answer(RELOAD, status=1, stderr=b"Job for systemd-resolved.service failed.")
    with pytest.raises(HostError, match="Job for systemd-resolved"):
        install_route(42069, commands, root)
    found = find_route(root)
    assert (found.port if found else None) == before
    assert commands.lines.count(RELOAD) == 2, "it reads what it had again"


def test_no_systemd(root: Path) -> None:
    with pytest.raises(HostError, match="no systemd here") as caught:
        install_route(42069, systemd(255, ["getent"]), root)
    assert caught.value.hint is not None and "127.0.0.1:42069" in caught.value.hint
    assert files(root) == []


def test_no_resolver(root: Path) -> None:
    commands = systemd(255)
    commands.answer("is-active", status=3)
    with pytest.raises(HostError, match="systemd-resolved does not run here"):
        install_route(42069, commands, root)
    assert files(root) == [] and RELOAD not in commands.lines


def test_uninstall_without_a_resolver_starts_none(root: Path) -> None:
    install_route(42069, systemd(255), root)
    stopped = systemd(255)
    stopped.answer("is-active", status=3)
    assert len(uninstall_route(stopped, root)) == 1
    install_route(42069, systemd(255), root)
    gone = systemd(255, ["getent"])
    assert len(uninstall_route(gone, root)) == 1
    assert files(root) == [] and RELOAD not in stopped.lines + gone.lines


def test_what_cannot_be_written_is_said(root: Path) -> None:
    (root / "etc/systemd/resolved.conf.d").write_text("not a directory")
    with pytest.raises((HostError, ConflictError)) as caught:
        install_route(42069, systemd(255), root)
    assert caught.value.hint
    assert files(root) == ["resolved.conf.d"]
