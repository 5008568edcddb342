"""Pages of the documentation as sessions: what a page says is typed into a terminal, and what it shows is compared.

A block marked ``console`` has commands after ``$ `` (the host) or ``root@vm:~# `` (a guest), their continuation
lines after ``> ``, and what they print. A line of ``…`` or ``...`` stands for any lines; where it
stands alone the command must succeed. Before a block may stand::

    <!-- not run: reason -->
    <!-- file: name -->          the block is written to this file, in the directory the page's commands run in
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

import pexpect

#: Seconds for one command of a page: some boot a VM.
COMMAND_SECONDS = 240
_PROMPT = "\x1d"
_GUEST = r"[\w.-]+@[\w.-]+:[^\r\n#]*# "
_FENCE = re.compile(r"^```(\w*)\s*$")
_NOTE = re.compile(r"^<!-- (not run|file): (.+) -->$")
_ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[a-zA-Z]|\][^\x07]*\x07|[=>])")
_ADDRESS = re.compile(r"\b127(?:\.\d{1,3}){3}\b")
#: What differs from run to run, in this order.
_VOLATILE = (
    (_ADDRESS, "ADDRESS"),
    (r"\bop-[0-9a-f]{12}\b", "OP"),
    (r"\b[0-9a-f]{12,64}\b", "ID"),
    (r"\b(just now|now|\d+ (s|min|h|d|days?) ago)\b", "AGE"),
    (r"\d+(\.\d+)?\s?([KMGT](iB|B)?)\b", "SIZE"),
    (r" \((host/\d|config|default)\)", ""),
    (r"\d+(\.\d+)?", "N"),
    (r"\s+", " "),
)
#: Lines that some hosts print and others do not: notices, jobs, stages that took more than a second.
_HOSTS_OWN = re.compile(r"^(note: software emulation|\[\d+\]|  [\w:. -]+  \d+(\.\d+)? s$)")


@dataclass
class Command:
    """A command of a page and what the page says it prints."""

    line: int
    prompt: str
    text: str
    shown: list[str] = field(default_factory=list)


@dataclass
class Block:
    """A fenced block: its language, its lines, and what the comment before it says."""

    line: int
    language: str
    lines: list[str]
    note: str = ""
    value: str = ""


def blocks(page: Path) -> Iterator[Block]:
    """Yield a page's fenced blocks."""
    current: Block | None = None
    note = ("", "")
    for number, line in enumerate(page.read_text().splitlines(), 1):
        fence = _FENCE.match(line.strip())
        if current is None and fence:
            current = Block(number, fence[1], [], *note)
        elif current is not None and fence:
            yield current
            current, note = None, ("", "")
        elif current is not None:
            current.lines.append(line)
        elif line.strip():
            found = _NOTE.match(line.strip())
            note = (found[1], found[2]) if found else ("", "")


def commands(block: Block) -> list[Command]:
    """Return the commands of a ``console`` block."""
    found: list[Command] = []
    for number, line in enumerate(block.lines, block.line + 1):
        prompt = re.match(rf"\$ |{_GUEST}", line)
        if prompt:
            found.append(Command(number, prompt[0], line[prompt.end() :]))
        elif found and line.startswith("> ") and not found[-1].shown:
            found[-1].text += "\n" + line[2:]
        elif found:
            found[-1].shown.append(line)
    return found


class Terminal:
    """A shell in a terminal, as a reader of the page has it."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self._shell: pexpect.spawn[str] = pexpect.spawn(
            "bash",
            ["--norc", "--noprofile", "--noediting"],
            cwd=str(directory),
            env={**environment, "PS1": _PROMPT, "PS2": "", "TERM": "xterm"},
            encoding="utf-8",
            codec_errors="replace",
            echo=False,
            dimensions=(50, 160),
            timeout=COMMAND_SECONDS,
        )
        self._shell.expect_exact(_PROMPT)

    def run(self, text: str) -> list[str]:
        """Type a command; the lines it printed until the next prompt, the host's or a guest's."""
        self._shell.sendline(text)
        self._shell.expect([_PROMPT, _GUEST])
        printed = _ESCAPES.sub("", str(self._shell.before)).replace("\r\n", "\n").split("\n")
        printed = [line.rpartition("\r")[2] for line in printed]
        if printed and printed[0].strip() == text.strip():
            del printed[0]
        return printed

    def status(self) -> int:
        """Return the exit status of the host's last command; 0 inside a guest's shell."""
        return int(self.run('echo "$?"')[0]) if self._shell.after == _PROMPT else 0

    def close(self) -> None:
        """Hang up."""
        self._shell.close(force=True)


def plain(lines: list[str]) -> list[str]:
    """Return lines without what differs from run to run."""
    kept = []
    for line in lines:
        if not line.strip() or _HOSTS_OWN.match(line):
            continue
        kept.append(reduce(lambda text, change: re.sub(*change, text), _VOLATILE, line).strip())
    return kept


def is_as_shown(shown: list[str], printed: list[str]) -> bool:
    """Tell whether a command printed what its page shows."""
    if not shown:
        return not printed
    if shown[0] in ("…", "..."):
        return any(is_as_shown(shown[1:], printed[at:]) for at in range(len(printed) + 1))
    return bool(printed) and shown[0] == printed[0] and is_as_shown(shown[1:], printed[1:])


def run_page(page: Path, directory: Path, environment: dict[str, str]) -> list[str]:
    """Type everything a page says; what differs from what it shows, for people."""
    terminal = Terminal(directory, environment)
    problems: list[str] = []
    addresses: dict[str, str] = {}
    try:
        for block in blocks(page):
            if block.note == "file":
                (directory / block.value).write_text("\n".join(block.lines) + "\n")
            if block.note or block.language != "console":
                continue
            for command in commands(block):
                printed = terminal.run(
                    _ADDRESS.sub(lambda found: addresses.get(found[0], found[0]), command.text)
                )
                addresses.update(_pairs(command.shown, printed))
                # where a page leaves out all that a command prints, the command at least works
                hidden = command.shown in (["…"], ["..."]) and terminal.status() != 0
                if hidden or not is_as_shown(plain(command.shown), plain(printed)):
                    problems.append(_difference(page, command, printed))
    finally:
        terminal.close()
    return problems


def _pairs(shown: list[str], printed: list[str]) -> dict[str, str]:
    """Return the addresses of a page and those that stand in their place this time."""
    told, real = (_ADDRESS.findall("\n".join(lines)) for lines in (shown, printed))
    return dict(zip(told, real, strict=False))


def _difference(page: Path, command: Command, printed: list[str]) -> str:
    parts: list[Any] = [f"{page.name}:{command.line}: {command.prompt}{command.text}"]
    parts += ["  the page shows:", *(f"    {line}" for line in command.shown)]
    parts += ["  it printed:", *(f"    {line}" for line in printed)]
    return "\n".join(parts)


def openssh(folder: Path) -> Path:
    """Return a directory with OpenSSH's programs as they are where HOME is the user's own: they look at no HOME."""
    programs = folder / "openssh"
    programs.mkdir()
    for name in ("ssh", "scp", "sftp"):
        found = shutil.which(name)
        config = '[ ! -f "$HOME/.ssh/config" ] || set -- -F "$HOME/.ssh/config" "$@"'
        (programs / name).write_text(f'#!/bin/sh\n{config}\nexec {found} "$@"\n')
        (programs / name).chmod(0o755)
    return programs
