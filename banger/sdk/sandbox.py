"""A VM as an object."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

from banger.cli.client import Client
from banger.cli.terminal import open_stream
from banger.errors import ConflictError, NotFoundError, UsageError
from banger.sdk.files import QuietCopy
from banger.sdk.process import CommandFailed, Completed, Process

Event = dict[str, Any]

#: Seconds to wait for an operation that was cancelled to be undone.
_CANCEL_SECONDS = 30.0


@dataclass(frozen=True)
class Port:
    """A TCP port of the guest and where the host reaches it."""

    guest: int
    address: str
    host: int


class Sandbox:
    """A disposable Linux machine. It is deleted when the ``with`` block ends, or this process, however they end.

    ::

        from banger import Sandbox

        with Sandbox(memory="1G", publish=["8080"]) as box:
            print(box.exec("uname", "-r").text)

    What is not given is decided as ``banger vm run`` would; image and kernel that are missing are made, which takes
    a while the first time.

    :param image: name or reference; the configured default otherwise.
    :param memory: MiB, or text like ``2G``; so are ``disk_size`` and ``overlay_size``.
    :param publish: TCP ports of the guest to reach from the host, ``"8080"`` or ``"9000:80"``.
    :param with_: capabilities to switch on, ``"name"`` or ``"name:key=value"``.
    :param wait: ``agent`` returns when commands can run, ``system`` when the services are up.
    :param keep: leave the VM where it is at the end, as :meth:`keep` does.
    :param on_event: gets progress, as dictionaries with the key ``event``.
    :raises BangerError: as the command line would report it; nothing is left behind then.
    """

    def __init__(
        self,
        image: str | None = None,
        *,
        name: str | None = None,
        kernel: str | None = None,
        vcpu: int | None = None,
        memory: int | str | None = None,
        disk_size: int | str | None = None,
        overlay_size: int | str | None = None,
        publish: Sequence[str] = (),
        with_: Sequence[str] = (),
        without: Sequence[str] = (),
        wait: Literal["agent", "system"] = "agent",
        keep: bool = False,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        given = {
            "image": image,
            "name": name,
            "kernel": kernel,
            "vcpu": vcpu,
            "memory": memory,
            "disk_size": disk_size,
            "overlay_size": overlay_size,
        }
        params: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
        params |= {"publish": list(publish), "with": list(with_), "without": list(without)}
        self._client = Client()
        self._keep = self._closed = False
        self._made_by: str | None = None
        self._detail = self._call("vm.create", {**params, "wait": wait, "remove": True}, on_event, hold=True)
        if keep:
            self.keep()

    @staticmethod
    def attach(name: str) -> Sandbox:
        """Return a VM that exists, by name or id. It stays when the block ends."""
        return _Attached(name)

    @property
    def name(self) -> str:
        """The VM's name."""
        return str(self._detail["vm"]["name"])

    @property
    def id(self) -> str:
        """The VM's id: it never changes and is never used again."""
        return str(self._detail["vm"]["id"])

    @property
    def ports(self) -> tuple[Port, ...]:
        """Published ports, as they are now."""
        return tuple(
            Port(guest=port["guest"], address=port["address"], host=port["host"])
            for port in self.show()["ports"]
        )

    def show(self) -> dict[str, Any]:
        """Return everything banger knows of the VM, as ``banger vm show --json`` does."""
        self._detail = self._client.call("vm.show", {"vm": self.id})
        return self._detail

    def exec(
        self,
        *argv: str,
        input: bytes | str = b"",
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        cwd: str | None = None,
        timeout: float | None = None,
        check: bool = True,
    ) -> Completed:
        """Run a command to its end.

        :param argv: the command and its arguments; no shell is between.
        :param user: who runs it in the guest; root otherwise.
        :param timeout: seconds; the command is ended after that and GuestError raised.
        :param check: raise :class:`CommandFailed` unless its status is 0.
        """
        data = input.encode() if isinstance(input, str) else input
        with self.stream(*argv, env=env, user=user, cwd=cwd) as process:
            completed = process.communicate(data, timeout)
        if check and completed.status:
            raise CommandFailed(completed)
        return completed

    def stream(
        self,
        *argv: str,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        cwd: str | None = None,
    ) -> Process:
        """Start a command and return it as it runs."""
        if not argv or not all(isinstance(word, str) for word in argv):
            raise UsageError(
                "a command is words, not a list", hint='box.exec("ls", "-l"), or box.exec(*words)'
            )
        params: dict[str, Any] = {"vm": self.id, "argv": list(argv), "env": dict(env or {})}
        params |= {key: value for key, value in (("user", user), ("cwd", cwd)) if value is not None}
        answer = self._client.call("vm.exec.open", params)
        connection = open_stream(answer["socket"], answer["token"])
        try:
            return Process(connection, argv)
        except BaseException:
            connection.close()
            raise

    def copy_in(self, source: str | os.PathLike[str], target: str = ".") -> None:
        """Copy a file or a directory of this host into the VM, as ``banger vm cp`` does.

        :param target: relative to /root; a directory that is there takes it under its own name.
        :raises GuestError: not all of it could be copied; HostError: the source cannot be read.
        """
        QuietCopy(self._client).into(self.id, source, target)

    def copy_out(self, source: str, target: str | os.PathLike[str] = ".") -> None:
        """Copy a file or a directory out of the VM.

        :param source: relative to /root.
        :raises GuestError: not all of it could be copied; HostError: the target cannot be written.
        """
        QuietCopy(self._client).out_of(self.id, source, target)

    def stop(self, timeout: float = 30.0) -> None:
        """Power the VM off through its init; its disks stay.

        :param timeout: seconds the guest gets to do it.
        """
        self._call("vm.stop", {"vm": self.id, "timeout": timeout})

    def start(self, wait: Literal["agent", "system"] = "agent") -> None:
        """Start the VM again."""
        self._detail = self._call("vm.start", {"vm": self.id, "wait": wait})

    def snapshot(self, name: str | None = None) -> str:
        """Keep the VM's disks as they are now; the VM may run, and stands still meanwhile.

        :param name: None for ``snapshot-1`` and so on.
        :return: the snapshot's name. It goes with the VM.
        """
        params = {"vm": self.id, **({"name": name} if name is not None else {})}
        return str(self._call("snapshot.create", params)["snapshot"]["name"])

    def restore(self, name: str) -> None:
        """Put the VM's disks back to a snapshot; one that ran is stopped for it, and started again.

        What the disks hold now is lost.
        """
        was_up = self._client.call("vm.show", {"vm": self.id})["vm"]["state"] == "running"
        if was_up:
            self.stop()
        try:
            self._call("snapshot.restore", {"vm": self.id, "name": name})
        finally:
            if was_up:
                self.start()

    def keep(self) -> None:
        """Leave the VM where it is when the block, or this process, ends. Idempotent."""
        if self._made_by is not None and not self._keep:
            with contextlib.suppress(ConflictError):  # the daemon was restarted: nobody holds the VM any more
                self._client.call("op.keep", {"op_id": self._made_by})
        self._keep = True

    def close(self) -> None:
        """Delete the VM, unless it is to be kept. Idempotent, also when somebody else deleted it."""
        if not self._closed and not self._keep:
            with contextlib.suppress(NotFoundError):
                self._call("vm.delete", {"vm": self.id})
        self._closed = True
        self._client.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(
        self,
        operation: str,
        params: dict[str, Any],
        on_event: Callable[[Event], None] | None = None,
        *,
        hold: bool = False,
    ) -> dict[str, Any]:
        """Call an operation; when it is interrupted, cancel it and wait until it is undone."""
        op_id: str | None = None

        def take(event: Event) -> None:
            nonlocal op_id
            op_id = event.get("op_id", op_id)
            if hold:
                self._made_by = op_id
            if on_event is not None:
                on_event(event)

        try:
            return self._client.call(operation, params, on_event=take, hold=hold)
        except (KeyboardInterrupt, SystemExit):
            if op_id is not None:
                self._cancel(op_id)
            raise

    def _cancel(self, op_id: str) -> None:
        deadline = time.monotonic() + _CANCEL_SECONDS
        with contextlib.suppress(NotFoundError, ConflictError):
            self._client.call("op.cancel", {"op_id": op_id})
            while not self._client.call("op.show", {"op_id": op_id})["done"] and time.monotonic() < deadline:
                time.sleep(0.05)


class _Attached(Sandbox):
    def __init__(self, name: str) -> None:
        self._client, self._keep, self._closed, self._made_by = Client(), True, False, None
        self._detail = self._client.call("vm.show", {"vm": name})
