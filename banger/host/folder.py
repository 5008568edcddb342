"""Directories of ours, removed whole."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path


def remove_tree(directory: Path) -> None:
    """Remove a directory of ours and all in it; nothing happens when it is not there."""

    def failed(function: object, path: str, error: BaseException) -> None:
        if not isinstance(error, FileNotFoundError):
            logging.getLogger(__name__).error("%s could not be removed: %s", path, error)

    for path, folders, _ in os.walk(directory):
        for inner in (os.path.join(path, folder) for folder in folders):
            if not os.path.islink(inner):
                os.chmod(inner, 0o700)
    shutil.rmtree(directory, onerror=lambda f, p, info: failed(f, p, info[1]))
