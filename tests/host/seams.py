"""Both ways to have privileged requests done, inside a network namespace."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from network import Namespace

from banger.errors import BangerError, error_from_problem
from banger.helper.requests import parse_request
from banger.host.privileged import HostPrivileged

#: Requests from standard input, a line of JSON each, carried out by this process as root without a helper does.
_IN_PROCESS = """
import json, sys
from pathlib import Path
from banger.errors import BangerError
from banger.helper.requests import parse_request
from banger.host.privileged import HostPrivileged
seam = HostPrivileged(Path("/nowhere"))
for line in sys.stdin:
    operation, body = json.loads(line)
    try:
        answer = {"result": seam.call(parse_request(operation, body))}
    except BangerError as error:
        answer = {"problem": error.to_problem()}
    print(json.dumps(answer), flush=True)
"""


class Seam:
    """A way to have requests done inside a namespace."""

    def __init__(self, where: Namespace) -> None:
        self.where = where

    def call(self, operation: str, body: dict[str, Any]) -> dict[str, Any]:
        raise NotImplementedError

    def refused(self, operation: str, body: dict[str, Any]) -> str:
        """Return why a request is refused; it has to be, and changes nothing."""
        before = self.state()
        with pytest.raises(BangerError) as refused:
            self.call(operation, body)
        assert refused.value.hint
        assert self.state() == before
        return refused.value.message

    def state(self) -> list[str]:
        """Return everything there is, counters and timers apart."""
        links = json.loads(self.where.run("ip", "-d", "-j", "addr"))
        shown = [{key: link.get(key) for key in ("ifname", "ifalias", "flags", "master")} for link in links]
        addresses = [[entry.get("local") for entry in link["addr_info"]] for link in links]
        return [json.dumps(shown), json.dumps(addresses), self.where.run("nft", "list", "ruleset")]

    def links(self) -> set[str]:
        return {link["ifname"] for link in json.loads(self.where.run("ip", "-j", "link"))}


class ByProcess(Seam):
    def __init__(self, where: Namespace) -> None:
        super().__init__(where)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process: Any = where.start(sys.executable, "-c", _IN_PROCESS, **pipes)

    def call(self, operation: str, body: dict[str, Any]) -> dict[str, Any]:
        self._process.stdin.write(json.dumps([operation, body]) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "problem" in answer:
            raise error_from_problem(answer["problem"])
        result: dict[str, Any] = answer["result"]
        return result

    def close(self) -> None:
        self._process.communicate(timeout=20)


class BySocket(Seam):
    """The helper as the unit starts it; its owner is another user than root."""

    OWNER = 65534

    def __init__(self, where: Namespace, folder: Path) -> None:
        super().__init__(where)
        self.path, self.log = folder / "helper.sock", folder / "log"
        words = ("--socket", str(self.path), "--owner", str(self.OWNER))
        # Not -I as in the unit: an editable install is found by what that leaves out.
        with self.log.open("wb") as log:
            self._process = where.start(sys.executable, "-P", "-m", "banger.helper", *words, stderr=log)
        self._seam = HostPrivileged(self.path)
        until_there(self.path)

    def call(self, operation: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._seam.call(parse_request(operation, body))

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def close(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(20) == 0, self.log.read_text()


def until_there(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} does not appear"
        time.sleep(0.02)
