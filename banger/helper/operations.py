"""The table of operations: each request's name, and what carries it out."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from banger import __version__
from banger.helper import bridge, disk, jail, nat, requests, resolver

#: Gets the request and the owner's uid; returns JSON.
Handler = Callable[[Any, int], dict[str, Any]]


def _for_anyone(function: Callable[[Any], dict[str, Any]]) -> Handler:
    """Return the handler of an operation that is the same whoever the owner is."""
    return lambda request, _: function(request)


def _show_status(_: requests.ShowStatus, owner: int) -> dict[str, Any]:
    return {"version": __version__, "pid": os.getpid(), "owner": owner}


HANDLERS: dict[type[requests.Request], Handler] = {
    requests.ShowStatus: _show_status,
    requests.EnsureBridge: _for_anyone(bridge.ensure_bridge),
    requests.RemoveBridge: _for_anyone(bridge.remove_bridge),
    requests.ShowBridge: _for_anyone(bridge.show_bridge),
    requests.CreateTap: bridge.create_tap,
    requests.ClaimTap: _for_anyone(bridge.claim_tap),
    requests.GuardTap: _for_anyone(bridge.guard_tap),
    requests.RemoveTap: _for_anyone(bridge.remove_tap),
    requests.AllowNat: _for_anyone(nat.allow),
    requests.DenyNat: _for_anyone(nat.deny),
    requests.ShowNat: _for_anyone(nat.show),
    requests.RouteNames: _for_anyone(resolver.route),
    requests.DropNames: _for_anyone(resolver.drop),
    requests.SnapshotDisk: disk.snapshot,
    requests.ReleaseDisk: _for_anyone(disk.release),
    requests.ShowJail: _for_anyone(jail.show),
    requests.LaunchJail: jail.launch,
    requests.SignalJail: _for_anyone(jail.send),
    requests.RemoveJail: _for_anyone(jail.remove),
}


def carry_out(request: requests.Request, owner: int) -> dict[str, Any]:
    """Do what was asked for; BangerError when it is refused or fails.

    :param owner: uid of the user whose VMs these are: the taps are that user's to open.
    """
    return HANDLERS[type(request)](request, owner)
