from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from banger.model.command import Operation
from banger.testing.app import BangerApp
from banger.testing.plugin_sets import make_plugin
from banger.testing.pytest_plugin import MakeApp


class LeaseParams(BaseModel):
    """Which leases."""

    pattern: str = "*"


class LeaseResult(BaseModel):
    """The leases."""

    names: tuple[str, ...] = ()


def banger_register_operations() -> list[Operation]:
    return [
        Operation("lease.list", "list leases", LeaseParams, LeaseResult, lambda op, params: LeaseResult())
    ]


@pytest.fixture
def app(banger_app: MakeApp) -> BangerApp:
    return banger_app(make_plugin("lease", banger_register_operations))


@pytest.fixture
def document(app: BangerApp) -> dict[str, Any]:
    answer = app.request("/v1/openapi.json", method="GET")
    assert answer.status == 200
    return answer.json


def test_every_operation_is_described_a_plugins_too(app: BangerApp, document: dict[str, Any]) -> None:
    names = set(app.services.registries.operations)
    assert {"vm.create", "image.pull", "op.cancel", "lease.list"} <= names
    assert set(document["paths"]) == {f"/v1/{name}" for name in names}
    lease = document["paths"]["/v1/lease.list"]["post"]
    assert (lease["operationId"], lease["summary"]) == ("lease.list", "list leases")


def references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*map(references, node.values()))
    return set().union(*map(references, node)) if isinstance(node, list) else set()


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    found = references(document)
    assert len(found) > 20
    assert {reference.removeprefix("#/components/schemas/") for reference in found} <= set(schemas)
    assert {"LeaseParams", "LeaseResult", "Problem"} <= set(schemas)


def test_parameters_are_closed_and_described(document: dict[str, Any]) -> None:
    create = document["components"]["schemas"]["VmCreateParams"]
    assert create["additionalProperties"] is False
    assert {"name", "image", "with", "publish", "wait"} <= set(create["properties"])


def test_every_operation_of_the_core_refuses_unknown_parameters(app: BangerApp) -> None:
    for name, operation in app.services.registries.operations.items():
        if app.services.registries.operations.owner(name) == "core":
            assert operation.params.model_config.get("extra") == "forbid", name
