"""What our ssh_config names as ProxyCommand: standard input and output become an sshd in the VM.

Run by ssh as ``python -P -m banger.cli.ssh_proxy NAME.vm``; imports little, since every ssh waits for it.
"""

from __future__ import annotations

import sys


def main(host: str) -> int:
    """Carry one connection; returns the exit status."""
    from banger.cli.client import Client
    from banger.cli.terminal import Session, open_stream
    from banger.errors import BangerError

    try:
        answer = Client().call("vm.ssh.open", {"vm": host.removesuffix(".vm")})
        with open_stream(answer["socket"], answer["token"]) as connection:
            return Session(connection, raw=False).run()
    except BangerError as error:
        from banger.cli.main import show_error

        return show_error(error)
    except (BrokenPipeError, KeyboardInterrupt):  # ssh went away
        return 1


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m banger.cli.ssh_proxy VM.vm")
    sys.exit(main(sys.argv[1]))
