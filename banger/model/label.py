"""Labels: short notes that a user puts on a VM, to find it again by."""

from __future__ import annotations

import re
from collections.abc import Iterable

from banger.errors import UsageError

#: As in Kubernetes and OCI annotations, so that such keys fit: ``team``, ``org.example/env``.
_KEY = re.compile(r"[a-z0-9]([a-z0-9._/-]{0,61}[a-z0-9])?")
#: Characters of a value.
_VALUE_LIMIT = 200


def parse_labels(texts: Iterable[str], flag: str = "--label") -> dict[str, str]:
    """Return labels from ``KEY=VALUE`` texts, the last of each key; UsageError when one is no label."""
    labels: dict[str, str] = {}
    for text in texts:
        key, _, value = text.partition("=")
        if not _KEY.fullmatch(key):
            raise UsageError(
                f"{flag} {text[:80]!r} has no key of a-z, 0-9, '.', '_', '/' and '-'", hint=f"{flag} env=test"
            )
        if len(value) > _VALUE_LIMIT or not value.isprintable():
            raise UsageError(
                f"{flag} {key}: a value is one line of at most {_VALUE_LIMIT} characters",
                hint=f"{flag} {key}=VALUE",
            )
        labels[key] = value
    return labels
