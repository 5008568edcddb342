"""``vm exec`` in several VMs at once: the same command, its lines with the VM's name before them."""

from __future__ import annotations

import sys
import threading
from typing import Any

from banger.cli.client import Client
from banger.cli.output import clean
from banger.cli.pipe import Pipe
from banger.cli.vm_many import Meant, find_meant
from banger.errors import BangerError, UsageError

#: Bytes of each stream of one VM, and of a line, after which it is broken.
_LIMIT, _LINE = 2**62, 16 * 1024
#: Seconds: a command may be silent as long as it runs.
_FOREVER = 10.0**9


def exec_in_many(meant: Meant, params: dict[str, Any]) -> int:
    """Run one command in each of the VMs; return the first status that is not 0, 1 for a VM that could not run it."""
    from banger.cli.main import show_error

    if not params["argv"]:
        raise UsageError("a shell is in one VM", hint="banger vm exec --all -- COMMAND")
    found, unknown = find_meant(meant, lambda vm: vm["state"] == "running")
    width = max((len(vm["name"]) for vm in found), default=0)
    calls = [_Call(vm, params, width) for vm in found]
    for call in calls:
        call.start()
    for call in calls:
        call.join()
    for error in unknown:
        show_error(error)
    statuses = [call.status for call in calls] + [1] * len(unknown)
    return next((status for status in statuses if status), 0)


class _Lines:
    """Output that is printed line by line, each with its VM's name, never two lines in one."""

    def __init__(self, prefix: str, stream: Any) -> None:
        self._prefix, self._stream, self._rest = prefix, stream, b""

    def take(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LINE:
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            text = line.decode(errors="replace").rstrip("\r")
            text = clean(text.expandtabs()) if self._stream.isatty() else text
            self._stream.write(f"{self._prefix}{text}\n")
        self._stream.flush()

    def end(self) -> None:
        if self._rest:
            self.take(b"\n")


class _Pipe(Pipe):
    """A stream whose standard error is shown as it comes."""

    def __init__(self, connection: Any, out: _Lines, errors: _Lines) -> None:
        super().__init__(connection, (), out.take, _LIMIT, _FOREVER)
        self._errors = errors

    def _keep_errors(self, data: bytes) -> None:
        self._errors.take(data)


class _Call(threading.Thread):
    """The command in one VM."""

    def __init__(self, vm: dict[str, Any], params: dict[str, Any], width: int) -> None:
        super().__init__(daemon=True)
        self.vm, self.status = vm, 1
        self._params = {**params, "vm": vm["id"]}
        prefix = f"{vm['name'].ljust(width)} | "
        self._out, self._errors = _Lines(prefix, sys.stdout), _Lines(prefix, sys.stderr)

    def run(self) -> None:
        from banger.cli.terminal import CommandError, open_stream

        try:
            answer = Client().call("vm.exec.open", self._params)
            with open_stream(answer["socket"], answer["token"]) as connection:
                self.status = _Pipe(connection, self._out, self._errors).run().status
        except CommandError as error:
            self.status = error.status_code
            self._errors.take(f"{error.message}\n".encode())
        except BangerError as error:
            self._errors.take(f"{error.message}\n".encode())
        finally:
            self._out.end()
            self._errors.end()
