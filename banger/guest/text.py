"""Text that comes from a guest, made fit for logs, records and terminals."""

from __future__ import annotations


def clean_text(value: object, limit: int) -> str:
    """Return at most ``limit`` characters of a value as text; what is not printable becomes ``?``."""
    return "".join(char if char.isprintable() else "?" for char in str(value)[:limit])
