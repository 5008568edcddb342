"""Firecracker's control API: HTTP over a Unix socket. One connection per question; answers are bounded."""

from __future__ import annotations

import http.client
import json
import os
import socket
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from banger.api import VmmError, clean_text

#: Seconds for an answer; starting the guest loads its kernel and initramfs first.
_TIMEOUT, _START_TIMEOUT = 5.0, 60.0
#: Bytes of an answer that are read.
_ANSWER_LIMIT = 64 * 1024


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.fspath(self._path))


def api_socket(sockets: Path) -> Path:
    """Return the API's socket, in the directory of a VM's sockets."""
    return sockets / "api"


def ask(path: Path, method: str, target: str, body: BaseModel | None = None) -> dict[str, Any]:
    """Send one request and return what was answered, an object; empty where there is no content.

    :raises VmmError: Firecracker refused, with its reason, or did not answer.
    """
    timeout = _START_TIMEOUT if target == "/actions" else _TIMEOUT
    text = body.model_dump_json(exclude_none=True) if body is not None else None
    connection = _Connection(path, timeout)
    try:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        connection.request(method, target, text, headers)
        answer = connection.getresponse()
        content = answer.read(_ANSWER_LIMIT)
    except (OSError, http.client.HTTPException) as error:
        said = str(error) or type(error).__name__
        raise VmmError(f"firecracker does not answer {method} {target}: {said}", hint=_HINT) from error
    finally:
        connection.close()
    found = _parse(content)
    if answer.status >= 300:
        said = clean_text(found.get("fault_message"), 500) or f"status {answer.status}"
        raise VmmError(f"firecracker refuses {method} {target}: {said}", hint=_HINT)
    return found


_HINT = "its words: firecracker.log in the VM's directory; see: banger vm show"


def _parse(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content) if content else {}
    except (ValueError, RecursionError):
        found = {}
    return found if isinstance(found, dict) else {}
