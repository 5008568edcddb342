"""Looking for a secret where none may be."""

from __future__ import annotations

import os
from pathlib import Path

from vmring import Home


def traces(home: Home, secret: str) -> list[str]:
    """Return banger's own files and the command lines that a secret is in; disks are the guest's."""
    found = []
    for folder in (home.state, home.base / "c"):
        for directory, _, names in os.walk(folder):
            for path in (Path(directory, name) for name in names):
                if path.is_file() and path.suffix not in (".ext4", ".qcow2", ".cpio"):
                    found += [str(path)] if secret.encode() in path.read_bytes() else []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found += [str(entry)] if secret.encode() in (entry / "cmdline").read_bytes() else []
            except OSError:
                continue
    return found
