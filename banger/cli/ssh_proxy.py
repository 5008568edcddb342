"""What our ssh_config names as ProxyCommand: standard input and output become an sshd in the VM.

Run by ssh as ``python -P -m banger.cli.ssh_proxy NAME.vm``; imports little, since every ssh waits for it.
"""

from __future__ import annotations

import os
import sys

#: The connection that ``vm ssh`` prepared already: host name, token, socket. It spares asking the daemon.
FIRST = "BANGER_SSH_FIRST"


def main(host: str) -> int:
    """Carry one connection; returns the exit status."""
    from banger.cli.terminal import Session, open_stream
    from banger.errors import BangerError

    try:
        token, path = _find_stream(host)
        with open_stream(path, token) as connection:
            return Session(connection, raw=False).run()
    except BangerError as error:
        from banger.cli.main import show_error

        return show_error(error)
    except (BrokenPipeError, KeyboardInterrupt):  # ssh went away
        return 1


def _find_stream(host: str) -> tuple[str, str]:
    """Return token and socket of a stream to the host's VM."""
    name, _, rest = os.environ.get(FIRST, "").partition(" ")
    token, _, path = rest.partition(" ")
    if name == host and path:
        return token, path
    from banger.cli.client import Client

    answer = Client().call("vm.ssh.open", {"vm": host.removesuffix(".vm")})
    return answer["token"], answer["socket"]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m banger.cli.ssh_proxy VM.vm")
    sys.exit(main(sys.argv[1]))
