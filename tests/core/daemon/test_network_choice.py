"""Which network a VM gets when nobody says, and which capabilities go with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from banger.errors import UsageError
from banger.model.capability import Capability
from banger.testing.app import BangerApp
from banger.testing.plugin_sets import make_plugin
from tests.core.daemon.paper_lab import make_network, make_vmm

OFFERED = {"now": False}


@pytest.fixture
def app(lab: Callable[..., BangerApp]) -> BangerApp:
    def banger_register_capabilities() -> list[Capability]:
        return [Capability("nat", "a way out", default=True, attachments=frozenset({"tap"}))]

    OFFERED["now"] = False
    return lab(
        make_plugin("nat", banger_register_capabilities),
        vmms=[make_vmm(attachments=frozenset({"qemu-user", "tap"}))],
        networks=[
            make_network("user", gives=frozenset({"egress"})),
            make_network("bridge", attachment="tap", offered=lambda: OFFERED["now"]),
        ],
    )


def spec_of(app: BangerApp, **wanted: Any) -> dict[str, Any]:
    spec: dict[str, Any] = app.call("vm.create", {"start": False, **wanted})["vm"]["spec"]
    return spec


def test_the_bridge_is_chosen_where_it_is_offered_and_when_it_is_asked_for(app: BangerApp) -> None:
    assert spec_of(app)["network"] == "user"
    assert spec_of(app, network="bridge")["network"] == "bridge"
    OFFERED["now"] = True
    assert spec_of(app)["network"] == "bridge"
    assert spec_of(app, network="user")["network"] == "user"


def test_capabilities_follow_a_vm_that_changes_its_network(app: BangerApp) -> None:
    def moved(**changes: Any) -> dict[str, Any]:
        spec: dict[str, Any] = app.call("vm.set", {"vm": "otter", **changes})["vm"]["spec"]
        return spec

    assert "nat" not in spec_of(app, name="otter")["capabilities"]
    assert "nat" in moved(network="bridge")["capabilities"]
    assert "nat" not in moved(without=["nat"])["capabilities"]
    assert "nat" not in moved(network="bridge")["capabilities"], (
        "it is there already, and without it by choice"
    )
    assert "nat" in moved(**{"with": ["nat"]})["capabilities"]
    assert "nat" not in moved(network="user")["capabilities"]
    assert "nat" not in moved(network="bridge", without=["nat"])["capabilities"]
    moved(network="user")
    with pytest.raises(UsageError, match="capability 'nat' is not for VMs on network 'user'"):
        moved(**{"with": ["nat"]})


def test_a_capability_for_taps_is_on_there_only(app: BangerApp) -> None:
    assert "nat" in spec_of(app, network="bridge")["capabilities"]
    assert "nat" not in spec_of(app, network="bridge", without=["nat"])["capabilities"]
    assert "nat" not in spec_of(app, network="user")["capabilities"]
    assert "nat" not in spec_of(app, network="user", nat=True)["capabilities"], "it has a way out of its own"
    with pytest.raises(UsageError, match="capability 'nat' is not for VMs on network 'user'"):
        spec_of(app, network="user", **{"with": ["nat"]})
