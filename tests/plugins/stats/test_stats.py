"""``vm stats`` and ``vm ports`` in a daemon, with guests that say anything."""

from __future__ import annotations

import json
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from banger.daemon.main import write_commands
from banger.errors import ConflictError, GuestError, NotFoundError
from banger.model.vm import VmState
from banger.testing.app import BangerApp
from banger.testing.pytest_plugin import MakeApp, RunCli
from banger.testing.samples import sample_image, sample_kernel, sample_vm
from banger_stats.process import allocated_bytes, read_process

HONEST = {
    "uptime_ms": 90_000,
    "load": [0.5, 0.1, 0.0],
    "memory": {"total_kib": 1000, "available_kib": 400},
    "cpu": {"count": 1, "busy_ticks": 10, "idle_ticks": 90},
    "root": {"size_kib": 2000, "free_kib": 500},
    "network": {"rx_bytes": 2048, "tx_bytes": 1},
}
#: What a guest may say instead of a table of numbers.
NONSENSE: list[Any] = [
    None,
    1,
    "x",
    [],
    [[]],
    {"total_kib": -1},
    {"total_kib": "1"},
    {"total_kib": True},
    2**70,
]


@pytest.fixture
def app(banger_app: MakeApp) -> BangerApp:
    app = banger_app(builtin=["core", "stats"])
    app.services.database.add_image(sample_image())
    app.services.database.add_kernel(sample_kernel())
    app.services.database.add_vm(sample_vm("otter", state=VmState.RUNNING))
    app.services.database.add_vm(sample_vm("lynx", state=VmState.STOPPED))
    write_commands(app.services)
    return app


def let_guest_say(app: BangerApp, monkeypatch: pytest.MonkeyPatch, said: Any) -> None:
    async def request(*_: object, **__: object) -> Any:
        if isinstance(said, Exception):
            raise said
        return said

    monkeypatch.setattr(app.services.guests, "request", request)


