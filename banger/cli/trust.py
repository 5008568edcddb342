"""Trust in files of repositories: which content of which file may reach this host. ``banger trust``."""

from __future__ import annotations

import fcntl
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from banger.cli.output import print_json, print_table, say
from banger.cli.vm import json_option
from banger.config.paths import find_paths
from banger.errors import ConfigError, NotFoundError
from banger.guest.wire import clean_text

if TYPE_CHECKING:
    from banger.cli.project_file import ProjectFile


class TrustStore:
    """Paths and the SHA-256 of what was trusted there, in a file of the user's own."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def read(self) -> dict[str, str]:
        """Return path -> digest; nothing when the file is not there or makes no sense."""
        try:
            found = json.loads(self._file.read_text(encoding="ascii"))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return {}
        if not isinstance(found, dict):
            return {}
        return {str(path): digest for path, digest in found.items() if isinstance(digest, str)}

    def set(self, path: str, digest: str | None) -> None:
        """Remember a digest, or forget the path."""
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self._file.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            known = self.read()
            known.pop(path, None)
            if digest is not None:
                known[path] = digest
            new = self._file.with_suffix(".new")
            with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as file:
                json.dump(known, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, self._file)
        finally:
            os.close(lock)


def store() -> TrustStore:
    """Return the user's."""
    return TrustStore(find_paths().state / "trust.json")


def _shown(path: str) -> str:
    """Return a path as short as it can be from here, fit to be shown."""
    relative = os.path.relpath(path)
    return clean_text(path if relative.startswith("../") else relative, 500)


def check_trust(file: ProjectFile) -> None:
    """Let a file pass that reaches nothing, or that was trusted as it is; ask where somebody can answer.

    :raises ConfigError: it is not trusted, and nobody said that it be.
    """
    lines = file.reaching_lines()
    known = store().read().get(file.path)
    if not lines or known == file.digest:
        return
    shown = _shown(file.path)
    changed = known is not None
    say(f"{shown} {'has changed since it was trusted, and ' if changed else ''}reaches out of the VM:")
    for line in lines:
        say(f"  {line}")
    if (
        sys.stdin.isatty()
        and sys.stderr.isatty()
        and click.confirm("trust it as it is?", default=False, err=True)
    ):
        store().set(file.path, file.digest)
        return
    raise ConfigError(
        f"{shown} is not trusted", hint=f"read it; then: banger trust {shown}, or leave it out: --no-project"
    )


@click.command()
@click.argument("path", required=False, type=click.Path())
@click.option("--list", "listing", is_flag=True, help="list what is trusted")
@click.option("--remove", is_flag=True, help="take the trust in PATH back")
@json_option
def trust(path: str | None, listing: bool, remove: bool, as_json: bool) -> None:
    """Trust the banger.toml of the repository PATH lies in, as it is now: it may reach this host.

    It shows what needs trust. A file that changes needs it anew.
    """
    if listing or path is None:
        _list(as_json)
        return
    from banger.cli.project_file import NAME, find_project, read_project

    if remove:
        _remove(path)
        return
    file = read_project(os.path.realpath(path)) if os.path.basename(path) == NAME else find_project(path)
    if file is None:
        raise NotFoundError(
            f"there is no {NAME} at the top of the repository of '{clean_text(path, 200)}'", hint="ls"
        )
    lines = file.reaching_lines()
    store().set(file.path, file.digest)
    if as_json:
        print_json({"path": file.path, "sha256": file.digest, "reaches": lines})
        return
    for line in lines:
        print(line)
    print(f"{_shown(file.path)} trusted{'' if lines else ', although it needs none'}")


def _list(as_json: bool) -> None:
    known = store().read()
    if as_json:
        print_json([{"path": path, "sha256": digest} for path, digest in sorted(known.items())])
    elif not known:
        say("nothing is trusted; a repository's file is by: banger trust PATH")
    else:
        print_table(
            ("PATH", "SHA256"),
            [(clean_text(path, 500), digest[:12]) for path, digest in sorted(known.items())],
        )


def _remove(path: str) -> None:
    from banger.cli.project_file import NAME

    real = os.path.realpath(path)
    candidates = (real, os.path.join(real, NAME))
    found = next((candidate for candidate in candidates if candidate in store().read()), None)
    if found is None:
        raise NotFoundError(f"'{clean_text(path, 200)}' was not trusted", hint="what is: banger trust --list")
    store().set(found, None)
    print(f"{_shown(found)} not trusted any more")
