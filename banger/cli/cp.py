"""``vm cp``: files and directories between this host and a VM."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import closing
from typing import Any, NamedTuple

import click

from banger.cli.client import Client
from banger.cli.output import Progress
from banger.errors import GuestError, HostError, UsageError


class Place(NamedTuple):
    """One side of a copy; ``vm`` is None for this host."""

    vm: str | None
    path: str


@click.command("cp")
@click.option("--user", "-u", help="user in the guest whose files they become, or who reads them [root]")
@click.option("--quiet", "-q", is_flag=True, help="no progress")
@click.argument("source", type=click.Path(path_type=str))
@click.argument("target", type=click.Path(path_type=str))
def cp(user: str | None, quiet: bool, source: str, target: str) -> int:
    """Copy a file or a directory to or from a running VM. One side is VM:PATH; - is standard input or output.

    \b
      banger vm cp notes.txt brisk-otter:            to the home in the VM
      banger vm cp brisk-otter:/var/log ./logs       a directory, with all that is in it
      banger vm cp project/. brisk-otter:/srv/app    what is in it, not the directory itself
      tar c . | banger vm cp - brisk-otter:/tmp/x.tar

    Modes and times are kept, holes stay holes. Links in a directory are copied as links; the source itself may be
    one. Devices, pipes and sockets are left out.
    """
    from_, to = _parse(source), _parse(target)
    if (from_.vm is None) == (to.vm is None):
        raise UsageError(
            "one of the two has to be in a VM, and only one",
            hint="banger vm cp FILE VM:PATH, or VM:PATH FILE",
        )
    copy = Copy(Client(), user, quiet)
    return copy.send(from_.path, to) if to.vm is not None else copy.fetch(from_, to.path)


def _parse(text: str) -> Place:
    """Split ``vm:path``; what has a slash before its colon is a path of this host's, as with scp."""
    vm, colon, path = text.partition(":")
    if not text:
        raise UsageError("a path is empty", hint="banger vm cp FILE VM:PATH")
    if colon and vm and "/" not in vm:
        path = (
            path[2:] if path.startswith("~/") else "" if path == "~" else path
        )  # a relative path is the home's
        return Place(vm, path or ".")
    return Place(None, text)


def _hint(error: OSError, path: str) -> str:
    directory = os.path.dirname(path) or "."
    if error.errno == errno.ELOOP:
        return _advise("", error.strerror or "")
    return (
        f"what is there: ls {_shown(directory)}" if error.errno == errno.ENOENT else f"ls -ld {_shown(path)}"
    )


#: How what the guest complains of begins.
_THERE = "in the guest: "


def _advise(vm: str, why: str, *, others: bool = False) -> str:
    """Return what to do about what could not be copied.

    :param why: the last reason that was given.
    :param others: other files may have been copied.
    """
    if any(os.strerror(number) in why for number in (errno.ENOSPC, errno.EDQUOT)):
        if not why.startswith(_THERE):
            return "what is full: df -h"
        return (
            f"what is full: banger vm exec {vm} -- df -h; a larger /root: banger vm set {vm} --disk-size 16G"
        )
    if os.strerror(errno.ELOOP) in why:
        return "that link leads back to itself: name what it should lead to"
    if others:
        return "all else was copied"
    return f"what is there: banger vm exec {vm} -- ls -la DIRECTORY"


