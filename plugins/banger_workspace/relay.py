"""What git runs on the host instead of ssh: ``git upload-pack`` in the guest, its answers bounded and looked at.

Git starts this as ``GIT_SSH_COMMAND`` and adds a host and a command, which are not read: VM and path are our own words.
"""

from __future__ import annotations

import os
import sys

from banger.api import BangerError, Client, GuestError, run_piped

#: Bytes of the list of refs that a guest sends first.
_REFS = 16 * 1024 * 1024
_COUNT_AT, _COUNT_END = 8, 12


class PackGuard:
    """Reads along in what ``upload-pack`` sends (protocol version 0) and refuses what is too much.

    :param objects: the most objects that a pack may have.
    """

    def __init__(self, objects: int) -> None:
        self._objects = objects
        self._header = b""
        self._left = 0
        self._first = False
        self._refs: int | None = 0
        self._raw = self._in_band = False
        self._pack = b""

    def feed(self, data: bytes) -> None:
        """Look at a piece. :raises GuestError: no git speaks so, too many refs, or too many objects."""
        at = 0
        while at < len(data):
            if self._raw:
                self._look(data[at:])
                return
            if self._left:
                size = min(self._left, len(data) - at)
                self._body(data[at : at + size])
                self._left -= size
                at += size
            else:
                need = 4 - len(self._header)
                self._header += data[at : at + need]
                at += need
                if len(self._header) == 4:
                    self._begin()

    def _begin(self) -> None:
        header, self._header = self._header, b""
        if header == b"PACK":
            self._raw = True
            self._look(header)
            return
        try:
            length = int(header, 16)
        except ValueError:
            raise GuestError("the guest's git spoke no git") from None
        if length == 0:
            self._refs = None
        elif length > 3:
            self._left, self._first = length - 4, True

    def _body(self, data: bytes) -> None:
        if self._refs is not None:
            self._refs += len(data)
            if self._refs > _REFS:
                raise GuestError("the guest's list of refs is too long")
        elif self._first:
            self._in_band = data[:1] == b"\x01"
            data = data[1:]
        self._first = False
        if self._refs is None and self._in_band:
            self._look(data)

    def _look(self, data: bytes) -> None:
        """Read the number of objects from the beginning of the pack."""
        if len(self._pack) >= _COUNT_END:
            return
        self._pack += data[: _COUNT_END - len(self._pack)]
        if len(self._pack) == _COUNT_END:
            count = int.from_bytes(self._pack[_COUNT_AT:_COUNT_END], "big")
            if count > self._objects:
                raise GuestError(
                    f"the guest wanted to send {count} objects; {self._objects} are allowed",
                    hint="raise --max-objects if that is right",
                )


def main(arguments: list[str]) -> int:
    """Relay one conversation: VM, path, bytes and objects allowed; then what git adds."""
    vm, path, size, objects = arguments[0], arguments[1], int(arguments[2]), int(arguments[3])
    guard = PackGuard(objects)

    def take(data: bytes) -> None:
        guard.feed(data)
        view = memoryview(data)
        while view:
            view = view[os.write(1, view) :]

    argv = ("git", "-c", "safe.directory=*", "upload-pack", path)
    try:
        ended = run_piped(Client(), vm, argv, input=0, take=take, limit=size)
    except BangerError as error:
        print(f"banger: {error.message}", file=sys.stderr)
        return 1
    except OSError:  # git went away
        return 1
    if ended.status != 0:
        print(f"banger: git in the guest ended with status {ended.status}: {ended.said}", file=sys.stderr)
    return ended.status


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
