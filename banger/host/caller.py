"""What of a caller's environment concerns the network: proxies and certificates. Each call brings its own.

The daemon's environment is that of whoever started it, maybe long ago and somewhere else.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextvars import ContextVar

from banger.errors import UsageError

_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")
#: Proxies as everybody spells them.
PROXIES = (*_PROXIES, *(name.upper() for name in _PROXIES))
#: Where certificates of authorities are, for OpenSSL, curl and Python's requests.
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE")
#: Characters of one value.
_LIMIT = 4096

#: What the caller of the current operation sent; None: nobody called.
_sent: ContextVar[Mapping[str, str] | None] = ContextVar("caller", default=None)


def read_own() -> dict[str, str]:
    """Return what this process's environment has of it."""
    return {name: os.environ[name] for name in (*PROXIES, *CERTIFICATES) if os.environ.get(name)}


def find_caller() -> dict[str, str]:
    """Return what the caller of the current operation has of it; outside of one, this process."""
    sent = _sent.get()
    return dict(sent) if sent is not None else read_own()


def find_proxies() -> dict[str, str]:
    """Return the caller's proxies alone."""
    return {name: value for name, value in find_caller().items() if name in PROXIES}


def take_sent(text: str | None) -> None:
    """Note what a caller sent with its call, as JSON; what is missing was not set.

    :raises UsageError: it is nothing of that kind.
    """
    if text is None:
        return
    try:
        sent = json.loads(text)
    except ValueError:
        sent = None
    if not isinstance(sent, dict) or not all(_is_good(name, value) for name, value in sent.items()):
        raise UsageError(
            "the caller's proxies make no sense", hint="look at http_proxy, https_proxy, no_proxy"
        )
    _sent.set(sent)


def _is_good(name: str, value: object) -> bool:
    known = name in PROXIES or name in CERTIFICATES
    return known and isinstance(value, str) and len(value) <= _LIMIT and "\0" not in value
