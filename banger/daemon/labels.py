"""What plugins say of a VM in a few words, for ``vm list`` and ``vm show``: a file each in the VM's directory."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from banger.errors import NotFoundError

_FOLDER = "labels"
_NAME = re.compile(r"^[a-z][a-z0-9-]{0,31}$")
#: Characters of a label.
_LENGTH = 300


def write_label(directory: Path, name: str, text: str) -> None:
    """Say something of a VM under a name: a column of ``vm list`` and a line of ``vm show``.

    :param directory: the VM's. :param name: a-z, 0-9 and ``-``, 32 at most.
    :raises NotFoundError: the VM was deleted meanwhile.
    """
    if _NAME.match(name) is None:
        raise ValueError(f"{name!r} is no label's name")
    file = directory / _FOLDER / name
    try:
        with contextlib.suppress(FileExistsError):
            file.parent.mkdir(mode=0o700)
        new = file.with_suffix(".new")
        new.write_text(text[:_LENGTH], encoding="utf-8", errors="backslashreplace")
        os.replace(new, file)
    except FileNotFoundError:
        raise NotFoundError("the VM was deleted meanwhile", hint="see: banger vm list") from None


def read_labels(directory: Path) -> dict[str, str]:
    """Return what is said of a VM, by name."""
    try:
        files = sorted((directory / _FOLDER).iterdir())
    except OSError:
        return {}
    found = {}
    for file in files:
        with contextlib.suppress(OSError):
            if _NAME.match(file.name) is not None:
                found[file.name] = file.read_text(encoding="utf-8", errors="replace")[:_LENGTH]
    return found
