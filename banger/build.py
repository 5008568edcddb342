"""Which build this is. Cheap: ``banger --version`` prints it."""

from __future__ import annotations


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
