"""The way from the host's resolver to ours: a file of systemd-resolved's that only root writes.

From version 258 on a *delegate*, which gets questions for ``vm.`` alone; before that a drop-in of resolved.conf.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from banger.api import NAME_ROUTES, Commands, ConflictError, HostError

_MARK = "# Written by `banger dns install`; `banger dns uninstall` removes it."
_DELEGATES_SINCE = 258
_SECTIONS = ("Delegate", "Resolve")
_SERVER = re.compile(r"^DNS=127\.0\.0\.1:(\d{1,5})$", re.MULTILINE)
#: Seconds for systemd to answer, and to start its resolver again.
_ASK_SECONDS, _RESTART_SECONDS = 10.0, 60.0
_RESOLVER = "systemd-resolved.service"


@dataclass(frozen=True, slots=True)
class Route:
    """What the host's resolver was told.

    :param port: where it asks on 127.0.0.1; None when the file does not say.
    """

    path: Path
    port: int | None


def find_route(root: Path = Path("/")) -> Route | None:
    """Return the route that is installed."""
    for path in _files(root):
        text = _read(path)
        if text is not None:
            found = _SERVER.search(text)
            return Route(path, int(found[1]) if found else None)
    return None


def install_route(port: int, commands: Commands, root: Path = Path("/")) -> tuple[Route, bool]:
    """Tell systemd-resolved to ask for ``vm.`` at a port of 127.0.0.1; return the route and whether it is a new one.

    :param root: where /etc is.
    :raises HostError: no systemd-resolved runs here, or it does not take it; everything is as before then.
    :raises ConflictError: a file that somebody else wrote is in its place.
    """
    delegates = _check_resolver(commands, port) >= _DELEGATES_SINCE
    files = _files(root)
    chosen, other = files if delegates else files[::-1]
    content = f"{_MARK}\n[{_SECTIONS[0 if delegates else 1]}]\nDNS=127.0.0.1:{port}\nDomains=~vm\n"
    before = {path: _read_ours(path) for path in files}
    wanted = {chosen: content, other: None}
    if before == wanted:
        return Route(chosen, port), False
    _put(wanted, before, commands)
    return Route(chosen, port), True


def uninstall_route(commands: Commands, root: Path = Path("/")) -> list[Path]:
    """Take out what ``install_route`` wrote and return which files those were; others' files stay."""
    ours = {
        path: text for path in _files(root) if (text := _read(path)) is not None and text.startswith(_MARK)
    }
    if ours:
        _put(dict.fromkeys(ours), dict(ours), commands, restart=_is_running(commands))
    return list(ours)


def _files(root: Path) -> list[Path]:
    return [root / path.relative_to("/") for path in NAME_ROUTES]


def _check_resolver(commands: Commands, port: int) -> int:
    """Return systemd's version, once it is sure that its resolver runs."""
    hint = f"let the resolver that runs here ask 127.0.0.1:{port} for the zone vm"
    if commands.find("systemctl") is None:
        raise HostError("there is no systemd here, and so no systemd-resolved", hint=hint)
    if not _is_running(commands):
        raise HostError(
            "systemd-resolved does not run here", hint=f"systemctl enable --now systemd-resolved; or {hint}"
        )
    said = commands.run(["systemctl", "--version"], timeout=_ASK_SECONDS, check=False).stdout
    found = re.match(rb"systemd (\d+)", said)
    return int(found[1]) if found else 0


def _is_running(commands: Commands) -> bool:
    if commands.find("systemctl") is None:
        return False
    asked = commands.run(["systemctl", "is-active", "--quiet", _RESOLVER], timeout=_ASK_SECONDS, check=False)
    return asked.status == 0


def _put(
    wanted: dict[Path, str | None],
    before: dict[Path, str | None],
    commands: Commands,
    *,
    restart: bool = True,
) -> None:
    """Make files what is wanted and let the resolver read them; all is put back when it does not."""
    try:
        _write_all(wanted)
        if restart:
            commands.run(["systemctl", "reload-or-restart", _RESOLVER], timeout=_RESTART_SECONDS)
    except OSError as error:
        with contextlib.suppress(OSError):
            _write_all(before)
        raise HostError(
            f"{error.filename} cannot be written: {error.strerror}", hint="see: ls -ld /etc/systemd"
        ) from error
    except HostError:
        _write_all(before)
        commands.run(["systemctl", "reload-or-restart", _RESOLVER], timeout=_RESTART_SECONDS, check=False)
        raise


def _write_all(files: dict[Path, str | None]) -> None:
    for path, text in files.items():
        if text is None:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                path.unlink()
            continue
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True)
            path.parent.chmod(0o755)
        new = path.with_name(f".{path.name}.new")
        try:
            new.write_text(text)
            new.chmod(0o644)  # systemd-resolved reads it as a user of its own, whatever root's umask is
            os.replace(new, path)
        except OSError:
            new.unlink(missing_ok=True)
            raise


def _read_ours(path: Path) -> str | None:
    """Return what is at a path; ConflictError when it is not ours."""
    text = _read(path)
    if text is not None and not text.startswith(_MARK):
        raise ConflictError(
            f"{path} was not written by banger", hint=f"look at it, then: mv {path} {path}.old"
        )
    return text


def _read(path: Path) -> str | None:
    """Return a file's text, None when there is no such file; ConflictError when it cannot be read."""
    try:
        return path.read_text(errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConflictError(f"{path} cannot be read: {error.strerror}", hint=f"see: ls -ld {path}") from error
