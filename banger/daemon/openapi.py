"""``/v1/openapi.json``: every operation's parameters and result, plugins' included."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

import banger
from banger.model.command import Operation
from banger.registry import Registry

_REF = "#/components/schemas/{model}"

_PROBLEM = {
    "type": "object",
    "description": "RFC 9457 problem details",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "hint": {"type": "string"},
        "op_id": {"type": "string"},
        "plugin": {"type": "string"},
        "step": {"type": "string"},
    },
    "required": ["type", "title", "status", "detail"],
}


def describe(operations: Registry[Operation]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the operations."""
    models: list[tuple[Any, Any]] = []
    for operation in operations.values():
        models += [(operation.params, "validation"), (operation.result, "serialization")]
    references, definitions = models_json_schema(models, ref_template=_REF)
    return {
        "openapi": "3.1.0",
        "info": {"title": "banger", "version": banger.__version__},
        "paths": {
            f"/v1/{operation.name}": {"post": _post(operation, references)}
            for operation in operations.values()
        },
        "components": {"schemas": {**definitions.get("$defs", {}), "Problem": _PROBLEM}},
    }


def _post(operation: Operation, references: dict[Any, Any]) -> dict[str, Any]:
    def content(kind: str, schema: Any) -> dict[str, Any]:
        return {"content": {kind: {"schema": schema}}}

    return {
        "operationId": operation.name,
        "summary": operation.summary,
        "requestBody": content("application/json", references[(operation.params, "validation")]),
        "responses": {
            "200": {
                "description": "done; with Accept: application/x-ndjson, progress events and then the result",
                "headers": {"Banger-Op-Id": {"schema": {"type": "string"}}},
                **content("application/json", references[(operation.result, "serialization")]),
            },
            "202": {"description": "with Prefer: respond-async: the operation to follow"},
            "default": {
                "description": "refused or failed",
                **content("application/problem+json", {"$ref": "#/components/schemas/Problem"}),
            },
        },
    }