class Copy:
    """One copy, with its progress and what was left out."""

    def __init__(self, client: Client, user: str | None, quiet: bool) -> None:
        self._client = client
        self._user = user
        self._progress = Progress(quiet=quiet)
        self._failed = False
        self._why = ""

    def send(self, source: str, target: Place) -> int:
        """Copy from this host into a VM; return the exit status."""
        from banger.cli.tree_send import read_stream, read_tree, tree_size

        total = None
        if source == "-":
            base, directory, records = "", False, read_stream(0)
        else:
            try:
                total, directory = tree_size(source), os.path.isdir(source)
                os.close(os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC))
            except OSError as error:
                raise HostError(f"{_shown(source)}: {error.strerror}", hint=_hint(error, source)) from error
            if total is None and not directory:
                raise UsageError(
                    f"{_shown(source)}: devices, pipes and sockets are not copied", hint="- reads a pipe"
                )
            base, records = _base(source), read_tree(source, self._complain)
        params = {"path": target.path, "base": base, "directory": directory}
        return self._run(
            "vm.cp.write", str(target.vm), params, lambda transfer: transfer.send(records, total)
        )

    def fetch(self, source: Place, target: str) -> int:
        """Copy out of a VM to this host; return the exit status."""
        from banger.cli.tree_receive import StreamWriter, TreeWriter

        writer: Any = (
            StreamWriter(1) if target == "-" else TreeWriter(target, _base(source.path), self._complain)
        )
        try:
            with writer:
                return self._run(
                    "vm.cp.read",
                    str(source.vm),
                    {"path": source.path},
                    lambda transfer: transfer.fetch(writer),
                )
        except OSError as error:
            if target == "-":
                raise
            raise HostError(f"{_shown(target)}: {error.strerror}", hint="see: ls -ld") from error

    def _run(self, name: str, vm: str, params: dict[str, Any], work: Any) -> int:
        from banger.cli.terminal import open_stream
        from banger.cli.transfer import RefusedCopyError, Transfer
        from banger.cli.vm_exec import explain_loss

        if self._user is not None:
            params["user"] = self._user
        answer = self._client.call(name, {"vm": vm, **params})
        try:
            with closing(open_stream(answer["socket"], answer["token"])) as connection:
                transfer = Transfer(connection, self._progress, self._complain_guest)
                status = int(work(transfer))
        except RefusedCopyError as error:
            error.hint = _advise(answer["vm"], error.message)
            raise
        except GuestError as error:
            raise explain_loss(self._client, answer["vm"], error) from error
        finally:
            self._progress.end()
        if status not in (0, 1):
            raise GuestError("the copy was cut off in the guest", hint=f"banger vm logs {answer['vm']}")
        if self._failed:
            print(f"hint: {_advise(answer['vm'], self._why, others=True)}", file=sys.stderr)
        return 1 if self._failed else status

    def _complain(self, path: str, why: str) -> None:
        self._failed, self._why = True, why
        self._progress.end()
        print(f"banger: {_shown(path)}: {why}", file=sys.stderr)

    def _complain_guest(self, line: str) -> None:
        self._failed, self._why = True, f"{_THERE}{line}"
        self._progress.end()
        print(f"banger: in the guest: {line}", file=sys.stderr)


def send_directory(
    client: Client, vm: str, folder: str, parent: str, name: str, progress: Progress
) -> list[str]:
    """Copy a directory of this host into a running VM's directory ``parent`` as ``name``, owned by root.

    :returns: what could not be copied, and why, a line each and cleaned; empty when all arrived.
    :raises GuestError: the VM went away, or its side was cut off.
    """
    from banger.cli.terminal import open_stream
    from banger.cli.transfer import Transfer
    from banger.cli.tree_send import read_tree
    from banger.cli.vm_exec import explain_loss

    said: list[str] = []
    params = {"vm": vm, "path": parent, "base": name, "directory": True}
    answer = client.call("vm.cp.write", params)
    try:
        with closing(open_stream(answer["socket"], answer["token"])) as connection:
            records = read_tree(folder, lambda path, why: said.append(f"{_shown(path)}: {why}"))
            status = Transfer(connection, progress, said.append).send(records, None)
    except GuestError as error:
        raise explain_loss(client, answer["vm"], error) from error
    if status not in (0, 1) or (status == 1 and not said):
        raise GuestError("the copy was cut off in the guest", hint=f"banger vm logs {answer['vm']}")
    return said


def _base(path: str) -> str:
    """Return what a source is called in a target that is a directory; ``.`` for what only its content counts of."""
    name = os.path.basename(path.rstrip("/"))
    return "." if name in ("", ".", "..") else name


def _shown(path: str) -> str:
    from banger.guest.wire import clean_text

    return clean_text(path, 500)
