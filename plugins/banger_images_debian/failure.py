"""What went wrong in a build, read from what it printed."""

from __future__ import annotations

import re
from collections.abc import Sequence

from banger.api import BangerError, HostError, ImageError

_SPACE = re.compile(r"No space left on device|Disk quota exceeded")
_SIGNATURE = re.compile(r"NO_PUBKEY|is not signed|EXPKEYSIG|BADSIG|signatures couldn't be verified")
_NETWORK = re.compile(
    r"Could not resolve|Temporary failure resolving|Unable to connect|Could not connect|Failed to fetch"
    r"|Connection (?:refused|failed|timed out)|Network is unreachable|Hash Sum mismatch|Could not handshake"
)
_PACKAGE = re.compile(r"Unable to locate package|has no installation candidate")
_MEMORY = re.compile(r"Cannot allocate memory|Out of memory|Killed")
_ERROR = re.compile(r"^(?:E: |Err:|mke2fs: |unshare: |mount: |dpkg: error|sh: )")


def explain_failure(printed: Sequence[str], reference: str) -> BangerError:
    """Return the error for a build that printed these lines; the last of them go with it as a note."""
    error = _explain(printed, reference)
    error.add_note("\n".join(printed[-40:]))
    return error


def _explain(printed: Sequence[str], reference: str) -> BangerError:
    if line := _first(_SPACE, printed):
        return HostError(f"no space left while building {reference}: {line}", hint="free 2 GiB and try again")
    if line := _first(_SIGNATURE, printed):
        hint = "sudo apt install --only-upgrade debian-archive-keyring, and look at the clock"
        return ImageError(f"the signatures of Debian's packages could not be verified: {line}", hint=hint)
    if line := _first(_NETWORK, printed):
        hint = "check the network; behind a proxy set http_proxy or apt's Acquire::http::Proxy"
        return ImageError(f"Debian's packages could not be fetched: {line}", hint=hint)
    if line := _first(_MEMORY, printed):
        return HostError(f"not enough memory to build {reference}: {line}", hint="free 1 GiB of memory")
    if line := _first(_PACKAGE, printed):
        return ImageError(
            f"{reference} cannot be built: {line}", hint="see what there is: apt-cache search WORD"
        )
    line = _first(_ERROR, printed) or next(
        (text for text in reversed(printed) if text.strip()), "it printed nothing"
    )
    return ImageError(
        f"building {reference} failed: {line[:300]}", hint="the daemon's log has all it printed"
    )


def _first(pattern: re.Pattern[str], printed: Sequence[str]) -> str:
    return next((line.strip()[:300] for line in printed if pattern.search(line)), "")
