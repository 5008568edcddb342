"""Where this host resolves a VM's name, the name is said instead of the address; nobody is asked where it cannot be."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from banger.cli import vm as vm_commands

VM = {"name": "otter", "address": "127.64.0.7"}
PORTS = [{"address": "127.64.0.7", "host": 8080, "guest": 80}]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """A host with a route to names and a resolver that knows one; what it was asked."""
    asked: list[str] = []

    def getaddrinfo(host: str, *_: Any) -> list[Any]:
        asked.append(host)
        if host != "otter.vm":
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.64.0.7", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    (tmp_path / "route").touch()
    monkeypatch.setattr(vm_commands, "NAME_ROUTES", (tmp_path / "none", tmp_path / "route"))
    return asked


def test_a_name_that_resolves_is_said(asked: list[str]) -> None:
    assert vm_commands.find_host_name(VM) == "otter.vm"
    assert vm_commands.describe_ports(PORTS, VM) == ["otter.vm:8080 -> 80"]


@pytest.mark.parametrize(
    "vm", [{**VM, "name": "lynx"}, {**VM, "address": "127.64.0.9"}, {**VM, "address": None}]
)
def test_a_name_that_does_not_lead_there_is_not(asked: list[str], vm: dict[str, Any]) -> None:
    assert vm_commands.find_host_name(vm) is None
    assert vm_commands.describe_ports(PORTS, vm) == ["127.64.0.7:8080 -> 80"]


def test_nobody_is_asked_without_ports_or_route(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert vm_commands.describe_ports([], VM) == []
    monkeypatch.setattr(vm_commands, "NAME_ROUTES", ())
    assert vm_commands.describe_ports(PORTS, VM) == ["127.64.0.7:8080 -> 80"]
    assert asked == []
