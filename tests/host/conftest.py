"""Real namespaces for the host ring: nothing a test does to links, addresses or mounts leaves its own."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

_CLONE_NEWNET = 0x40000000


@pytest.fixture
def in_network_namespace() -> Callable[[Callable[[], Any]], Any]:
    """Return what runs a function in a network namespace made for it, with only its loopback link up.

    A namespace belongs to a thread, so the function gets a thread of its own and the namespace ends with it.
    """

    def run(function: Callable[[], Any]) -> Any:
        outcome: dict[str, Any] = {}

        def inside() -> None:
            try:
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.unshare(_CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "unshare")
                _raise_loopback()
                outcome["result"] = function()
            except BaseException as error:
                outcome["error"] = error

        thread = threading.Thread(target=inside)
        thread.start()
        thread.join(60)
        assert not thread.is_alive(), "the test's thread did not end within 60 s"
        if "error" in outcome:
            raise outcome["error"]
        return outcome.get("result")

    return run


def _raise_loopback() -> None:
    from pyroute2 import IPRoute

    with IPRoute() as links:
        links.link("set", index=links.link_lookup(ifname="lo")[0], state="up")
    assert os.path.exists("/proc/thread-self/net/dev")
