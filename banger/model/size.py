"""Sizes as people write them, in MiB as banger keeps them."""

from __future__ import annotations

import re

from banger.errors import UsageError

#: Bytes in one MiB.
MIB = 1024 * 1024

_UNITS = {"": 1.0, "M": 1.0, "MB": 1.0, "MIB": 1.0, "K": 1 / 1024, "KB": 1 / 1024, "KIB": 1 / 1024}
_UNITS |= {"G": 1024.0, "GB": 1024.0, "GIB": 1024.0, "T": 1024.0**2, "TB": 1024.0**2, "TIB": 1024.0**2}
_SIZE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*([A-Za-z]{0,3})\Z")


def parse_size(text: str) -> int:
    """Return ``text`` (``512``, ``2G``, ``1.5GiB``; a bare number is MiB) in whole MiB.

    :raises UsageError: not a size, zero, negative, or not a whole number of MiB.
    """
    match = _SIZE.match(text.strip())
    unit = _UNITS.get(match.group(2).upper()) if match else None
    if match is None or unit is None:
        raise UsageError(
            f"'{text[:80]}' is not a size", hint="write a number with K, M, G or T, for example 2G or 512M"
        )
    mib = float(match.group(1)) * unit
    if mib < 1:
        raise UsageError(f"'{text[:80]}' is too small", hint="the smallest size is 1M")
    if mib != int(mib):
        raise UsageError(f"'{text[:80]}' is not a whole number of MiB", hint=f"write {int(mib) + 1}M")
    return int(mib)


def format_mib(mib: int) -> str:
    """Return a size for people: ``8G`` for whole GiB, else ``1536M``."""
    return f"{mib // 1024}G" if mib and mib % 1024 == 0 else f"{mib}M"


def format_bytes(count: int) -> str:
    """Return a byte count for people, three significant digits: ``290 MiB``."""
    value, unit = float(count), "B"
    for following in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, following
    return f"{value:.0f} {unit}" if value >= 10 or unit == "B" else f"{value:.1f} {unit}"
