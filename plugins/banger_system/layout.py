"""Where an installation is, below a root that is ``/`` but in tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from banger.api import INSTALL, SYSTEM_CACHE, SYSTEM_CONFIG, SYSTEM_SOCKET, SYSTEM_STATE

#: Where the code is: only root writes to it, or to anything above it.
CODE = Path("/usr/local/lib/banger")
HELPER, DAEMON, TOOLS = CODE / "helper", CODE / "daemon", CODE / "bin"
HELPER_UNIT, DAEMON_UNIT = "bangerd-root.service", "bangerd.service"
#: Where the helper listens: a directory of root's, which the owner cannot put anything into.
HELPER_SOCKET = Path("/run/bangerd-root/helper.sock")
#: Where the helper has jails; its unit makes it.
_JAILS = Path("/var/lib/bangerd-root")
_UNITS = Path("/etc/systemd/system")
_TMPFILES = Path("/etc/tmpfiles.d/banger.conf")


@dataclass(frozen=True, slots=True)
class Layout:
    """An installation's paths.

    :param root: what stands for ``/``.
    :param uid: who stands for root.
    """

    root: Path = Path("/")
    uid: int = 0

    def at(self, path: Path) -> Path:
        """Return where a path of the installed host's is."""
        return self.root / path.relative_to("/")

    @property
    def code(self) -> Path:
        return self.at(CODE)

    @property
    def install(self) -> Path:
        return self.at(INSTALL)

    @property
    def socket(self) -> Path:
        return self.at(SYSTEM_SOCKET)

    @property
    def tmpfiles(self) -> Path:
        return self.at(_TMPFILES)

    def unit(self, name: str) -> Path:
        return self.at(_UNITS / name)

    @property
    def jails(self) -> Path:
        return self.at(_JAILS)

    @property
    def state(self) -> tuple[Path, ...]:
        """What VMs, images and kernels are in."""
        return self.at(SYSTEM_STATE), self.at(SYSTEM_CACHE)

    @property
    def runtime(self) -> tuple[Path, ...]:
        return self.socket.parent, self.at(HELPER_SOCKET).parent

    @property
    def config(self) -> Path:
        return self.at(SYSTEM_CONFIG)
