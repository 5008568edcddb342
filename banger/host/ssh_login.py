"""Logging in over SSH to see whether it works: the key that is pinned, and no other, must answer."""

from __future__ import annotations

import logging
import socket
from pathlib import Path

from banger.errors import HostError


def try_login(connection: socket.socket, host: str, identity: Path, known_hosts: Path, timeout: float) -> str:
    """Log in as root over a connection, run nothing, and return the server's version.

    :param host: the name whose key in ``known_hosts`` the server must prove to have.
    :param timeout: seconds for each of the greeting, the key exchange and the login.
    :raises HostError: no key is pinned, another one answered, the login was refused, or the time was over.
    """
    import paramiko

    # what goes wrong is raised; its thread would log it once more, without saying which VM
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)
    pinned = paramiko.HostKeys(str(known_hosts)).lookup(host)
    if pinned is None:
        raise HostError(f"no host key of {host} is known", hint=f"banger vm ssh {host.removesuffix('.vm')}")
    transport = paramiko.Transport(connection)
    transport.banner_timeout = transport.auth_timeout = timeout
    # OpenSSH is told the same: a server that has the pinned key must not prove another one
    transport.get_security_options().key_types = list(pinned)
    try:
        transport.start_client(timeout=timeout)
        answered = transport.get_remote_server_key()
        if answered != pinned.get(answered.get_name()):
            raise HostError(f"{host} has another host key than the pinned one")
        transport.auth_publickey("root", paramiko.Ed25519Key.from_private_key_file(str(identity)))
        return transport.remote_version[:200]
    except (paramiko.SSHException, OSError, EOFError) as error:
        said = str(error) or "the connection was closed"
        raise HostError(f"no login over ssh: {said[:300]}") from error
    finally:
        transport.close()
