"""A program that only plays Firecracker: its API, as far as it is used, and no guest."""

from __future__ import annotations

import json
import os
import socket
import sys
from typing import Any, ClassVar

#: What each target takes (a prefix for those with a name in them): required and all fields.
FIELDS: dict[str, tuple[set[str], set[str]]] = {
    "/machine-config": (
        {"vcpu_count", "mem_size_mib"},
        {"vcpu_count", "mem_size_mib", "smt", "track_dirty_pages", "cpu_template", "huge_pages"},
    ),
    "/boot-source": ({"kernel_image_path"}, {"kernel_image_path", "initrd_path", "boot_args"}),
    "/drives/": (
        {"drive_id", "is_root_device"},
        {"drive_id", "is_root_device", "is_read_only", "path_on_host", "cache_type", "io_engine"},
    ),
    "/network-interfaces/": ({"iface_id", "host_dev_name"}, {"iface_id", "host_dev_name", "guest_mac"}),
    "/vsock": ({"guest_cid", "uds_path"}, {"guest_cid", "uds_path", "vsock_id"}),
    "/entropy": (set(), {"rate_limiter"}),
    "/metrics": ({"metrics_path"}, {"metrics_path"}),
    "/actions": ({"action_type"}, {"action_type"}),
    "/vm": ({"state"}, {"state"}),
}
FILES = ("kernel_image_path", "initrd_path", "path_on_host", "metrics_path")


class Machine:
    state = "Not started"
    told: ClassVar[dict[str, Any]] = {}


def judge(method: str, target: str, body: dict[str, Any]) -> str | None:
    """Return why a request is refused."""
    found = next(
        (kind for kind in FIELDS if target == kind or (kind[-1] == "/" and target.startswith(kind))), None
    )
    if found is None or method != ("PATCH" if found == "/vm" else "PUT"):
        return f"Invalid request method and/or path: {method} {target}"
    required, known = FIELDS[found]
    if unknown := sorted(set(body) - known):
        return (
            f"An error occurred when deserializing the json body of a request: unknown field `{unknown[0]}`"
        )
    if missing := sorted(required - set(body)):
        return (
            f"An error occurred when deserializing the json body of a request: missing field `{missing[0]}`"
        )
    for name in FILES:
        if name in body and not os.path.exists(body[name]):
            return f"{name}: No such file or directory (os error 2)"
    started = Machine.state != "Not started"
    if found == "/vm" and not started:
        return "The requested operation is not supported before starting the microVM."
    if found not in ("/vm", "/actions") and started:
        return "The requested operation is not supported after starting the microVM."
    if found == "/machine-config" and not 1 <= body["vcpu_count"] <= 32:
        return "The vCPU number is invalid!"
    if found == "/actions" and "/boot-source" not in Machine.told:
        return "Cannot start microvm without kernel configuration."
    return None


def answer(method: str, target: str, text: bytes) -> tuple[int, object]:
    """Return the status and the body of one answer."""
    if method == "GET":
        version = os.environ.get("PLAYER_VERSION", "1.15.1")
        return 200, {"id": "x", "state": Machine.state, "vmm_version": version, "app_name": "Firecracker"}
    body = json.loads(text or b"{}")
    reason = judge(method, target, body)
    if reason is not None:
        return 400, {"fault_message": reason}
    Machine.told[target] = body
    if target == "/vsock":
        Machine.told["held"] = socket.socket(socket.AF_UNIX)
        Machine.told["held"].bind(body["uds_path"])
    if target == "/actions":
        Machine.state = "Running"
    if target == "/vm":
        Machine.state = {"Paused": "Paused", "Resumed": "Running"}[body["state"]]
    return 204, None


def serve(connection: socket.socket) -> None:
    """Answer one request."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return
        data += piece
    head, _, text = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(text) < int(headers.get("content-length", 0)):
        text += connection.recv(65536)
    method, target, _ = first.split()
    status, body = answer(method, target, text)
    said = b"" if body is None else json.dumps(body).encode()
    length = "" if body is None else f"Content-Length: {len(said)}\r\n"
    connection.sendall(f"HTTP/1.1 {status} \r\nServer: Player\r\n{length}\r\n".encode() + said)


def main() -> None:
    if "--version" in sys.argv:
        print("Firecracker v1.15.1\n")
        return
    path = sys.argv[sys.argv.index("--api-sock") + 1]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        while True:
            connection, _ = listener.accept()
            with connection:
                serve(connection)


if __name__ == "__main__":
    main()
