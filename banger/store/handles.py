"""``handles.json``: what a VM holds on the host right now, written before each thing is acquired.

Undo works from this file alone, in a process that never ran the start. Layout::

    {"version": 1, "sections": [{"step": "boot", "plugin": "core", "run": "6f…", "live": true, "data": {…}}, …]}

Sections stand in the order in which the steps were entered. ``live`` is true from the moment a step is entered until
its undo has succeeded; a section with data stays after that only for steps that have a ``remove``.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from banger.errors import StoreError

log = logging.getLogger(__name__)

_VERSION = 1


@dataclass(slots=True)
class Section:
    """One step's part.

    :param run: id of the start that entered the step.
    :param live: whether its run resources may be held.
    :param keep: whether the step has VM resources, which ``remove`` releases.
    """

    step: str
    plugin: str
    run: str
    live: bool = True
    keep: bool = False
    #: The id of the start that first made the VM resources; they outlive runs.
    made_by: str = ""
    data: dict[str, Any] = field(default_factory=dict)


class Handles:
    """The handles of one VM.

    :param mirror: called with the whole content after each write, to keep a copy in the VM's row.
    :param fallback: that copy, for when the file is lost or damaged.
    :param lenient: begin with no section, rather than raise, when neither can be read: for a delete by force.
    :raises StoreError: neither can be read, or a newer banger wrote them.
    """

    def __init__(
        self,
        path: Path,
        mirror: Callable[[dict[str, Any]], None],
        fallback: dict[str, Any] | None = None,
        *,
        lenient: bool = False,
    ) -> None:
        self._path = path
        self._mirror = mirror
        try:
            self.sections: list[Section] = _load(path, fallback or {})
        except StoreError:
            if not lenient:
                raise
            self.sections = []

    def enter(self, step: str, plugin: str, run: str, *, keep: bool) -> Section:
        """Open a step's section, before the step runs; an earlier one is continued, at the end of the order."""
        section = self.find(step)
        if section is None:
            section = Section(step, plugin, run, keep=keep, made_by=run)
        else:
            self.sections.remove(section)
            section.plugin, section.run, section.live, section.keep = plugin, run, True, keep
        self.sections.append(section)
        self.save()
        return section

    def find(self, step: str) -> Section | None:
        """Return a step's section, if it has one."""
        return next((section for section in self.sections if section.step == step), None)

    def release(self, section: Section) -> None:
        """Note that a step's run resources are gone."""
        section.live = False
        if not section.keep:
            self.sections.remove(section)
        self.save()

    def drop(self, section: Section) -> None:
        """Note that nothing of a step is left."""
        self.sections.remove(section)
        self.save()

    def save(self) -> None:
        """Write the file: to a temporary name, fsync, rename, fsync of the directory."""
        content = {"version": _VERSION, "sections": [asdict(section) for section in self.sections]}
        temporary = self._path.with_suffix(".tmp")
        try:
            self._path.parent.mkdir(
                mode=0o700, exist_ok=True
            )  # somebody removed it: what is left is still ours to end
            with open(temporary, "w", encoding="utf-8", opener=_private) as file:
                json.dump(content, file, indent=1, sort_keys=True)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self._path)
            _sync_directory(self._path.parent)
        except OSError as error:
            raise StoreError(
                f"{self._path} cannot be written: {error.strerror}", hint="check free space: df -h"
            ) from error
        self._mirror(content)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


#: What the members of a section are. Others are a later banger's and are not looked at.
_MEMBERS: dict[str, type] = {
    "step": str,
    "plugin": str,
    "run": str,
    "live": bool,
    "keep": bool,
    "made_by": str,
    "data": dict,
}


def _load(path: Path, fallback: dict[str, Any]) -> list[Section]:
    """Return the sections of the file, or of its copy when it is lost or damaged; none when there never was one."""
    try:
        return _parse(path, json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return _parse_copy(path, fallback) if fallback else []
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        if not fallback:
            raise _damaged(path, error) from error
        log.warning("%s is damaged, going on with its copy: %s", path, error)
        return _parse_copy(path, fallback)


def _parse_copy(path: Path, fallback: dict[str, Any]) -> list[Section]:
    try:
        return _parse(path, fallback)
    except ValueError as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> StoreError:
    return StoreError(f"{path} is damaged: {error}", hint="banger vm delete --force removes what it can")


def _parse(path: Path, content: Any) -> list[Section]:
    """Return the sections of a content; ValueError when it is none, StoreError when a newer banger wrote it."""
    version = content.get("version", _VERSION) if isinstance(content, dict) else None
    if not isinstance(version, int):
        raise ValueError("it has no version")
    if version > _VERSION:
        raise StoreError(
            f"{path} has version {version}, newer than this banger knows ({_VERSION})",
            hint="install the newer banger again",
        )
    sections = content.get("sections", [])
    if not isinstance(sections, list):
        raise ValueError("its sections are no list")
    return [_parse_section(section) for section in sections]


def _parse_section(section: Any) -> Section:
    if not isinstance(section, dict):
        raise ValueError("a section is no object")
    members = {name: section[name] for name in _MEMBERS if name in section}
    for name, value in members.items():
        if not isinstance(value, _MEMBERS[name]):
            raise ValueError(f"{name} of a section is {type(value).__name__}")
    try:
        return Section(**members)
    except TypeError as error:
        raise ValueError(f"a section is not whole: {error}") from error
