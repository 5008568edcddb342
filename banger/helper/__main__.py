"""``python3 -I -m banger.helper --socket PATH --owner UID``: bangerd-root."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from banger.errors import BangerError


def main() -> int:
    """Serve until SIGTERM; what was made stays."""
    parser = argparse.ArgumentParser(prog="bangerd-root", description="banger's root helper")
    parser.add_argument(
        "--socket", type=Path, required=True, help="where to listen, in a directory of root's"
    )
    parser.add_argument("--owner", type=int, required=True, help="uid of the user whose daemon may call")
    given = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("it runs as root")
    if not 0 <= given.owner < 2**32 - 1:
        parser.error(f"{given.owner} is no user id")
    from banger.helper.links import keep_links
    from banger.helper.server import Server, bind

    keep_links()
    server = Server(given.owner)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.end())
    try:
        with bind(given.socket, given.owner) as listener:
            server.serve(listener)
    except BangerError as error:
        print(f"bangerd-root: {error.message}; {error.hint}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
