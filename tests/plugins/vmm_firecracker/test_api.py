"""The API, answered by what plays Firecracker and, where it is there, by Firecracker itself."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from banger.errors import VmmError
from banger_vmm_firecracker.api import ask
from banger_vmm_firecracker.model import (
    BlockDevice,
    BootSource,
    Machine,
    MachineConfig,
    Metrics,
    VmState,
    Vsock,
)
from banger_vmm_firecracker.run_state import status

Serve = Callable[[], Path]


def machine(folder: Path, vcpu: int = 2) -> Machine:
    for name in ("kernel", "initrd", "disk", "metrics"):
        (folder / name).write_bytes(bytes(8192))
    disk = BlockDevice(drive_id="root", path_on_host=str(folder / "disk"))
    kernel, initrd = str(folder / "kernel"), str(folder / "initrd")
    return Machine(
        machine=MachineConfig(vcpu_count=vcpu, mem_size_mib=128),
        boot=BootSource(kernel_image_path=kernel, initrd_path=initrd, boot_args="quiet"),
        drives=(disk, disk.model_copy(update={"drive_id": "modules", "is_read_only": True})),
        networks=(),
        vsock=Vsock(guest_cid=3, uds_path=str(folder / "vsock")),
        metrics=Metrics(metrics_path=str(folder / "metrics")),
    )


def test_every_part_of_a_machine_is_taken(serve: Serve, tmp_path: Path) -> None:
    path = serve()
    for target, part in machine(tmp_path).requests():
        assert ask(path, "PUT", target, part) == {}
    assert ask(path, "GET", "/")["state"] == "Not started"


def test_what_is_refused_is_said_with_its_reason(serve: Serve, tmp_path: Path) -> None:
    path = serve()
    wrong = machine(tmp_path, vcpu=33)
    with pytest.raises(VmmError, match="firecracker refuses PUT /machine-config: .*vCPU"):
        ask(path, "PUT", "/machine-config", wrong.machine)
    gone = wrong.boot.model_copy(update={"kernel_image_path": str(tmp_path / "gone")})
    with pytest.raises(VmmError, match="refuses PUT /boot-source: .*No such file"):
        ask(path, "PUT", "/boot-source", gone)
    with pytest.raises(VmmError, match="refuses PATCH /vm: .*before starting"):
        ask(path, "PATCH", "/vm", VmState(state="Paused"))
    with pytest.raises(VmmError, match="refuses PUT /nothing"):
        ask(path, "PUT", "/nothing", VmState(state="Paused"))


def test_one_that_has_not_started_its_guest_says_so(serve: Serve, tmp_path: Path) -> None:
    path = serve()
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "api").symlink_to(path)
    assert status(tmp_path / "s").state == "failed"


def test_nobody_there_is_no_state(tmp_path: Path) -> None:
    found = status(tmp_path)
    assert found.state == "unknown" and "does not answer GET /" in found.detail


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 400 \r\nContent-Length: 3\r\n\r\n{{{",
        b"HTTP/1.1 400 \r\nContent-Length: 4\r\n\r\n[[]]",
        b"HTTP/1.1 400 \r\nContent-Length: 200000\r\n\r\n" + b'{"fault_message": "' + b"\x1b[2J" * 50000,
        b"nonsense\r\n\r\n",
        b"",
    ],
    ids=["no JSON", "no object", "endless", "no HTTP", "nothing"],
)
def test_answers_that_are_none_are_one_clean_line(tmp_path: Path, said: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "api"))
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(said)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        with pytest.raises(VmmError) as caught:
            ask(tmp_path / "api", "PUT", "/vm", VmState(state="Paused"))
        thread.join(20)
    assert len(caught.value.message.splitlines()) == 1 and "\x1b" not in caught.value.message
