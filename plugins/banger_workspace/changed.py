"""What the guest says of changed files: the list that git prints before a patch."""

from __future__ import annotations

import re
from collections.abc import Callable

from banger.api import GuestError, clean

#: Bytes of the list: some hundred thousand names.
_LIST = 64 * 1024 * 1024
#: A change in ``git diff --raw``: modes, ids, a letter, and the name, quoted where it has odd characters.
_LINE = re.compile(rb"^:[0-7]{6} [0-7]{6} [0-9a-f]{40,64} [0-9a-f]{40,64} ([A-Z])[0-9]*\t(.+)$")
_ESCAPE = re.compile(rb'\\([0-7]{3}|[abtnvfr"\\])')
_CONTROLS = dict(zip(b"abtnvfr", b"\a\b\t\n\v\f\r", strict=True))


class ChangedFiles:
    """Takes what git prints: names go into :attr:`files`, a letter and a cleaned name each; the rest is passed on.

    :param write: gets the patch, piece by piece.
    """

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self.files: list[tuple[str, str]] = []
        self._write = write
        self._waiting: bytearray | None = bytearray()
        self._size = 0

    def feed(self, data: bytes) -> None:
        """Look at a piece. :raises GuestError: no git prints this."""
        if self._waiting is None:
            self._write(data)
            return
        self._size += len(data)
        self._waiting += data
        *lines, rest = self._waiting.split(b"\n")
        for number, line in enumerate(lines):
            if not line:
                self._waiting = None
                self._write(b"\n".join((*lines[number + 1 :], rest)))
                return
            self._take(bytes(line))
        self._waiting = bytearray(rest)
        if self._size > _LIST:
            raise GuestError("the guest's list of changed files is too long", hint="commit them, and pull")

    def _take(self, line: bytes) -> None:
        found = _LINE.match(line)
        if found is None:
            raise GuestError("the guest's list of changed files makes no sense")
        self.files.append((found[1].decode(), read_name(found[2])))


def read_name(quoted: bytes) -> str:
    """Return a name as git prints it, fit to be shown."""
    if len(quoted) > 1 and quoted[:1] == quoted[-1:] == b'"':
        quoted = _ESCAPE.sub(_unescape, quoted[1:-1])
    return clean(quoted.decode(errors="backslashreplace"))[:4096]


def _unescape(found: re.Match[bytes]) -> bytes:
    text = found[1]
    if len(text) == 3:
        return bytes((int(text, 8) & 0xFF,))
    return bytes((_CONTROLS.get(text[0], text[0]),))
