"""What a configuration file may hold, as JSON schema, and what each key is for."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from banger.config.lent import Auth, FileSync
from banger.config.settings import CoreSettings, Defaults

#: Keys that are sizes: a number of MiB, or text such as ``2G``.
_SIZES = ("memory", "disk_size", "overlay_size")
_SIZE = {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": r"^[0-9.]+ *[A-Za-z]*$"}]}


def describe_keys(model: type[BaseModel]) -> dict[str, str]:
    """Return what the docstring of a settings model says about each key, in its ``:param`` lines."""
    found = re.findall(
        r"^:param (\w+): (.+(?:\n {4,}.+)*)", inspect.cleandoc(model.__doc__ or ""), re.MULTILINE
    )
    return {name: re.sub(r"\s+", " ", text).replace("``", "`").rstrip(".") for name, text in found}


def make_schema(plugins: Mapping[str, type[BaseModel]]) -> dict[str, Any]:
    """Return the JSON schema (2020-12) of ``config.toml``.

    :param plugins: the settings model of each plugin that declared one.
    """
    fields: dict[str, Any] = {
        name: (model, Field(default=model())) for name, model in sorted(plugins.items())
    }
    tables = create_model("Plugins", __config__=ConfigDict(extra="forbid"), **_aliased(fields))
    whole = create_model("Settings", __base__=CoreSettings, plugins=(tables, Field(default_factory=tables)))
    schema = whole.model_json_schema()
    _describe(schema, describe_keys(CoreSettings))
    models: list[type[BaseModel]] = [Defaults, Auth, FileSync, *plugins.values()]
    for model in models:
        _describe(schema["$defs"].get(model.__name__, {}), describe_keys(model))
    defaults = schema["$defs"]["Defaults"]["properties"]
    for key in _SIZES:
        kept = {name: defaults[key][name] for name in ("default", "description") if name in defaults[key]}
        defaults[key] = {**_SIZE, **kept}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "banger's config.toml",
        "description": "Every key may be left out.",
    }


def _aliased(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields whose names Python allows, each with the name of its table as alias."""
    return {
        f"table_{number}": (model, Field(default=field.default, alias=name))
        for number, (name, (model, field)) in enumerate(fields.items())
    }


def _describe(schema: dict[str, Any], keys: Mapping[str, str]) -> None:
    if "description" in schema:
        schema["description"] = " ".join(
            schema["description"].partition(":param")[0].replace("``", "`").split()
        )
    for key, text in keys.items():
        if key in schema.get("properties", {}):
            schema["properties"][key].setdefault("description", text)
