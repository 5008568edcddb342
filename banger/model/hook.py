"""How a plugin marks its hooks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

F = TypeVar("F", bound=Callable[..., Any])

#: The project name hooks are marked with, and the entry-point group.
PROJECT = "banger"


@overload
def hookimpl(function: F) -> F: ...
@overload
def hookimpl(**options: Any) -> Callable[[F], F]: ...
def hookimpl(function: F | None = None, **options: Any) -> F | Callable[[F], F]:
    """Mark a function of a plugin as an implementation of the hook that it is named after.

    What ``pluggy.HookimplMarker`` does, without pluggy: a plugin's package is imported by command lines, too, and those
    have no use for it. Options are kept so that the loader can refuse them.
    """

    def mark(marked: F) -> F:
        setattr(marked, f"{PROJECT}_impl", options)
        return marked

    return mark if function is None else mark(function)
