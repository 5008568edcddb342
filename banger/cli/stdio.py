"""The standard streams as a shell may hand them over: closed, broken, or not able to say every letter."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import IO, Any


def mend_streams() -> None:
    """Fill closed standard descriptors, so that no socket of ours becomes one, and make every letter printable.

    A closed input reads as empty, a closed error output swallows, and a closed output refuses: what was to be
    printed is lost, which is an error and has to look like one. Messages that cannot be written are dropped: what
    they are about goes on, and its status says how it ended.
    """
    for number, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            _fill(number, mode)
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    if sys.stderr is sys.__stderr__ and sys.stderr is not None:
        raw = io.BufferedWriter(_Forgiving(2, "w", closefd=False))
        sys.stderr = io.TextIOWrapper(raw, sys.stderr.encoding, line_buffering=True)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors != "backslashreplace":
            stream.reconfigure(errors="backslashreplace")


class _Forgiving(io.FileIO):
    """A descriptor whose full disk or gone reader is nobody's trouble."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def _fill(number: int, mode: int) -> None:
    descriptor = os.open(os.devnull, mode)
    if descriptor != number:
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.set_inheritable(number, True)
    if number:
        stream: IO[str] = os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
        setattr(sys, "stdout" if number == 1 else "stderr", stream)


def silence(number: int) -> None:
    """Send what is still to be written on a standard descriptor nowhere: its reader is gone, or its disk is full."""
    with contextlib.suppress(OSError, ValueError):
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, number)
        os.close(descriptor)
