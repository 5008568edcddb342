"""Commands in a workspace: where they run, and whether it is as new as its repository."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from banger.api import NotFoundError, Place, say
from banger_workspace.extend import WRAPPER
from banger_workspace.place import describe_moved, head_moved

if TYPE_CHECKING:
    from banger.api import Client


def find_place(client: Client, vm: str, guest_path: str | None, *, auto_prepare: bool) -> Place:
    """Return the place of a command; the user's home in a VM without a workspace."""
    try:
        detail = client.call("vm.workspace.show", {"vm": vm})
    except (
        NotFoundError
    ):  # no such VM, which the command itself says better, or this plugin is off in the daemon
        return Place(guest_path)
    workspace = detail["workspace"]
    if workspace is None:
        return Place(guest_path)
    if guest_path not in (None, workspace["guest_path"]):
        return Place(guest_path, WRAPPER)
    if detail["running"] and head_moved(workspace):
        if auto_prepare:
            prepare_again(client, vm, workspace)
        else:
            say(describe_moved(workspace, detail["vm"]))
    return Place(workspace["guest_path"], WRAPPER)


def prepare_again(
    client: Client, vm: str, workspace: dict[str, Any], *, force: bool = False
) -> dict[str, Any]:
    """Bring a workspace's repository again, as it was asked for the first time; return the new record."""
    from banger_workspace.prepare import Wanted, bring, read_repository

    wanted = Wanted(
        workspace["source"],
        workspace["guest_path"],
        workspace["mode"],
        workspace["include_untracked"],
        workspace["readonly"],
        workspace["own_branch"],
        workspace["from_ref"],
    )
    found = read_repository(wanted)
    for notice in found.notices():
        say(notice)
    return bring(client, vm, found, force=force)
