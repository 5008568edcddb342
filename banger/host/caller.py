"""What of a caller's environment concerns the network: proxies and certificates. Each call brings its own.

The daemon's environment is that of whoever started it, maybe long ago and somewhere else.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

from banger.errors import UsageError

_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")
#: Proxies as everybody spells them.
PROXIES = (*_PROXIES, *(name.upper() for name in _PROXIES))
#: Where certificates of authorities are, for OpenSSL, curl and Python's requests.
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE")
#: Characters of one value.
_LIMIT = 4096

#: Bytes of all logins that come with a call.
_LOGINS_LIMIT = 32768


@dataclass(frozen=True, slots=True)
class Login:
    """Who the caller is to a registry: a user with a password, or a token to get others with (``user`` is empty)."""

    user: str
    secret: str = field(repr=False)


#: The operation the current thread or task works for; on every line of the log, and on calls to the root helper.
current_op: ContextVar[str] = ContextVar("op_id", default="-")

#: What the caller of the current operation sent; None: nobody called.
_sent: ContextVar[Mapping[str, str] | None] = ContextVar("caller", default=None)

#: The logins that came with the current operation, by registry.
_logins: ContextVar[Mapping[str, Login] | None] = ContextVar("logins", default=None)


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


def find_proxy(url: str) -> str | None:
    """Return the proxy that the caller would reach a URL through, as curl and Python choose it; None: none."""
    from urllib.parse import urlsplit

    # Lower case wins, as everywhere.
    found = {name.lower(): value for name, value in sorted(find_proxies().items())}
    parts = urlsplit(url)
    if any(_is_excepted(parts.netloc, word.strip().lower()) for word in found.get("no_proxy", "").split(",")):
        return None
    proxy = found.get(f"{parts.scheme}_proxy") or found.get("all_proxy")
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"


def _is_excepted(netloc: str, word: str) -> bool:
    """Tell whether a word of ``no_proxy`` means a host: its name, a domain of it, a network; with a port or not."""
    from urllib.parse import urlsplit

    host = urlsplit(f"//{netloc}").hostname or ""
    if not word or word == "*":
        return bool(word)
    if "/" in word:
        import ipaddress

        try:
            return ipaddress.ip_address(host) in ipaddress.ip_network(word, strict=False)
        except ValueError:
            return False
    wanted = word.lstrip("*").lstrip(".")
    names = (host, netloc.rpartition("@")[2].lower())
    return any(name == wanted or name.endswith(f".{wanted}") for name in names)


def find_authorities() -> tuple[str | None, str | None]:
    """Return the caller's file and directory of certificate authorities; None, None: the system's."""
    found = find_caller()
    files = (found.get(name) for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"))
    return next((file for file in files if file), None), found.get("SSL_CERT_DIR")


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


def find_login(registry: str) -> Login | None:
    """Return the caller's login for ``host/path``; it lives as long as the operation and is written nowhere."""
    return (_logins.get() or {}).get(registry)


def take_logins(text: str | None) -> None:
    """Note the logins that a caller sent with its call: JSON, of each registry a user and a secret.

    :raises UsageError: they are nothing of that kind.
    """
    if text is None:
        return
    try:
        found = {str(registry): Login(*map(str, pair)) for registry, pair in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError):
        found = {}
    printable = all((login.user + login.secret).isprintable() for login in found.values())
    if not found or len(text) > _LOGINS_LIMIT or not printable:
        raise UsageError("the logins for registries make no sense", hint="log in again with docker or podman")
    _logins.set(found)
