"""Daemons that may be killed: each is forked, within milliseconds, from one process that has everything loaded.

Commands on standard input: ``start FAULT`` answers with the daemon's process id, once it serves or has ended; ``reap``
waits until it has ended and answers with its status.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Self

from banger.daemon.services import Services
from banger.testing import faults, injection
from banger.testing.injection import ArmParams
from tests.core.faults.lab import LEFT_OUT, PLACES, ROOT, PaperCommands, PaperDisks, make_plugins
from tests.core.faults.paper_bridge import PaperPrivileged


class Daemons:
    """One after the other, in the directories that their environment names; a context manager."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        line = [sys.executable, "-m", "tests.core.faults.daemons"]
        self._parent = subprocess.Popen(
            line, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.pid: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._parent.communicate()

    def start(self, fault: ArmParams | None = None) -> None:
        """Start the next daemon; the last one has ended.

        :param fault: what goes wrong in its start; it need not live to serve.
        """
        self.pid = int(self._ask(f"start {(fault or ArmParams()).model_dump_json()}"))

    def reap(self) -> int:
        """Wait until the daemon has ended; its status, negative for a signal."""
        status = int(self._ask("reap"))
        self.pid = None
        return status

    def kill(self) -> None:
        """End the daemon as a crash would."""
        if self.pid is not None:
            os.kill(self.pid, 9)
            self.reap()

    def _ask(self, command: str) -> str:
        assert self._parent.stdin is not None and self._parent.stdout is not None
        print(command, file=self._parent.stdin, flush=True)
        answer = self._parent.stdout.readline().strip()
        assert answer, "the daemons' parent ended"
        return answer


def main() -> None:
    import logging

    from banger.config.paths import find_paths
    from banger.host.command import HostCommands
    from banger.testing.app import BangerApp
    from banger.testing.plugin_sets import load_chosen

    # Killing a process loses nothing that it wrote; only a machine that stops does.
    os.fsync = lambda fd: None
    plugins = load_chosen([faults, *make_plugins()], disabled=LEFT_OUT)
    assert not plugins.failed, plugins.failed
    logging.basicConfig(filename=find_paths().log, level=logging.INFO)
    commands, disks = PaperCommands(find_paths().journal), PaperDisks(HostCommands(find_paths().journal))
    with BangerApp(plugins, commands=commands) as daemon:  # whatever is imported late is imported here
        daemon.call("vm.list")
    pid, parent = 0, os.getpid()

    def serve(pipe: int, fault: ArmParams) -> None:
        def prepare(services: Services) -> None:
            services.privileged = PaperPrivileged(find_paths().state / "bridges")
            injector = injection.injector(services)
            for place, holder, function in PLACES:
                injector.surround(place, holder, function)
            injector.arm(fault)

        with BangerApp(plugins, commands=commands, disks=disks, prepare=prepare) as daemon:
            os.write(pipe, b"up")
            os.close(pipe)
            while not daemon.join(1) and os.getppid() == parent:  # the test may have been ended
                pass

    for command in sys.stdin:
        if command.startswith("start "):
            ours, theirs = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(ours)
                os.setsid()
                try:
                    serve(theirs, ArmParams.model_validate_json(command.removeprefix("start ")))
                finally:
                    os._exit(1)
            os.close(theirs)
            os.read(ours, 2)  # until it serves, or has ended
            os.close(ours)
            print(pid, flush=True)
        else:
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
