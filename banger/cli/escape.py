"""What is typed to leave a terminal in a VM: ``~.`` at the beginning of a line, as with ssh."""

from __future__ import annotations

from banger.errors import BangerError, UsageError

#: The character that introduces what is meant for us.
DEFAULT = "~"
_LINE_ENDS = b"\r\n"


class SessionLeft(BangerError):
    """The user left: what runs in the guest goes on. No failure."""

    type = "left"


class Escape:
    """Looks at what is typed: takes out what is meant for us, passes on everything else.

    :param character: one ASCII character, or None: everything belongs to the guest.
    """

    def __init__(self, character: str | None = DEFAULT) -> None:
        self._mark = character.encode("ascii") if character else None
        self._at_start = True
        self._held = False
        self.left = False

    def feed(self, data: bytes) -> bytes:
        """Return what is the guest's of the bytes typed; :attr:`left` is set by the mark and a dot."""
        if self._mark is None:
            return data
        out = bytearray()
        for byte in (data[at : at + 1] for at in range(len(data))):
            if self._held:
                self._held = False
                if byte == b".":
                    self.left = True
                    return bytes(out)
                out += byte if byte == self._mark else self._mark + byte
                self._at_start = byte in _LINE_ENDS
            elif self._at_start and byte == self._mark:
                self._held = True
            else:
                out += byte
                self._at_start = byte in _LINE_ENDS
        return bytes(out)


def check_escape(text: str) -> str | None:
    """Return the character that ``--escape`` asks for; None for ``none``."""
    if text == "none":
        return None
    if len(text) == 1 and "!" <= text <= "~" and text != ".":
        return text
    raise UsageError(
        f"--escape {text[:40]}: one printable character, or none", hint="for example: --escape '^'"
    )
