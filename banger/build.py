"""Which build this is. Cheap: ``banger --version`` prints it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path


def build_info() -> tuple[str, str]:
    """Return the commit and the time (ISO 8601) this installation was built from; ``unknown`` where not recorded."""
    try:
        from banger._build import BUILT_AT, COMMIT  # type: ignore[import-untyped,unused-ignore]  # written at build time
    except ImportError:
        return "unknown", "unknown"
    return COMMIT, BUILT_AT


def version_line() -> str:
    """Return name, version, short commit and build time on one line."""
    import banger

    commit, built_at = build_info()
    return f"banger {banger.__version__} ({commit[:12]}, built {built_at})"


def agent_info(binary: Path) -> dict[str, str]:
    """Return version, commit and build time of a guest agent, as its file has them, for whatever processor it is.

    :raises OSError: it cannot be read.
    """
    import re

    found = re.search(rb"banger-agent ([^ \0]+) \(([^ \0]+), built ([^ \0)]+)\)", binary.read_bytes())
    values = [value.decode(errors="replace") for value in found.groups()] if found else ["unknown"] * 3
    return dict(zip(("version", "commit", "built_at"), values, strict=True))