def stats(app: BangerApp, *vms: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = app.call("vm.stats", {"vms": vms, "seconds": 0.05})["vms"]
    return found


def test_what_the_guest_says_is_shown(
    app: BangerApp, monkeypatch: pytest.MonkeyPatch, run_cli: RunCli
) -> None:
    let_guest_say(app, monkeypatch, HONEST)
    [use] = stats(app)
    assert (use["vm"], use["memory_used_kib"], use["rx_bytes"], use["uptime_seconds"]) == (
        "otter",
        600,
        2048,
        90,
    )
    assert use["cpu_percent"] is None
    assert [each["vm"] for each in stats(app, "otter", "otter")] == ["otter"]
    assert "1m30s" in run_cli("vm", "stats").stdout
    assert json.loads(run_cli("vm", "stats", "--json").stdout)[0]["vm"] == "otter"


def test_nonsense_is_shown_as_nothing(app: BangerApp, monkeypatch: pytest.MonkeyPatch) -> None:
    for nonsense in NONSENSE:
        for key in HONEST:
            let_guest_say(app, monkeypatch, {**HONEST, key: nonsense})
            [use] = stats(app)
            assert all(value is None or isinstance(value, str) or value >= 0 for value in use.values())


def test_a_silent_guest_leaves_the_hosts_figures(
    app: BangerApp, monkeypatch: pytest.MonkeyPatch, run_cli: RunCli
) -> None:
    let_guest_say(app, monkeypatch, GuestError("silence"))
    [use] = stats(app)
    assert use["memory_used_kib"] is None
    assert run_cli("vm", "stats").status == 0


def test_vms_that_do_not_run(app: BangerApp, run_cli: RunCli) -> None:
    with pytest.raises(ConflictError) as caught:
        stats(app, "lynx")
    assert caught.value.hint == "banger vm start lynx"
    with pytest.raises(NotFoundError):
        stats(app, "nobody")
    with pytest.raises(ConflictError):
        app.call("vm.ports", {"vm": "lynx"})
    for vm in app.services.database.vms():
        app.services.database.update_vm(vm.model_copy(update={"state": VmState.STOPPED}))
    assert "no VM is running" in run_cli("vm", "top").stderr


def test_a_processes_own_figures(tmp_path: Path) -> None:
    use = read_process(os.getpid(), 1)
    assert use is not None
    assert use.resident_kib > 1000
    assert use.cpu_seconds > 0
    assert use.guest_kib is not None
    huge = read_process(os.getpid(), 2**60)
    assert huge is not None
    assert huge.guest_kib is None
    assert read_process(2**22 + 1, 1) is None
    (tmp_path / "sparse").write_bytes(b"")
    os.truncate(tmp_path / "sparse", 2**30)
    (tmp_path / "full").write_bytes(os.urandom(100_000))
    assert 100_000 <= allocated_bytes(tmp_path) < 2**20


def ports(app: BangerApp, monkeypatch: pytest.MonkeyPatch, said: Any, **params: Any) -> list[dict[str, Any]]:
    let_guest_say(app, monkeypatch, {"ports": said})
    found: list[dict[str, Any]] = app.call("vm.ports", {"vm": "otter", **params})["ports"]
    return found


def test_ports_are_merged_and_sorted(
    app: BangerApp, monkeypatch: pytest.MonkeyPatch, run_cli: RunCli
) -> None:
    said = [
        {"port": 80, "address": "127.0.0.1", "process": "a"},
        {"port": 80, "address": "0:0:0:0:0:0:0:0", "process": "b", "command": "b -d"},
        {"port": 22, "address": "0.0.0.0", "process": "sshd"},
        {"port": 53, "address": "127.0.0.53", "protocol": "udp"},
    ]
    found = ports(app, monkeypatch, said)
    assert [(each["port"], each["reach"], each["endpoint"]) for each in found] == [
        (22, "unpublished", "0.0.0.0:22"),
        (53, "guest", "127.0.0.53:53"),
        (80, "unpublished", "[::]:80"),
    ]
    shown = run_cli("vm", "ports", "otter")
    assert "b -d" in shown.stdout
    assert "banger vm port add otter 22" in shown.stderr


def test_ports_that_are_none(app: BangerApp, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [
        *NONSENSE,
        {"port": 0, "address": "0.0.0.0"},
        {"port": 65536, "address": "0.0.0.0"},
        {"port": True, "address": "0.0.0.0"},
        {"port": 80, "address": "x" * 10_000},
        {"port": 80, "address": "0.0.0.0", "protocol": "sctp"},
    ]
    assert ports(app, monkeypatch, entries) == []
    for entry in entries:
        assert ports(app, monkeypatch, entry) == []


def test_texts_of_a_guest_are_cleaned(
    app: BangerApp, monkeypatch: pytest.MonkeyPatch, run_cli: RunCli
) -> None:
    entry = {"port": 80, "address": "::", "process": "\x1b[31m" * 100, "command": ["no", "text"]}
    [found] = ports(app, monkeypatch, [entry])
    assert "\x1b" not in found["process"]
    assert (len(found["process"]), found["command"]) == (40, "")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def answer(listener: socket.socket, said: bytes, tls: ssl.SSLContext | None = None) -> None:
    """Answer every connection with these bytes."""

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            try:
                with tls.wrap_socket(connection, server_side=True) if tls else connection as spoken:
                    spoken.recv(1000)
                    spoken.sendall(said)
            except OSError:
                continue

    threading.Thread(target=serve, daemon=True).start()


@pytest.mark.parametrize(
    ("said", "scheme"),
    [(b"HTTP/1.0 200 OK\r\n\r\n", "http://"), (b"SSH-2.0-OpenSSH_9.2p1\r\n", ""), (b"", ""), (b"HT", "")],
)
def test_a_port_that_opens_from_the_host(
    app: BangerApp, monkeypatch: pytest.MonkeyPatch, server: socket.socket, said: bytes, scheme: str
) -> None:
    answer(server, said)
    at = server.getsockname()
    forward(app, monkeypatch, at)
    [found] = ports(app, monkeypatch, [{"port": 8080, "address": "0.0.0.0"}])
    assert (found["reach"], found["endpoint"]) == ("host", f"{scheme}127.0.0.1:{at[1]}")
    [quick] = ports(app, monkeypatch, [{"port": 8080, "address": "0.0.0.0"}], probe=False)
    assert quick["endpoint"] == f"127.0.0.1:{at[1]}"


def test_https_is_found_before_http(
    app: BangerApp, monkeypatch: pytest.MonkeyPatch, server: socket.socket, tmp_path: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(make_certificate(tmp_path))
    answer(server, b"HTTP/1.1 200 OK\r\n\r\n", context)
    at = server.getsockname()
    forward(app, monkeypatch, at, guest=8443)
    [found] = ports(app, monkeypatch, [{"port": 8443, "address": "0.0.0.0"}])
    assert found["endpoint"] == f"https://127.0.0.1:{at[1]}"


def forward(app: BangerApp, monkeypatch: pytest.MonkeyPatch, at: tuple[str, int], guest: int = 8080) -> None:
    from banger.daemon.context import OperationContext
    from banger.daemon.ops.detail import ForwardedPort, VmDetail

    def detail(_: OperationContext, vm: Any) -> VmDetail:
        return VmDetail(vm=vm, ports=(ForwardedPort(address=at[0], host=at[1], guest=guest),))

    monkeypatch.setattr(OperationContext, "detail", detail)


def make_certificate(folder: Path) -> Path:
    """Return a file with a key and a certificate that it signed itself."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "otter")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1)).sign(
        key, None
    )
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    text = key.private_bytes(serialization.Encoding.PEM, *form) + made.public_bytes(
        serialization.Encoding.PEM
    )
    (folder / "pem").write_bytes(text)
    return folder / "pem"
