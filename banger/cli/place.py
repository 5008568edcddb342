"""References that name files: the daemon has another directory than the caller."""

from __future__ import annotations

import os
from typing import Any


def absolute_reference(_: Any, __: Any, reference: str | None) -> str | None:
    """Return a reference whose path is absolute, where it has one from here or from home on; a callback for click."""
    scheme, colon, path = (reference or "").partition(":")
    here = path in (".", "..") or path.startswith(("./", "../", "~/"))
    return f"{scheme}:{os.path.abspath(os.path.expanduser(path))}" if colon and here else reference


def absolute_path(_: Any, __: Any, path: str | None) -> str | None:
    """Return a path as the daemon understands it; a callback for click."""
    return os.path.abspath(os.path.expanduser(path)) if path else path
