"""Fakes of the host seams, for tests of what cannot run here. Each passes the contract of the real one."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from banger.host.command import OUTPUT_LIMIT, Commands, Completed


@dataclass(frozen=True, slots=True)
class Call:
    """One program that was asked for, as it was asked for."""

    argv: tuple[str, ...]
    input: bytes | None = None
    env: Mapping[str, str] | None = None
    cwd: Path | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a program of :class:`FakeCommands` does.

    :param seconds: how long it takes; longer than the timeout counts as timed out. No time passes.
    :param effect: called with the call before the program ends, for instance to make the file it would make.
    """

    status: int = 0
    stdout: bytes = b""
    stderr: bytes = b""
    seconds: float = 0.0
    effect: Callable[[Call], object] | None = None


class FakeCommands(Commands):
    """:class:`~banger.host.command.Commands` that starts nothing, records what it is asked, and is scripted.

    .. code-block:: python

        commands = FakeCommands(programs=("mke2fs",))
        commands.answer(r"^mke2fs .*-d ", stderr=b"mke2fs: No space left on device", status=1)

    A line that no pattern matches ends well and prints nothing; of several matching ones the last added answers.
    """

    def __init__(self, programs: Sequence[str] | None = None) -> None:
        """:param programs: what is installed; None means everything."""
        self.calls: list[Call] = []
        self._programs = programs
        self._answers: list[tuple[re.Pattern[str], Answer]] = []

    @property
    def lines(self) -> list[str]:
        """The programs run so far, each as one line."""
        return [" ".join(call.argv) for call in self.calls]

    def answer(
        self,
        pattern: str,
        *,
        status: int = 0,
        stdout: bytes = b"",
        stderr: bytes = b"",
        seconds: float = 0.0,
        effect: Callable[[Call], object] | None = None,
    ) -> None:
        """Script the answer to lines in which ``pattern``, a regular expression, is found."""
        answer = Answer(status, stdout, stderr, seconds, effect)
        self._answers.insert(0, (re.compile(pattern), answer))

    def find(self, program: str) -> str | None:
        if self._programs is None or program in self._programs:
            return f"/usr/bin/{program}"
        return None

    def resolve(self, program: str) -> str:
        from banger.host.command import missing_program

        if self.find(program) is None:
            raise missing_program(program)
        return f"/usr/bin/{program}"

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        timeout: float,
        input: bytes | None = None,
        stdin: IO[bytes] | None = None,
        stdout: IO[bytes] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        check: bool = True,
        cancelled: Callable[[], bool] | None = None,
    ) -> Completed:
        from banger.errors import CancelledError, HostError
        from banger.host.command import failed_program

        line = tuple(os.fspath(arg) for arg in argv)
        path = self.resolve(line[0])
        call = Call(line, stdin.read() if stdin is not None else input, env, cwd)
        self.calls.append(call)
        answer = self._find_answer(" ".join(line))
        if answer.seconds > 0 and cancelled is not None and cancelled():
            raise CancelledError(f"cancelled while {line[0]} was running")
        if answer.seconds > timeout:
            raise HostError(f"{line[0]} did not end within {timeout:.0f} s")
        if answer.effect is not None:
            answer.effect(call)
        if stdout is not None:
            stdout.write(answer.stdout)
            stdout.flush()
        kept = b"" if stdout is not None else answer.stdout[:OUTPUT_LIMIT]
        done = Completed((path, *line[1:]), answer.status, kept, answer.stderr[-OUTPUT_LIMIT:])
        if check and done.status != 0:
            raise failed_program(done)
        return done

    def _find_answer(self, line: str) -> Answer:
        return next((answer for pattern, answer in self._answers if pattern.search(line)), Answer())
