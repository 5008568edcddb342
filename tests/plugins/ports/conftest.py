"""A VM that is the real agent on this host."""

from __future__ import annotations

import platform
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import banger
from banger.daemon.main import write_commands
from banger.daemon.starts import vm_paths
from banger.model.vm import Vm, VmState
from banger.testing.app import BangerApp
from banger.testing.pytest_plugin import MakeApp
from banger.testing.samples import sample_image, sample_kernel, sample_vm
from banger_ports import service

AGENT = Path(banger.__file__).parent / "guest" / "bin" / f"banger-agent-{platform.machine()}"


class Guest:
    """A VM that is the real agent on this host, with a server on its loopback."""

    def __init__(self, app: BangerApp, vm: Vm) -> None:
        self.app, self.vm = app, vm
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.server.accept()
            except OSError:
                return
            threading.Thread(target=self._echo, args=(connection,), daemon=True).start()

    def _echo(self, connection: socket.socket) -> None:
        with connection:
            while data := connection.recv(65536):
                connection.sendall(data)

    def ports(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.app.call("vm.show", {"vm": self.vm.id})["ports"]
        return [port for port in found if port["guest"] == self.port]

    def wait_ports(self, hosts: set[int]) -> None:
        """Wait until the server's port is open at these ports of the VM's address."""
        deadline = time.monotonic() + 60
        while {port["host"] for port in self.ports()} != hosts:
            assert time.monotonic() < deadline, self.app.call("daemon.status")
            time.sleep(0.05)


@pytest.fixture
def boot(banger_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Guest]]:
    for name in ("_LOOK", "_ASK", "_ASK_IDLE"):
        monkeypatch.setattr(service, name, 0.05)
    processes: list[subprocess.Popen[bytes]] = []

    def start(**capabilities: Any) -> Guest:
        app = banger_app(builtin=["core", "events", "ports", "stats"])
        write_commands(app.services)
        app.services.database.add_image(sample_image())
        app.services.database.add_kernel(sample_kernel())
        vm = sample_vm(
            "otter", spec={"capabilities": capabilities}, address="127.88.17.5", state=VmState.RUNNING
        )
        channel = vm_paths(app.services, vm).channel
        channel.parent.mkdir(parents=True)
        processes.append(subprocess.Popen([str(AGENT), "--listen", str(channel)]))
        deadline = time.monotonic() + 30
        while not channel.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        guest = Guest(app, vm)
        app.services.database.add_vm(vm)
        return guest

    yield start
    for process in processes:
        process.terminate()
        process.wait(20)
