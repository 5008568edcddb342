"""What every way to have privileged requests done keeps: the helper's, root's own, and the fake."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from banger.errors import ConflictError, NetworkError
from banger.helper.requests import (
    AllowNat,
    ClaimTap,
    CreateTap,
    DenyNat,
    DropNames,
    EnsureBridge,
    GuardTap,
    RemoveBridge,
    RemoveJail,
    RemoveTap,
    Request,
    RouteNames,
    ShowBridge,
    ShowNat,
    SignalJail,
)

OURS, OTHERS = ("br-banger", "0123abcd"), ("br-banger", "ffffffff")
VM, POOLED = "bgr-00000001", "bgrp-00000001"


def check_contract(call: Callable[[Request], dict[str, Any]]) -> None:
    """Make, show, refuse and remove everything there is, once."""
    with pytest.raises(NetworkError, match="there is no bridge br-banger"):
        call(CreateTap(*OURS, VM, isolated=False))
    assert call(ShowBridge(*OURS))["exists"] is False
    assert call(EnsureBridge(*OURS, "172.16.176.1", 20)) == {"made": True}
    assert call(EnsureBridge(*OURS, "172.16.176.1", 20)) == {"made": False}
    for request in (EnsureBridge(*OTHERS, "172.16.176.1", 20), RemoveBridge(*OTHERS), ShowBridge(*OTHERS)):
        with pytest.raises(ConflictError, match="br-banger is there and another banger's"):
            call(request)
    assert call(CreateTap(*OURS, POOLED, isolated=True)) == {"made": True}
    with pytest.raises(ConflictError, match="not in the pool any more"):
        call(ClaimTap(*OTHERS, VM, POOLED))
    assert call(ClaimTap(*OURS, VM, POOLED)) == {}
    with pytest.raises(ConflictError, match="not in the pool any more"):
        call(ClaimTap(*OURS, VM, POOLED))
    assert call(CreateTap(*OURS, POOLED, isolated=False)) == {"made": True}
    assert call(CreateTap(*OURS, POOLED, isolated=False)) == {"made": False}
    assert call(ShowBridge(*OURS)) == {
        "exists": True,
        "address": "172.16.176.1/20",
        "taps": [VM],
        "pool": [POOLED],
        "isolated_pool": [],
    }
    guard = ("02:00:00:00:00:01", "172.16.176.2")
    assert call(GuardTap(*OURS, VM, *guard)) == call(GuardTap(*OURS, VM, *guard)) == {}
    with pytest.raises(ConflictError, match="was not made by this banger"):
        call(GuardTap(*OURS, "bgr-ffffffff", *guard))
    with pytest.raises(ConflictError, match="172.16.176.1 is no guest's address"):
        call(AllowNat(*OURS, ("172.16.176.1",), only=False))
    with pytest.raises(ConflictError, match="br-banger is there and another banger's"):
        call(RouteNames(*OTHERS, 42069))
    for request in (RouteNames(*OURS, 42069), RouteNames(*OURS, 42070), DropNames(*OURS), DropNames(*OURS)):
        assert set(call(request)) == {"resolver"}
    call(RouteNames(*OURS, 42069))
    call(AllowNat(*OURS, ("172.16.176.2", "172.16.176.3"), only=False))
    assert call(ShowNat(*OURS))["guests"] == ["172.16.176.2", "172.16.176.3"]
    call(AllowNat(*OURS, ("172.16.176.4",), only=True))
    assert call(DenyNat(*OURS, "172.16.176.4")) == {"removed": True}
    assert call(DenyNat(*OURS, "172.16.176.4")) == {"removed": False}
    with pytest.raises(ConflictError, match="still has bgr-00000001"):
        call(RemoveBridge(*OURS))
    with pytest.raises(ConflictError, match="was not made by this banger"):
        call(RemoveTap(*OTHERS, VM))
    assert call(RemoveTap(*OURS, VM)) == {"removed": True}
    assert call(RemoveTap(*OURS, VM)) == {"removed": False}
    assert call(RemoveBridge(*OURS)) == {"removed": True}
    assert call(RemoveBridge(*OURS)) == {"removed": False}
    assert call(DenyNat(*OURS, "172.16.176.2")) == {"removed": False}
    assert call(SignalJail("f0" * 16, "SIGKILL")) == {"ended": True}
    assert call(RemoveJail("f0" * 16)) == {"removed": False}
