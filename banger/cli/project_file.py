"""``banger.toml``: what a repository says of the VM it wants. It is somebody else's file, and hostile by assumption.

What stays inside of the guest is taken as it is. What reads or reaches this host needs the user's trust, which is given
to the file's content and to nothing else.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from banger.config.lent import FileSync
from banger.config.lines import find_lines
from banger.config.settings import check_model
from banger.errors import ConfigError
from banger.guest.wire import clean_text

NAME = "banger.toml"
#: Bytes of a file; finding lines in it takes as many readings as it has lines.
_SIZE_LIMIT = 16 * 1024
#: A name that only the catalogue or the store can mean, or a digest; no path, no address.
_PLAIN = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}|sha256:[0-9a-f]{64}")

Text = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")]
Size = Annotated[str, StringConstraints(pattern=r"^[0-9.]{1,12} *[A-Za-z]{0,3}$")]
Port = Annotated[str, StringConstraints(pattern=r"^([0-9]{1,5}:)?[0-9]{1,5}$")]


class Project(BaseModel):
    """What `banger.toml` may hold. Flags and environment stand over it, it over your configuration.

    :param image: name of an image, or its digest; another reference needs trust.
    :param kernel: name of a kernel; another reference needs trust.
    :param vcpu: processors.
    :param memory: like "2G".
    :param disk_size: the work disk.
    :param overlay_size: the root disk.
    :param publish: TCP ports of the guest, "[HOST:]GUEST", on a loopback address.
    :param env: variables of the command, as they stand here.
    :param setup: shell lines that are run in the repository in a new VM.
    :param env_from_host: variables of yours; needs trust.
    :param secrets: name and source, as `--secret NAME=SOURCE`; needs trust.
    :param auth: as `--auth NAME`; needs trust.
    :param ssh_agent: as `--ssh-agent`; needs trust.
    :param file_sync: files of yours; needs trust.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: Text | None = None
    kernel: Text | None = None
    vcpu: int | None = Field(default=None, ge=1, le=255)
    memory: Size | None = None
    disk_size: Size | None = None
    overlay_size: Size | None = None
    publish: tuple[Port, ...] = Field(default=(), max_length=64)
    env: dict[Variable, Annotated[str, StringConstraints(max_length=1000)]] = Field(
        default_factory=dict, max_length=64
    )
    setup: tuple[Text, ...] = Field(default=(), max_length=64)
    env_from_host: tuple[Variable, ...] = Field(default=(), max_length=64)
    secrets: dict[Variable, Text] = Field(default_factory=dict, max_length=64)
    auth: tuple[Text, ...] = Field(default=(), max_length=64)
    ssh_agent: bool = False
    file_sync: tuple[FileSync, ...] = Field(default=(), max_length=16)

    def reaching(self) -> Iterator[str]:
        """Yield the keys that read or reach the host."""
        for key in ("image", "kernel"):
            value = getattr(self, key)
            if value is not None and _PLAIN.fullmatch(value) is None:
                yield key
        for key in ("env_from_host", "secrets", "auth", "ssh_agent", "file_sync"):
            if getattr(self, key):
                yield key


@dataclass(frozen=True, slots=True)
class ProjectFile:
    """A file that was read once: what was looked at is what is trusted and what is done."""

    path: str
    content: bytes
    project: Project

    @property
    def digest(self) -> str:
        """SHA-256 of the content, hexadecimal."""
        import hashlib

        return hashlib.sha256(self.content).hexdigest()

    def reaching_lines(self) -> list[str]:
        """Return what needs trust, a line each: its number in the file, and its value as it was understood."""
        lines = find_lines(self.content.decode())
        found = []
        for key in self.project.reaching():
            value = getattr(self.project, key)
            if isinstance(value, dict):
                parts = [(f"{key}.{name}", inner) for name, inner in value.items()]
            elif key == "file_sync":
                parts = [(key, entry.model_dump()) for entry in value]
            else:
                parts = [(key, value)]
            for dotted, inner in parts:
                number = lines.get(dotted) or lines.get(key)
                text = json.dumps(inner, ensure_ascii=False)
                where = f"line {number}: " if number else ""
                found.append(f"{where}{dotted} = {clean_text(text, 20000)}")
        return found


def find_project(path: str) -> ProjectFile | None:
    """Return the file at the top of the repository that a path lies in; None when there is none.

    :raises ConfigError: it is no ordinary small file, no TOML, or says what it may not say.
    """
    here = os.path.realpath(path)
    while not os.path.lexists(os.path.join(here, ".git")):
        above = os.path.dirname(here)
        if above == here:
            return None
        here = above
    return read_project(os.path.join(here, NAME))


def read_project(path: str) -> ProjectFile | None:
    """Read one file, as :func:`find_project` does."""
    shown = clean_text(path, 500)
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
    try:
        with open(path, "rb", opener=lambda name, _: os.open(name, flags)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError(f"{shown} is no file", hint="--no-project leaves it out")
            content = file.read(_SIZE_LIMIT + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{shown}: {error.strerror}", hint="--no-project leaves it out") from None
    if len(content) > _SIZE_LIMIT:
        raise ConfigError(
            f"{shown} is longer than {_SIZE_LIMIT // 1024} KiB", hint="--no-project leaves it out"
        )
    return ProjectFile(path, content, _parse(shown, content))


def _parse(shown: str, content: bytes) -> Project:
    try:
        table = tomllib.loads(content.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        said = clean_text(str(error), 200) if not isinstance(error, RecursionError) else "too deep"
        raise ConfigError(f"{shown} is not TOML: {said}", hint="--no-project leaves it out") from None
    try:
        project: Project = check_model(Project, table, "", dict.fromkeys(table, shown))
    except ConfigError as error:
        error.message = clean_text(error.message, 500)
        raise
    return project


def project_schema() -> dict[str, Any]:
    """Return the JSON schema (2020-12) of ``banger.toml``."""
    from banger.config.schema import describe_keys

    schema = Project.model_json_schema()
    described = describe_keys(Project)
    for key, member in schema["properties"].items():
        member.setdefault("description", described[key])
    schema["description"] = "What a repository says of the VM it wants. Every key may be left out."
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": f"a repository's {NAME}",
    }
