"""References to container images: ``[host[:port]/]path[:tag][@digest]``, in the grammar of distribution/reference."""

from __future__ import annotations

import re
from dataclasses import dataclass

from banger.api import UsageError

DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_HOST = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*(?::\d{1,5})?\Z"
)
_PART = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*\Z")
_TAG = re.compile(r"\w[\w.-]{0,127}\Z", re.ASCII)
#: Characters of host and path together (distribution/reference: NameTotalLengthMax).
_LONGEST = 255


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference, in full."""

    host: str
    path: str
    tag: str
    digest: str | None

    @property
    def wanted(self) -> str:
        """The digest if there is one, else the tag."""
        return self.digest or self.tag


def parse_reference(text: str) -> Reference:
    """Return a reference's parts; UsageError when it has none."""
    text = text.removeprefix("//")
    name, at, digest = text.partition("@")
    head, slash, rest = name.partition("/")
    host = "docker.io"
    if slash and ("." in head or ":" in head or head == "localhost"):
        host, name = head, rest
    path, colon, tag = name.partition(":")
    if host in ("docker.io", "index.docker.io"):
        host, path = "docker.io", path if "/" in path else f"library/{path}"
    good = (
        len(host) + len(path) < _LONGEST
        and _HOST.match(host)
        and all(_PART.match(part) for part in path.split("/"))
        and (not colon or _TAG.match(tag))
        and (not at or DIGEST.match(digest))
    )
    if not good:
        raise UsageError(
            f"'{text[:80]}' is no reference to a container image",
            hint="for example: oci:docker.io/library/debian:bookworm",
        )
    return Reference(host, path, tag or "latest", digest or None)


def local_name(reference: Reference) -> str:
    """Return the name an image gets here: ``debian-bookworm`` from ``docker.io/library/debian:bookworm``."""
    last = reference.path.rpartition("/")[2]
    if reference.digest is not None and reference.tag == "latest":
        return f"{last}-{reference.digest[7:19]}"[-120:]
    return f"{last}-{reference.tag}"[:120]


def is_insecure(host: str, insecure: tuple[str, ...]) -> bool:
    """Tell whether a ``host[:port]`` is listed, with its port or as a host with any."""
    return host in insecure or host.rpartition(":")[0] in insecure


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine, by its name or address alone."""
    import ipaddress

    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
