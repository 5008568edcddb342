"""Secrets for a guest: read from where the user keeps them, put into a file in the guest's memory, and nowhere else.

The daemon passes them on as it passes any stream on, without looking. They stand on no command line and in no message.
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from banger.errors import GuestError, HostError, NotFoundError, UsageError
from banger.guest import tree

if TYPE_CHECKING:
    from banger.cli.client import Client

#: Where they are in the guest: ``/run`` is a tmpfs, so they never reach a disk and are gone when the VM stops.
DIRECTORY = "/run/banger/secrets"
#: Bytes of one; how many one command takes; seconds that a program of the user's may take, who may have to type.
SIZE_LIMIT, COUNT_LIMIT, _PATIENCE = 64 * 1024, 64, 120.0
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_KINDS = "env:VARIABLE, file:PATH, cmd:COMMAND or keyring:SERVICE/USER"


@dataclass(frozen=True, slots=True)
class Secret:
    """A name and what is behind it, which no representation shows."""

    name: str
    value: bytes = field(repr=False)


def collect_secrets(texts: tuple[str, ...]) -> tuple[Secret, ...]:
    """Return what ``--secret NAME[=SOURCE]`` asks for; the last of a name wins.

    :raises UsageError: no name, no such source, too large. :raises HostError: a program or the keyring failed.
    """
    chosen = {}
    for text in texts:
        name, equals, source = text.partition("=")
        if _NAME.fullmatch(name) is None:
            # What stands there may be the secret itself.
            raise UsageError("--secret begins with a NAME: letters, digits and '_'", hint=f"NAME={_KINDS}")
        value = _read(name, source if equals else f"env:{name}")
        if len(value) > SIZE_LIMIT:
            raise UsageError(
                f"--secret {name}: longer than {SIZE_LIMIT // 1024} KiB",
                hint="copy the file instead: banger vm cp",
            )
        chosen[name] = Secret(name, value)
    if len(chosen) > COUNT_LIMIT:
        raise UsageError(
            f"more than {COUNT_LIMIT} secrets", hint="put them into one file: --secret NAME=file:PATH"
        )
    return tuple(chosen.values())


def _read(name: str, source: str) -> bytes:
    kind, colon, rest = source.partition(":")
    reader = _READERS.get(kind)
    if reader is None or (kind != "env" and not (colon and rest)):
        raise UsageError(f"--secret {name}: what stands after '=' is no source", hint=f"{name}={_KINDS}")
    return reader(name, rest)


def _read_variable(name: str, variable: str) -> bytes:
    value = os.environb.get(os.fsencode(variable or name))
    if value is None:
        raise UsageError(
            f"--secret {name}: there is no such variable here",
            hint=f"{name}=env:VARIABLE, or export it first",
        )
    return value


def _read_file(name: str, path: str) -> bytes:
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    try:
        with open(path, "rb", opener=lambda name, _: os.open(os.path.expanduser(name), flags)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UsageError(f"--secret {name}: {path[:200]} is no file", hint="name a file")
            return file.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise UsageError(
            f"--secret {name}: {path[:200]}: {error.strerror}", hint="see: ls -l on that path"
        ) from None


def _read_command(name: str, command: str) -> bytes:
    """Run the user's own command here, in the caller's terminal: it may ask for a passphrase."""
    try:
        with subprocess.Popen(("/bin/sh", "-c", command), stdout=subprocess.PIPE) as process:
            try:
                value, status = _read_output(process)
            finally:
                if process.poll() is None:
                    process.kill()
    except subprocess.TimeoutExpired:
        raise HostError(
            f"--secret {name}: its command did not end within {_PATIENCE:.0f} s",
            hint="run it by itself first",
        ) from None
    if status != 0:
        raise HostError(
            f"--secret {name}: its command ended with status {status}", hint="run it by itself first"
        )
    return value.removesuffix(b"\n")


def _read_output(process: subprocess.Popen[bytes]) -> tuple[bytes, int]:
    import select

    assert process.stdout is not None
    deadline, value = time.monotonic() + _PATIENCE, bytearray()
    descriptor = process.stdout.fileno()
    while len(value) <= SIZE_LIMIT:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            raise subprocess.TimeoutExpired("", _PATIENCE)
        data = os.read(descriptor, 65536)
        if not data:
            return bytes(value), process.wait(max(0.1, deadline - time.monotonic()))
        value += data
    return bytes(value), 0


def _read_keyring(name: str, entry: str) -> bytes:
    """Ask the desktop's keyring by the library ``keyring``, which is not always there."""
    service, slash, user = entry.partition("/")
    if not slash or not service or not user:
        raise UsageError(
            f"--secret {name}: a keyring's entry has a service and a user", hint="keyring:SERVICE/USER"
        )
    try:
        from importlib import import_module

        keyring = import_module("keyring")
    except ImportError:
        raise HostError(
            f"--secret {name}: the library for keyrings is not installed",
            hint="pip install 'banger[keyring]'",
        ) from None
    try:
        value = keyring.get_password(service, user)
    except Exception as error:
        raise HostError(
            f"--secret {name}: the keyring did not answer: {type(error).__name__}",
            hint="see: keyring diagnose",
        ) from None
    if value is None:
        raise NotFoundError(
            f"--secret {name}: the keyring has no such entry", hint=f"keyring set {service[:80]} {user[:80]}"
        )
    return str(value).encode()


_READERS: dict[str, Callable[[str, str], bytes]] = {
    "env": _read_variable,
    "file": _read_file,
    "cmd": _read_command,
    "keyring": _read_keyring,
}


def bring_secrets(client: Client, vm: str, secrets: tuple[Secret, ...]) -> dict[str, str]:
    """Put secrets into a running VM; return the variables that tell a command where: ``<NAME>_FILE``.

    :raises GuestError: the guest did not take them.
    """
    if not secrets:
        return {}
    from banger.cli.output import Progress
    from banger.cli.terminal import open_stream
    from banger.cli.transfer import Transfer

    # Below /run no link of the guest's is followed.
    params = {"vm": vm, "path": "/run", "base": ".", "directory": True, "user": "root"}
    answer = client.call("vm.cp.write", params)
    complaints: list[str] = []
    with closing(open_stream(answer["socket"], answer["token"])) as connection:
        status = Transfer(connection, Progress(), complaints.append).send(_records(secrets), None)
    if status != 0 or complaints:
        said = f": {complaints[0]}" if complaints else ""
        raise GuestError(
            f"the guest did not take its secrets{said}",
            hint=f"see: banger vm exec {answer['vm']} -- ls -ld {DIRECTORY}",
        )
    return {f"{secret.name}_FILE": f"{DIRECTORY}/{secret.name}" for secret in secrets}


def _records(secrets: tuple[Secret, ...]) -> Iterator[bytes]:
    now = time.time_ns()
    for name, mode in ((b"", 0o755), (b"banger", 0o755), (b"secrets", 0o700)):
        yield tree.encode(tree.Record(tree.DIRECTORY, name, mode, now))
    for secret in secrets:
        yield tree.encode(tree.Record(tree.FILE, os.fsencode(secret.name), 0o400, now, len(secret.value)))
        if secret.value:
            yield tree.encode(tree.Record(tree.DATA, time=0, payload=secret.value))
        yield tree.encode(tree.Record(tree.END, size=len(secret.value)))
    for _ in range(3):
        yield tree.encode(tree.Record(tree.END))
    yield tree.encode(tree.Record(tree.DONE))
