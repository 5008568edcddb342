"""A VM's workspace as a command meets it: its record, its lock, and calls that say what is missing."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from typing import Any

from banger.api import Client, ConflictError, NotFoundError, say
from banger_workspace.git import Git, printable
from banger_workspace.guest import Guest

#: Seconds that an import or an export waits for another of the same VM.
_PATIENCE = 1800.0


def look(client: Client, vm: str) -> dict[str, Any]:
    """Return the record of a running VM. :raises ConflictError: it does not run."""
    detail = client.call("vm.workspace.show", {"vm": vm})
    if not detail["running"]:
        raise ConflictError(f"'{detail['vm']}' is not running", hint=f"banger vm start {detail['vm']}")
    return detail


def resolve(client: Client, vm: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a running VM's detail and its workspace. :raises NotFoundError: it has none."""
    detail = look(client, vm)
    if detail["workspace"] is None:
        raise NotFoundError(
            f"'{detail['vm']}' has no workspace", hint=f"banger vm workspace prepare {detail['vm']} PATH"
        )
    return detail, detail["workspace"]


def guest_of(client: Client, detail: dict[str, Any], workspace: dict[str, Any]) -> Guest:
    """Return the guest's half of a workspace."""
    return Guest(client, detail["id"], detail["vm"], workspace["guest_path"])


@contextlib.contextmanager
def locked(detail: dict[str, Any]) -> Iterator[None]:
    """Hold the workspace's lock, bounded; a process that ends lets go of it, however it ends."""
    try:
        descriptor = os.open(detail["lock"], os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileNotFoundError:
        raise NotFoundError(f"'{detail['vm']}' was deleted meanwhile", hint="see: banger vm list") from None
    try:
        _wait(descriptor, detail["vm"])
        yield
    finally:
        os.close(descriptor)


def _wait(descriptor: int, name: str) -> None:
    deadline, said = time.monotonic() + _PATIENCE, False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise ConflictError(
                    f"the workspace of '{name}' was in use for {_PATIENCE:.0f} s", hint="try again later"
                ) from None
        if not said:
            said = True
            say(f"waiting for another import or export of '{name}'")
        time.sleep(0.05)


def head_moved(workspace: dict[str, Any]) -> bool:
    """Tell whether the host's repository has another HEAD now; one that cannot be asked has not moved."""
    source = workspace["source"]
    if not os.path.isdir(source):
        return False
    head = Git(source).text("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    return head is not None and head != workspace["source_head"]


def describe_moved(workspace: dict[str, Any], vm: str) -> str:
    """Return the warning about a workspace that is older than its repository."""
    return (
        f"note: {printable(workspace['source'])} has another HEAD than when it was prepared; "
        f"bring it: banger vm workspace prepare {vm}, or --auto-prepare"
    )
