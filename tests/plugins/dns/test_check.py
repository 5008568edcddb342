"""Whether names resolve on this host, with a resolver that is only scripted."""

from __future__ import annotations

from pathlib import Path

import pytest

from banger.helper.requests import EnsureBridge
from banger.model.check import CheckStatus
from banger.testing.fakes import FakeCommands
from banger.testing.privileged import FakePrivileged
from banger_dns import check, server
from banger_dns.guests import Place
from banger_dns.route import Route

SERVING = server.Serving(42070, "0a1b._banger.vm")


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch) -> server.Serving:
    monkeypatch.setattr(check, "has_local_resolver", lambda: True)
    monkeypatch.setattr(server, "_serving", [SERVING])
    return SERVING


def route(monkeypatch: pytest.MonkeyPatch, port: int | None) -> None:
    there = Route(Path("/etc/systemd/resolved.conf.d/banger.conf"), port)
    monkeypatch.setattr(check, "find_route", lambda: there)


def resolver(said: bytes = b"127.0.0.1       0a1b._banger.vm\n", status: int = 0) -> FakeCommands:
    commands = FakeCommands()
    commands.answer("^getent hosts 0a1b._banger.vm$", stdout=said, status=status)
    return commands


def test_names_resolve(serving: server.Serving) -> None:
    found = check.check_names(resolver())
    assert found.status is CheckStatus.PASS and "127.0.0.1:42070" in found.detail


@pytest.mark.parametrize("commands", [resolver(b"", 2), resolver(b"203.0.113.9 portal\n")])
def test_no_route(serving: server.Serving, monkeypatch: pytest.MonkeyPatch, commands: FakeCommands) -> None:
    monkeypatch.setattr(check, "find_route", lambda: None)
    found = check.check_names(commands)
    assert found.status is CheckStatus.WARN and found.detail.endswith("only 127.0.0.1:42070 knows it")
    assert found.hint == 'sudo "$(command -v banger)" dns install'


def test_with_a_root_helper_the_bridge_leads(
    serving: server.Serving, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(check, "find_route", lambda: None)
    monkeypatch.setattr(check, "HostPrivileged", lambda: FakePrivileged("helper"))
    monkeypatch.setattr(check, "has_local_resolver", lambda: True)
    monkeypatch.setattr(check, "_RESOLVED", tmp_path)
    found = check.check_names(resolver(b"", 2))
    assert found.status is CheckStatus.PASS and "no VM is on the bridge" in found.detail
    monkeypatch.setattr(check, "_RESOLVED", tmp_path / "none")
    assert check.check_names(resolver(b"", 2)).status is CheckStatus.WARN


def test_a_route_to_another_port(serving: server.Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    route(monkeypatch, 42069)
    found = check.check_names(resolver(b"", 2))
    assert found.status is CheckStatus.WARN
    assert found.detail.endswith("leads to port 42069, but this daemon answers at 42070")
    assert found.hint == 'sudo "$(command -v banger)" dns install --port 42070'


def test_a_route_that_the_resolver_does_not_take(
    serving: server.Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    route(monkeypatch, 42070)
    commands = FakeCommands()
    commands.answer("getent", seconds=60)
    found = check.check_names(commands)
    assert found.status is CheckStatus.WARN and found.detail.endswith("but NAME.vm does not resolve")
    assert found.hint is not None and "resolvectl status" in found.hint


def test_a_host_without_a_resolver_of_its_own_is_not_asked(
    serving: server.Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "has_local_resolver", lambda: False)
    monkeypatch.setattr(check, "find_route", lambda: None)
    commands = resolver()
    assert check.check_names(commands).status is CheckStatus.WARN
    assert commands.calls == []


def test_no_name_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_serving", [])
    monkeypatch.setattr(check, "_START_SECONDS", 0.05)
    commands = resolver()
    found = check.check_names(commands)
    assert (found.status, found.hint, commands.calls) == (CheckStatus.WARN, "banger daemon status", [])


@pytest.mark.parametrize(
    ("resolv", "nsswitch", "local"),
    [
        ("nameserver 127.0.0.53\n", "hosts: files dns\n", True),
        ("search lan\nnameserver ::1\n", "", True),
        ("nameserver 192.0.2.1\nnameserver\n", "hosts: files dns\n", False),
        ("nameserver 192.0.2.1\n", "hosts: files resolve [!UNAVAIL=return] dns\n", True),
        ("# nameserver 127.0.0.1\n", "networks: resolve\n", False),
        (None, None, False),
    ],
)
def test_local_resolver(tmp_path: Path, resolv: str | None, nsswitch: str | None, local: bool) -> None:
    for name, text in (("resolv", resolv), ("nsswitch", nsswitch)):
        if text is not None:
            (tmp_path / name).write_text(text)
    assert check.has_local_resolver(tmp_path / "resolv", tmp_path / "nsswitch") is local


@pytest.mark.parametrize(
    ("who", "named", "hint"),
    [
        ("ufw", "ufw drops", "sudo ufw allow in on br-banger to any port 42070"),
        ("firewalld", "firewalld drops", "--add-interface=br-banger"),
        ("", "a firewall drops", "let it accept port 42070, UDP and TCP, from br-banger"),
    ],
)
def test_a_firewall_that_lets_no_guest_ask(
    serving: server.Serving, monkeypatch: pytest.MonkeyPatch, who: str, named: str, hint: str
) -> None:
    privileged = FakePrivileged("helper")
    privileged.call(EnsureBridge("br-banger", "0123abcd", "172.16.176.1", 20))
    monkeypatch.setattr(check, "HostPrivileged", lambda: privileged)
    monkeypatch.setattr(check.HUB, "places", {Place("br-banger", "0123abcd", "172.16.176.1")})
    privileged.blockers = [{"table": "ip filter", "chain": "FORWARD", "hook": "forward", "who": "docker"}]
    assert check.check_names(resolver()).status is CheckStatus.PASS, "that is nothing to names"
    privileged.blockers += [{"table": "ip filter", "chain": "INPUT", "hook": "input", "who": who}]
    found = check.check_names(resolver())
    assert found.status is CheckStatus.WARN and hint in (found.hint or "")
    assert found.detail.startswith(f"{named} what VMs ask this host for names (ip filter, chain INPUT)")
