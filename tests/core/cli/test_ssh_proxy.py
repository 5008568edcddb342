"""Which stream the ProxyCommand takes: the one that ``vm ssh`` prepared for this host, else one it asks for."""

from __future__ import annotations

import pytest

from banger.cli import client, ssh_proxy


class _Daemon:
    def call(self, name: str, params: dict[str, str]) -> dict[str, str]:
        return {"token": f"asked for {params['vm']}", "socket": f"/{name}"}


@pytest.mark.parametrize(
    ("first", "host", "found"),
    [
        ("otter.vm T0ken /s/a b", "otter.vm", ("T0ken", "/s/a b")),
        ("otter.vm T0ken /s/a b", "other.vm", ("asked for other", "/vm.ssh.open")),
        ("otter.vm", "otter.vm", ("asked for otter", "/vm.ssh.open")),
        ("", "otter.vm", ("asked for otter", "/vm.ssh.open")),
    ],
)
def test_stream(monkeypatch: pytest.MonkeyPatch, first: str, host: str, found: tuple[str, str]) -> None:
    monkeypatch.setenv(ssh_proxy.FIRST, first)
    monkeypatch.setattr(client, "Client", _Daemon)
    assert ssh_proxy._find_stream(host) == found
