"""OpenSSH's files on the host: one key per user, one host key per VM, our own known_hosts and ssh_config.

Nothing here reads or writes ``~/.ssh``: that is :mod:`banger.host.ssh_include`.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from banger.config.paths import Paths, make_private
from banger.errors import HostError


class SshFiles:
    """What banger keeps for ssh, under ``<state>/ssh``, 0700.

    :param environment: what the ProxyCommand is given, since an editor that runs ssh may lack it.
    """

    def __init__(self, directory: Path, environment: Mapping[str, Path] | None = None) -> None:
        self.directory = directory
        self.environment = dict(environment or {})
        self.identity = directory / "id_ed25519"
        self.known_hosts = directory / "known_hosts"
        self.config = directory / "config"

    def prepare(self) -> None:
        """Make the user's key unless it is there, and write the ssh_config as this version has it."""
        make_private(self.directory)
        make_key(self.identity, "banger")
        with self._locked():
            _replace(self.config, format_config(self))

    def write_known_hosts(self, hosts: Mapping[str, Path]) -> None:
        """Pin these hosts and no others.

        :param hosts: host name -> its private key, beside which the public one is; those without one are left out.
        """
        with self._locked():
            lines = []
            for name, key in sorted(hosts.items()):
                public = public_key(key)
                if public is not None:
                    lines.append(f"{name} {public}\n")
            _replace(self.known_hosts, "".join(lines))

    def forget(self, host: str) -> None:
        """Drop a host from known_hosts; nothing when it is not there."""
        if not self.known_hosts.exists():
            return
        with self._locked():
            lines = self.known_hosts.read_text().splitlines(keepends=True)
            _replace(self.known_hosts, "".join(line for line in lines if line.split(" ")[0] != host))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with open(self.directory / "lock", "w", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def find_ssh_files(paths: Paths) -> SshFiles:
    """Return the files of the banger that has these directories; its ProxyCommand finds that one from anywhere."""
    environment = {
        "XDG_STATE_HOME": paths.state.parent,
        "XDG_CACHE_HOME": paths.cache.parent,
        "XDG_CONFIG_HOME": paths.config[-1].parent.parent,
    }
    return SshFiles(paths.state / "ssh", environment)


def make_key(path: Path, comment: str) -> None:
    """Make an Ed25519 key without a passphrase at ``path``, 0600, unless one is there; the public one beside it."""
    if public_key(path) is not None and path.is_file():
        return
    make_private(path.parent)
    with open(path.parent / "lock", "w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if public_key(path) is not None and path.is_file():
            return
        private, public = _generate_key()
        _replace(path, private)
        _replace(path.with_name(path.name + ".pub"), f"{public} {comment}\n")


def _generate_key() -> tuple[str, str]:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return private.decode("ascii"), public.decode("ascii")


def public_key(path: Path) -> str | None:
    """Return type and base64 of the public key beside ``path``, or None when there is none."""
    try:
        fields = path.with_name(path.name + ".pub").read_text(encoding="ascii").split()
    except (FileNotFoundError, UnicodeDecodeError):
        return None
    return " ".join(fields[:2]) if len(fields) >= 2 else None


def format_config(files: SshFiles) -> str:
    """Return the ssh_config that makes ``<vm>.vm`` a host: through the agent's channel, with pinned keys only.

    :raises HostError: a path cannot be written in an ssh_config.
    """
    variables = "".join(f"{name}={_shell_quote(str(path))} " for name, path in files.environment.items())
    proxy = f"/usr/bin/env {variables}{_shell_quote(sys.executable)} -P -m banger.cli.ssh_proxy '%h'"
    return "\n".join(
        [
            "# Written by banger; changes are lost.",
            "Host *.vm",
            "  User root",
            f"  IdentityFile {_quote(files.identity)}",
            "  IdentitiesOnly yes",
            "  PreferredAuthentications publickey",
            f"  UserKnownHostsFile {_quote(files.known_hosts)}",
            "  GlobalKnownHostsFile /dev/null",
            "  StrictHostKeyChecking yes",
            "  HostKeyAlgorithms ssh-ed25519",
            "  UpdateHostKeys no",
            "  CheckHostIP no",
            "  ForwardAgent no",
            f"  ProxyCommand {proxy}",
            "",
        ]
    )


def _quote(path: Path) -> str:
    """Quote a path for a keyword that expands percent signs."""
    text = os.fspath(path)
    if '"' in text or "\n" in text or "${" in text:
        raise HostError(f"ssh cannot use the path {text!r}", hint="set XDG_STATE_HOME to a plainer one")
    return '"' + text.replace("%", "%%") + '"'


def _shell_quote(text: str) -> str:
    return "'" + text.replace("'", "'\\''").replace("%", "%%") + "'"


def _replace(path: Path, text: str) -> None:
    """Write a file unless it says that already; readers see the old one or the new one.

    0600 whatever the umask: ssh refuses to include what a group can write.
    """
    try:
        if path.read_text() == text:
            path.chmod(0o600)
            return
    except FileNotFoundError:
        pass
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    new.chmod(0o600)
    new.replace(path)
