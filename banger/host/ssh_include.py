"""The block in the user's own ``~/.ssh/config`` including ours: every program over ssh knows ``<vm>.vm``."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import tempfile
from pathlib import Path

from banger.errors import HostError

_BEGIN, _END = b"# banger: begin", b"# banger: end"
_BLOCK = re.compile(
    rb"^# banger: begin[ \t]*\r?\n(?:(?!# banger: begin).*\n)*?# banger: end[ \t]*(?:\r?\n|\Z)", re.MULTILINE
)
#: Larger ones are not read: no ssh_config is.
_SIZE_LIMIT = 4 << 20


def find_home() -> Path:
    """Return the home whose ``.ssh`` counts: passwd entry's, as for OpenSSH, unless HOME is another of this user."""
    home = os.environ.get("HOME", "")
    with contextlib.suppress(OSError):
        if os.path.isabs(home) and os.stat(home).st_uid == os.geteuid():
            return Path(home)
    return passwd_home()


def passwd_home() -> Path:
    """Return the home OpenSSH takes, which does not look at HOME.

    :raises HostError: the user has no passwd entry.
    """
    try:
        return Path(pwd.getpwuid(os.geteuid()).pw_dir)
    except KeyError:
        raise HostError(f"user {os.geteuid()} is not in /etc/passwd", hint="set HOME to your home") from None


def include_line(config: Path) -> str:
    """Return the line that includes a file.

    :raises HostError: ssh would take the path for a pattern or expand something in it.
    """
    text = os.fspath(config)
    if any(character in text for character in '"\\*?[]{}%$\n\r'):
        raise HostError(f"ssh cannot include the path {text!r}", hint="set XDG_STATE_HOME to a plainer one")
    return f'Include "{text}"'


def is_installed(user_config: Path, config: Path) -> bool:
    """Tell whether the user's file has the block and it includes this file.

    :raises HostError: the file cannot be read.
    """
    line = include_line(config).encode()
    return any(line in block.splitlines() for block in _BLOCK.findall(_read(user_config)))


def install(user_config: Path, config: Path) -> bool:
    """Put the block at the top of the user's file, which with its directory is made when missing.

    :returns: whether anything changed.
    :raises HostError: the file cannot be changed, or has half a block.
    """
    before = _read(user_config)
    rest = _without_block(user_config, before)
    if not os.path.lexists(user_config):
        _note_made(config, user_config)
    newline = b"\r\n" if before.partition(b"\n")[0].endswith(b"\r") else b"\n"
    block = newline.join([_BEGIN, include_line(config).encode(), _END, b""])
    return _write(user_config, before, block + rest)


def uninstall(user_config: Path, config: Path) -> bool:
    """Take the block out and leave every other byte; nothing when it is not there.

    A file that :func:`install` made goes when nothing else is in it, with the directory if that was made as well.

    :returns: whether anything changed.
    :raises HostError: the file cannot be changed, or has half a block.
    """
    before = _read(user_config)
    changed = _write(user_config, before, _without_block(user_config, before))
    note = _note_path(config)
    if os.path.lexists(note):
        _take_back(user_config, note)
    return changed


def _note_path(config: Path) -> Path:
    """Return where it is written down which of the user's files were made, one path a line."""
    return config.with_name("made")


def _note_made(config: Path, user_config: Path) -> None:
    made = [user_config, *([] if user_config.parent.exists() else [user_config.parent])]
    with contextlib.suppress(OSError):  # then an empty file stays behind one day
        _note_path(config).write_bytes(b"".join(os.fsencode(path) + b"\n" for path in made))


def _take_back(user_config: Path, note: Path) -> None:
    """Remove what was made for the block alone, where nothing else came into it."""
    with contextlib.suppress(OSError):
        made = {Path(os.fsdecode(line)) for line in note.read_bytes().splitlines()}
        note.unlink()
        if user_config in made and not user_config.is_symlink() and user_config.stat().st_size == 0:
            user_config.unlink()
            if user_config.parent in made:
                user_config.parent.rmdir()


def _without_block(path: Path, text: bytes) -> bytes:
    rest = _BLOCK.sub(b"", text)
    if re.search(rb"^# banger: (begin|end)[ \t]*\r?$", rest, re.MULTILINE):
        raise HostError(
            f"{path} has half of banger's block",
            hint="take out its lines '# banger: begin' and '# banger: end' by hand",
        )
    return rest


def _read(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            text = file.read(_SIZE_LIMIT + 1)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise _failed(path, error) from error
    if len(text) > _SIZE_LIMIT:
        raise HostError(f"{path} is too large for an ssh_config", hint=f"ls -lL {path}")
    return text


def _write(path: Path, before: bytes, text: bytes) -> bool:
    """Replace what a file, or the file a link leads to, says: readers see all of the old one or of the new one."""
    if text == before:
        return False
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        target = Path(os.path.realpath(path))
        mode = 0o600
        with contextlib.suppress(FileNotFoundError):
            info = target.stat()
            mode = info.st_mode & 0o777
            if info.st_uid != os.geteuid():
                raise HostError(f"{target} belongs to user {info.st_uid}", hint="run banger as that user")
            if not os.access(target, os.W_OK):
                raise HostError(
                    f"{target} is not writable", hint=f"chmod u+w {target}, or: banger ssh-config"
                )
        _replace(target, text, mode)
    except OSError as error:
        raise _failed(path, error) from error
    return True


def _replace(target: Path, text: bytes, mode: int) -> None:
    number, name = tempfile.mkstemp(prefix=".banger-", dir=target.parent)
    try:
        with open(number, "wb") as file:
            file.write(text)
            os.fchmod(number, mode)
            file.flush()
            os.fsync(number)
        os.replace(name, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


def _failed(path: Path, error: OSError) -> HostError:
    return HostError(
        f"{path} cannot be used: {error.strerror}",
        hint="mend it, or take ssh -F with the path that banger ssh-config prints",
    )
