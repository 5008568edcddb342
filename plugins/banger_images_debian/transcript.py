"""Following a build: mmdebstrap's and apt's words, as stages, bytes and a short memory for errors."""

from __future__ import annotations

import re
import time
from collections import deque
from typing import IO, Protocol

from banger.api import CancelledError

#: What mmdebstrap or the build script says, and the stage a person sees from then on.
STAGES = {
    "I: running apt-get update": "fetching package lists",
    "I: downloading packages": "fetching the base system",
    "I: extracting archives": "unpacking the base system",
    "I: installing essential": "installing the base system",
    "I: installing remaining": "fetching packages",
    "I: cleaning package lists": "cleaning up",
    "banger: stage customize": "cleaning up",
    "banger: stage tools": "fetching tools",
    "banger: stage disk": "writing the disk",
}

#: Seconds between two reports of the same thing; a cancellation is noticed with the next report.
_REPEAT = 0.5

_NEED = re.compile(r"Need to get ([\d.,]+) ([kMG]?)B(?:/[\d.,]+ [kMG]?B)? of archives")
_GOT = re.compile(r"Get:\d+ .* \[([\d.,]+) ([kMG]?)B\]")
_SETTING_UP = re.compile(r"Setting up ([a-z0-9.+-]+)")
_NOTICE = "banger: notice "
_UNITS = {"": 1, "k": 1000, "M": 1000**2, "G": 1000**3}


class Report(Protocol):
    """``PullContext.progress``."""

    def __call__(
        self, stage: str, detail: str = "", *, done: int | None = None, total: int | None = None
    ) -> None: ...


class Transcript:
    """The growing output of a build.

    :param log: a file that the build appends to, from its start.
    :param report: told of every change of stage, and of bytes.
    """

    def __init__(self, log: IO[bytes], report: Report) -> None:
        self.tail: deque[str] = deque(maxlen=200)
        self.notices: list[str] = []
        self._log = log
        self._report = report
        self._offset = 0
        self._rest = b""
        self._stage = "preparing"
        self._detail = ""
        self._done: int | None = None
        self._total: int | None = None
        self._reported = 0.0

    def follow(self) -> bool:
        """Read what is new and report it; true once the pull is cancelled."""
        import os

        changed = False
        # pread leaves the file's position alone, which the writing process shares.
        while data := os.pread(self._log.fileno(), 65536, self._offset):
            self._offset += len(data)
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                changed |= self._take(line.decode(errors="replace").rstrip())
        if not changed and time.monotonic() - self._reported < _REPEAT:
            return False
        self._reported = time.monotonic()
        try:
            self._report(self._stage, self._detail, done=self._done, total=self._total)
        except CancelledError:
            return True
        return False

    def _take(self, line: str) -> bool:
        if line:
            self.tail.append(line)
        if line.startswith(_NOTICE):
            self.notices.append(line.removeprefix(_NOTICE)[:300])
        for start, stage in STAGES.items():
            if line.startswith(start):
                self._stage, self._detail, self._done, self._total = stage, "", None, None
                return True
        if found := _NEED.match(line):
            self._done, self._total = 0, _bytes(found)
        elif (found := _GOT.match(line)) and self._stage.startswith("fetching"):
            got = (self._done or 0) + _bytes(found)
            self._done = got if self._total is None else min(got, self._total)
        elif found := _SETTING_UP.match(line):
            if self._stage == "fetching packages":
                self._stage, self._done, self._total = "installing packages", None, None
            self._detail = found[1]
        else:
            return False
        return True


def _bytes(found: re.Match[str]) -> int:
    return int(float(found[1].replace(",", "")) * _UNITS[found[2]])
