"""``--filter``: which VMs of a list are meant, by state, label, name and image."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Any

import click

from banger.errors import UsageError
from banger.model.name import unknown_hint

KEYS = ("state", "label", "name", "image")
Filters = list[tuple[str, str]]

filter_option = click.option(
    "--filter",
    "filters",
    multiple=True,
    metavar="KEY=VALUE,…",
    help="those with state=…, label=KEY[=VALUE], name=… or image=…; * stands for anything",
)


def parse_filters(texts: Iterable[str]) -> Filters:
    """Return keys and patterns of ``KEY=VALUE,KEY=VALUE`` texts. :raises UsageError: one is no filter."""
    found: Filters = []
    for part in (part for text in texts for part in text.split(",")):
        key, equals, pattern = part.partition("=")
        if key not in KEYS:
            hint = unknown_hint(key, KEYS, "--filter state=running,label=env=test")
            raise UsageError(f"--filter {part[:60]!r}: there is no such key", hint=hint)
        if not equals or not pattern:
            raise UsageError(f"--filter {key}: which one?", hint=f"--filter {key}=VALUE")
        found.append((key, pattern))
    return found


def make_filter(texts: Iterable[str]) -> Callable[[dict[str, Any]], bool]:
    """Return what tells whether a VM of ``vm.list`` is meant.

    Several labels must all be there; of several states, names or images one must fit.
    """
    wanted = parse_filters(texts)

    def fits(vm: dict[str, Any]) -> bool:
        return all(
            (all if key == "label" else any)(
                _matches(vm, key, pattern) for other, pattern in wanted if other == key
            )
            for key in {key for key, _ in wanted}
        )

    return fits


def _matches(vm: dict[str, Any], key: str, pattern: str) -> bool:
    if key == "label":
        name, equals, value = pattern.partition("=")
        labels = vm.get("labels", {})
        return name in labels and (not equals or fnmatchcase(labels[name], value))
    return fnmatchcase(vm["image_name" if key == "image" else key], pattern)
