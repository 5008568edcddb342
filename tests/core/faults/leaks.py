"""What of a daemon's is left without an owner."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from banger.config.paths import Paths

_LISTENING = "0A"


def find_leaks(paths: Paths, vms: list[dict[str, Any]], addresses: set[str], daemon: int) -> list[str]:
    """Return what exists and belongs to none of the VMs; nothing else may use the directories.

    :param vms: the rows there are; :param addresses: those that VMs ever had.
    """
    running = {vm["id"]: vm for vm in vms if vm["state"] == "running"}
    leaks = _files(paths, {vm["id"] for vm in vms}, set(running))
    leaks += [
        f"process {pid}: {line}"
        for pid, line in _processes(paths)
        if pid != daemon and not any(str(paths.sockets / vm_id[:8]) in line for vm_id in running)
    ]
    leaks += [
        f"port {address}" for address in _listening(addresses - {vm["address"] for vm in running.values()})
    ]
    return leaks


def _files(paths: Paths, known: set[str], running: set[str]) -> list[str]:
    leaks = [str(entry) for entry in paths.vms.iterdir() if entry.name not in known]
    for entry in paths.sockets.iterdir():
        if entry in (paths.daemon_socket, paths.stream_socket):
            continue
        if entry.name not in {vm_id[:8] for vm_id in known}:
            leaks.append(str(entry))
        elif entry.name not in {vm_id[:8] for vm_id in running}:
            leaks += [str(file) for file in entry.iterdir()]
    for directory in (paths.staging, paths.journal, paths.handover):
        if directory.is_dir():
            leaks += [str(entry) for entry in directory.iterdir()]
    return leaks


def _processes(paths: Paths) -> list[tuple[int, str]]:
    """Return the processes that have the directories on their command lines."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(paths.state) in line and int(entry.name) != os.getpid():
                found.append((int(entry.name), line))
    return found


def _listening(addresses: set[str]) -> list[str]:
    wanted = {_hexadecimal(address): address for address in addresses}
    found = []
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        local, state = line.split()[1], line.split()[3]
        address, _, port = local.partition(":")
        if state == _LISTENING and address in wanted:
            found.append(f"{wanted[address]}:{int(port, 16)}")
    return found


def _hexadecimal(address: str) -> str:
    """Return an IPv4 address as the kernel's table has it, on a machine of either byte order."""
    import socket
    import sys

    return f"{int.from_bytes(socket.inet_aton(address), sys.byteorder):08X}"
