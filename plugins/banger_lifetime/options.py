"""The capability's options: times, kept as seconds."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

from banger.api import UsageError

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_TIME = re.compile(r"(?:(\d{1,4})d)?(?:(\d{1,6})h)?(?:(\d{1,7})m)?(?:(\d{1,8})s)?")
#: Seconds: less than that nobody could use, more than that is never.
_LEAST, _MOST = 1, 10 * 365 * 86400


def parse_time(value: object) -> int | None:
    """Return the seconds of ``90s``, ``30m``, ``1h30m``, ``3d``; None for ``never``.

    :raises UsageError: it is no such time, or out of range.
    """
    if value is None or value == "never":
        return None
    if isinstance(value, int):  # as the record has it
        seconds = value
    else:
        found = _TIME.fullmatch(str(value)[:40])
        parts = found.groups() if found else ()
        seconds = sum(int(part or 0) * size for part, size in zip(parts, _UNITS.values(), strict=False))
    if not _LEAST <= seconds <= _MOST:
        raise UsageError(f"'{str(value)[:40]}' is no time that a VM may last", hint="90s, 30m, 2h, 3d, never")
    return seconds


def format_time(seconds: float) -> str:
    """Return seconds as ``parse_time`` takes them, whole: ``1h30m``."""
    left, text = int(seconds), ""
    for unit, size in _UNITS.items():
        amount, left = divmod(left, size)
        text += f"{amount}{unit}" if amount else ""
    return text or "0s"


Time = Annotated[int | None, BeforeValidator(parse_time)]


class Options(BaseModel):
    """``ttl``: seconds from its creation to its deletion, or since it was set; ``auto_stop``: unused to its stop."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ttl: Time = None
    auto_stop: Time = None
