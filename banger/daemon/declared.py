"""What plugins declare, checked once against the types of its fields: a forgotten comma is the plugin's fault alone.

The types are those the values are declared with in :mod:`banger.model`, so that nothing is written down twice.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable
from functools import cache
from typing import Any

from pydantic import BaseModel

from banger import api
from banger.config.lent import lent_auth
from banger.errors import PluginError

#: What each hook's values are, by the noun in its name.
_DECLARED: dict[str, Any] = {
    "start_steps": api.StartStep,
    "capabilities": api.Capability,
    "vmms": api.Vmm,
    "networks": api.NetworkMode,
    "image_sources": api.ImageSource,
    "kernel_sources": api.KernelSource,
    "auth_syncs": api.AuthSync,
    "checks": api.Check,
    "operations": api.Operation,
    "commands": api.Command,
    "services": api.Service,
}


def check_declared(noun: str, value: Any) -> None:
    """Raise PluginError naming hook, value and field unless a declared value is what its hook's values are."""
    problem = _problem(_DECLARED[noun], value)
    if problem is not None:
        name = getattr(value, "name", None)
        called = f" '{name[:80]}'" if isinstance(name, str) else ""
        raise PluginError(f"banger_register_{noun}: {type(value).__name__}{called}{problem}")


def check_schemas(operation: api.Operation) -> None:
    """Raise PluginError unless an operation's models can be described, as ``/v1/openapi.json`` does."""
    try:
        operation.params.model_json_schema()
        operation.result.model_json_schema(mode="serialization")
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise PluginError(
            f"banger_register_operations: Operation '{operation.name[:80]}' has no JSON schema: {reason}"
        ) from error


def check_offer(entry: api.AuthSync) -> None:
    """Raise PluginError unless what a plugin offers to lend has paths that may be lent, from and to."""
    try:
        lent_auth(entry)
    except ValueError as error:
        raise PluginError(f"banger_register_auth_syncs: AuthSync '{entry.name[:80]}': {error}") from error


@cache
def _fields(kind: Any) -> dict[str, Any]:
    """Return a value's fields and their types; what those name stands in banger.api or is imported by the module."""
    names = {name: getattr(api, name) for name in api.__all__}
    hints = typing.get_type_hints(kind, localns={**names, "BaseModel": BaseModel})
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _problem(kind: Any, value: Any) -> str | None:
    """Return what is wrong with a value, as the rest of a sentence that begins with its name; None when it fits."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        problems = [_problem(argument, value) for argument in arguments]
        return None if None in problems else problems[0]
    if origin is Callable:
        return None if callable(value) else f" is {_shown(value)}, not a function"
    if origin is type:
        fits = isinstance(value, type) and issubclass(value, arguments[0])
        return None if fits else f" is {_shown(value)}, not a subclass of {arguments[0].__name__}"
    if origin in (tuple, frozenset):
        if not isinstance(value, origin):
            return f" is {_shown(value)}, not a {origin.__name__}"
        problems = [_problem(arguments[0], item) for item in value]
        return next((f", one of them{problem}" for problem in problems if problem is not None), None)
    if not isinstance(value, kind):
        return f" is {_shown(value)}, not {kind.__name__}"
    return _problem_inside(kind, value) if dataclasses.is_dataclass(kind) else None


def _problem_inside(kind: Any, value: Any) -> str | None:
    if not getattr(value, "name", "named"):
        return " has no name"
    for field, hint in _fields(kind).items():
        problem = _problem(hint, getattr(value, field))
        if problem is not None:
            return f": {field}{problem}"
    return None


def _shown(value: Any) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return "None" if value is None else f"of type {type(value).__name__}"
