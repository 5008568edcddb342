"""What a Firecracker VM does, and telling it to pause and to go on."""

from __future__ import annotations

from pathlib import Path

from banger.api import VmmError, VmmStatus, clean_text
from banger_vmm_firecracker.api import api_socket, ask
from banger_vmm_firecracker.model import VmState

#: Firecracker's words for what a VM does (``GET /``), in banger's.
_STATES = {
    "Running": VmmStatus("running"),
    "Paused": VmmStatus("paused", "paused", "banger vm resume"),
    "Not started": VmmStatus("failed", "not started: its start was cut off", "banger vm kill"),
}
#: With these, a guest's vsock is deaf after a pause (Firecracker's pull request 6100, in 1.17).
DEAF_AFTER_PAUSE = "1.16."


def status(sockets: Path) -> VmmStatus:
    """Return what a VM does; ``unknown`` with the reason when Firecracker does not answer in time."""
    try:
        state = str(ask(api_socket(sockets), "GET", "/").get("state"))
    except VmmError as error:
        return VmmStatus("unknown", error.message)
    return _STATES.get(state, VmmStatus("unknown"))


def pause(sockets: Path) -> None:
    """Stop the guest's processors; VmmError where they could not be reached any more afterwards."""
    version = str(ask(api_socket(sockets), "GET", "/").get("vmm_version"))
    if version.startswith(DEAF_AFTER_PAUSE):
        raise VmmError(
            f"firecracker {clean_text(version, 20)} takes no new connections to a guest that was paused",
            hint="install firecracker 1.15.1, or 1.17 and later; and: banger vm restart",
        )
    ask(api_socket(sockets), "PATCH", "/vm", VmState(state="Paused"))


def resume(sockets: Path) -> None:
    """Let the guest's processors go on."""
    ask(api_socket(sockets), "PATCH", "/vm", VmState(state="Resumed"))
