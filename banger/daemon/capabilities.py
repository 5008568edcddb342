"""Which capabilities a VM has: the usual ones, those turned on or off, and what a change of network does to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from banger.config.settings import load_model
from banger.daemon.services import Services
from banger.errors import UsageError
from banger.model.name import unknown_hint
from banger.model.network import NetworkMode
from banger.model.validation import describe_refusal


def usual_capabilities(services: Services, network: NetworkMode) -> dict[str, dict[str, Any]]:
    """Return what a VM on this network has when nobody says, with each one's own options."""
    return {
        name: _check_options(services, name, {})
        for name, value in services.registries.capabilities.items()
        if value.default and value.fits(network.attachment)
    }


def check_capabilities(services: Services, names: Iterable[str], network: NetworkMode) -> None:
    """Raise UsageError where one of a VM's capabilities is not for VMs on this network."""
    table = services.registries.capabilities
    for name in names:
        if name in table and not table[name].fits(network.attachment):
            raise UsageError(
                f"capability '{name}' is not for VMs on network '{network.name}'",
                hint=f"--without {name}, or another network: --net",
            )


def move_capabilities(
    services: Services, now: Mapping[str, dict[str, Any]], before: NetworkMode | None, after: NetworkMode
) -> dict[str, dict[str, Any]]:
    """Return what a VM has that changes its network: those of the one go, and those that are usual on the other come.

    :param before: None when the plugin that had it is gone.
    """
    table = services.registries.capabilities
    moved = {
        name: options
        for name, options in now.items()
        if name not in table or table[name].fits(after.attachment)
    }
    for name, value in table.items():
        new = before is None or not value.fits(before.attachment)
        if value.default and new and value.fits(after.attachment) and name not in moved:
            moved[name] = _check_options(services, name, {})
    return moved


def change_capabilities(
    services: Services, now: Mapping[str, dict[str, Any]], on: tuple[str, ...], off: tuple[str, ...]
) -> dict[str, dict[str, Any]]:
    """Return capabilities with some turned on, or given other options, and some turned off.

    :param on: ``NAME[:key=value,…]`` texts; options that are not named stay. :param off: names.
    """
    table, chosen = services.registries.capabilities, dict(now)
    for name in off:
        table.resolve(name)
        chosen.pop(name, None)
    for text in on:
        name, _, given = text.partition(":")
        table.resolve(name)
        if name in off:
            raise UsageError(
                f"--with {name} and --without {name} contradict each other", hint="give one of them"
            )
        options = {**chosen.get(name, {}), **_parse_options(name, given)}
        chosen[name] = _check_options(services, name, options)
    return chosen


def _parse_options(name: str, text: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise UsageError(
                f"--with {name}: '{part[:80]}' is not key=value", hint=f"--with {name}:key=value,key=value"
            )
        options[key] = value
    return options


def _check_options(services: Services, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    capability = services.registries.capabilities[name]
    if capability.options is None:
        if options:
            raise UsageError(f"capability '{name}' has no options", hint=f"--with {name}")
        return {}
    model = load_model(capability.options, services.registries.capabilities.owner(name))
    try:
        checked: BaseModel = model.model_validate(dict(options))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        hint = f"options: {', '.join(model.model_fields)}"
        if first["type"] == "extra_forbidden":
            hint = unknown_hint(key, model.model_fields, hint)
        what = "is no option of it" if first["type"] == "extra_forbidden" else describe_refusal(first)
        raise UsageError(f"--with {name}: {key} {what}", hint=hint) from error
    return checked.model_dump(mode="json")
