"""Where banger keeps its things. Cheap to import: the command line needs it on every call."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path

from banger.config.install import find_install
from banger.errors import ConfigError, StoreError

#: Where systemd-resolved is told to ask banger for names: from version 258 on, and before.
NAME_ROUTES = (
    Path("/etc/systemd/dns-delegate.d/banger.dns-delegate"),
    Path("/etc/systemd/resolved.conf.d/banger.conf"),
)

#: sun_path holds 108 bytes with the final NUL (unix(7)); the longest name we bind under the state
#: directory is ``/s/bangerd.sock`` or ``/s/01234567/agent``.
_STATE_LIMIT = 107 - len("/s/01234567/agent")


#: The host's own, in system mode; the daemon runs as its owner there too.
SYSTEM_STATE, SYSTEM_CACHE = Path("/var/lib/banger"), Path("/var/cache/banger")
SYSTEM_SOCKET = Path("/run/banger/bangerd.sock")
SYSTEM_CONFIG = Path("/etc/banger/config.toml")


@dataclass(frozen=True, slots=True)
class Paths:
    """The directories of one banger: a user's, or the host's.

    :param config: configuration files, in order of growing precedence.
    :param service: where a daemon answers that the command line does not start; None: in the state directory.
    """

    state: Path
    cache: Path
    config: tuple[Path, ...]
    service: Path | None = None

    @property
    def sockets(self) -> Path:
        return self.state / "s"

    @property
    def daemon_socket(self) -> Path:
        return self.service or self.sockets / "bangerd.sock"

    @property
    def stream_socket(self) -> Path:
        return self.daemon_socket.with_name("stream.sock")

    @property
    def is_system(self) -> bool:
        """Whether these are the host's."""
        return self.state == SYSTEM_STATE

    @property
    def lock(self) -> Path:
        return self.state / "bangerd.lock"

    @property
    def log(self) -> Path:
        return self.state / "bangerd.log"

    @property
    def database(self) -> Path:
        return self.state / "banger.db"

    @property
    def vms(self) -> Path:
        return self.state / "vms"

    @property
    def images(self) -> Path:
        return self.state / "images"

    @property
    def kernels(self) -> Path:
        return self.state / "kernels"

    @property
    def staging(self) -> Path:
        return self.state / "staging"

    @property
    def handover(self) -> Path:
        """Directories that the command line fills for the daemon."""
        return self.state / "handover"

    @property
    def operations(self) -> Path:
        """Notes of the operations that are under way."""
        return self.state / "operations"

    @property
    def journal(self) -> Path:
        """Notes of the programs that run right now."""
        return self.state / "running"

    @property
    def plugins(self) -> Path:
        """What plugins keep for themselves, a directory each."""
        return self.state / "plugins"

    @property
    def commands(self) -> Path:
        """The command line's list of plugin commands, written by the daemon."""
        return self.cache / "commands.json"


def find_paths() -> Paths:
    """Return the paths of the banger that is meant.

    The socket that ``BANGER_SOCKET`` names, else the host's where it was installed for this user, else the user's own.
    ``BANGER_MODE``, ``user`` or ``system``, says which of the last two.

    :raises ConfigError: no home directory, a state directory too long for the sockets under it, or a wrong variable.
    """
    mode, socket = os.environ.get("BANGER_MODE") or "", os.environ.get("BANGER_SOCKET") or ""
    if mode not in ("", "user", "system"):
        raise ConfigError(f"BANGER_MODE is {mode[:40]}", hint="set it to user or system, or not at all")
    if socket and not os.path.isabs(socket):
        raise ConfigError(f"BANGER_SOCKET is no absolute path: {socket[:200]}", hint=f"as {SYSTEM_SOCKET} is")
    if socket:
        return replace(find_user_paths(), service=Path(socket))
    return _system_paths() if mode == "system" or (mode == "" and _is_owner()) else find_user_paths()


def _is_owner() -> bool:
    found = find_install()
    return found is not None and found.uid == os.getuid()


def _system_paths() -> Paths:
    """Return the host's paths; the same for the daemon and for its owner's command line, whatever is set there."""
    import pwd

    own = Path(pwd.getpwuid(os.getuid()).pw_dir, ".config", "banger", "config.toml")
    return Paths(SYSTEM_STATE, SYSTEM_CACHE, (SYSTEM_CONFIG, own), SYSTEM_SOCKET)


def find_user_paths() -> Paths:
    """Return the user's own paths, by the XDG base directory specification; ConfigError as :func:`find_paths`."""
    from platformdirs.unix import Unix

    directories = Unix("banger")
    state = Path(directories.user_state_path)
    if not state.is_absolute():
        raise ConfigError("there is no home directory", hint="set HOME or XDG_STATE_HOME to an absolute path")
    if len(os.fsencode(state)) > _STATE_LIMIT:
        raise ConfigError(
            f"the state directory's path is too long: {len(os.fsencode(state))} bytes, {_STATE_LIMIT} at most",
            hint="set XDG_STATE_HOME to a shorter path: Unix sockets live under it",
        )
    return Paths(
        state=state,
        cache=Path(directories.user_cache_path),
        config=(SYSTEM_CONFIG, Path(directories.user_config_path) / "config.toml"),
    )


def find_state(uid: int) -> Path:
    """Return where a user's banger keeps its state: this process's own, or what another user has by default.

    :raises ConfigError: there is no such user.
    """
    if uid == os.getuid():
        return find_paths().state
    import pwd

    try:
        home = pwd.getpwuid(uid).pw_dir
    except KeyError:
        raise ConfigError(f"there is no user {uid} here", hint="see: getent passwd") from None
    return Path(home, ".local", "state", "banger")


def make_private(directory: Path) -> Path:
    """Make a directory only its owner can enter; StoreError when it cannot be made or belongs to somebody else."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        info = directory.stat()
    except OSError as error:
        raise StoreError(
            f"{directory} cannot be used: {error.strerror}",
            hint="check its owner and permissions, and free space",
        ) from error
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.geteuid():
        raise StoreError(
            f"{directory} is not a directory of yours", hint="move it away or set XDG_STATE_HOME"
        )
    if info.st_mode & 0o077:
        directory.chmod(0o700)
    return directory


def make_directories(paths: Paths) -> None:
    """Make every directory a daemon needs, private; StoreError when one cannot be made."""
    contents = (paths.vms, paths.images, paths.kernels, paths.staging, paths.journal)
    for directory in (paths.state, paths.sockets, *contents, paths.cache):
        make_private(directory)
