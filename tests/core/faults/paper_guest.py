"""A VMM on paper, as a process: it holds the VM's ports, and agrees to whatever the guest's agent is asked.

``paper_guest.py MAGIC PREAMBLE -uuid UUID -channel SOCKET [-forward ADDRESS:PORT]...``, the protocol's first mark in
hexadecimal and the length of what comes before it. Hundreds are started in one test, so it imports next to nothing.
"""

from __future__ import annotations

import _signal
import _socket
import struct
import sys

HEADER = struct.Struct(">IIBBH")
HELLO, OPEN, RESULT, ACCEPT, EXIT = 1, 2, 3, 4, 10
MAGIC, PREAMBLE = bytes.fromhex(sys.argv[1]), int(sys.argv[2])
#: Of a HELLO: header, mark, version, nonce, checksum, end.
LENGTH = HEADER.size + len(MAGIC) + 4 + 16 + 4 + 1
#: Seconds after which one is ended that nobody has.
LIFE = 1800
INFO = b'{"version":"0","commit":"paper","state":"ready","boot_id":"paper"}'


def main() -> None:
    _signal.alarm(LIFE)
    pairs = list(zip(sys.argv[3::2], sys.argv[4::2], strict=True))
    held = []
    for name, value in pairs:
        if name == "-forward":
            address, _, port = value.rpartition(":")
            held.append(listen(_socket.AF_INET, (address, int(port))))
    server = listen(_socket.AF_UNIX, dict(pairs)["-channel"])
    while True:
        descriptor, _ = server._accept()
        connection = _socket.socket(fileno=descriptor)
        try:
            ended = serve(connection)
        except OSError:
            ended = False
        connection.close()
        if ended:
            return


def listen(family: int, address: str | tuple[str, int]) -> _socket.socket:
    server = _socket.socket(family, _socket.SOCK_STREAM)
    if family == _socket.AF_INET:
        server.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
    server.bind(address)
    server.listen(4)
    return server


def serve(connection: _socket.socket) -> bool:
    """Serve one connection; true when the guest was told to power off."""
    hello = take(connection, PREAMBLE + LENGTH)[PREAMBLE:]
    send(connection, HELLO, 0, hello[HEADER.size : -5] + INFO)
    while True:
        length, stream, kind, _, _ = HEADER.unpack(take(connection, HEADER.size))
        payload = take(connection, length + 1)
        if kind == OPEN and b'"op":"exec"' in payload:  # every command ends well at once
            send(connection, ACCEPT, stream, b"{}")
            send(connection, EXIT, stream, b'{"code":0}')
        elif kind == OPEN:
            answer = (
                b'{"state":"running","failed":[]}' if b'"wait-system"' in payload else b'{"state":"ready"}'
            )
            send(connection, RESULT, stream, answer)
            if b'"op":"poweroff"' in payload:
                return True


def take(connection: _socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        more = connection.recv(length - len(data))
        if not more:
            raise OSError("the host went away")
        data += more
    return data


def send(connection: _socket.socket, kind: int, stream: int, payload: bytes) -> None:
    connection.sendall(HEADER.pack(len(payload), stream, kind, 0, 0) + payload + b"\0")


main()
