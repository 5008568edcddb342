"""Tables by name, filled from hooks. A name that two plugins declare is an error that names both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from banger.errors import NotFoundError, PluginError
from banger.model.name import unknown_hint


class Named(Protocol):
    """A value with a name."""

    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=Named)


@dataclass(frozen=True, slots=True)
class Owned(Generic[T]):
    """A declared value and the plugin that declared it."""

    value: T
    plugin: str


class Registry(Mapping[str, T]):
    """Values by name, in the order of their names.

    :param noun: what the values are, for messages: ``image source``.
    """

    def __init__(self, noun: str) -> None:
        self.noun = noun
        self._table: dict[str, Owned[T]] = {}

    def add(self, value: T, plugin: str) -> None:
        """Add a value; PluginError when the name is taken."""
        other = self._table.get(value.name)
        if other is not None:
            raise PluginError(
                f"{self.noun} '{value.name}' is declared by plugin '{other.plugin}' and by plugin '{plugin}'",
                hint=f'disable one of them: disabled = ["{plugin}"] in the configuration',
                plugin=plugin,
            )
        self._table[value.name] = Owned(value, plugin)
        self._table = dict(sorted(self._table.items()))

    def discard(self, plugin: str) -> None:
        """Remove everything that ``plugin`` declared."""
        self._table = {name: owned for name, owned in self._table.items() if owned.plugin != plugin}

    def resolve(self, name: str) -> T:
        """Return the value called ``name`` or raise NotFoundError with a suggestion."""
        owned = self._table.get(name)
        if owned is None:
            raise NotFoundError(
                f"there is no {self.noun} '{name[:80]}'",
                hint=unknown_hint(name, self._table, "see: banger plugins list"),
            )
        return owned.value

    def owner(self, name: str) -> str:
        """Return the plugin that declared ``name``."""
        return self._table[name].plugin

    def owned(self) -> list[Owned[T]]:
        """Return every value with its owner, by name."""
        return list(self._table.values())

    def __getitem__(self, name: str) -> T:
        return self._table[name].value

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)
