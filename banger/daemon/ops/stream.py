"""Operations that prepare a stream into a VM: a command, files."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, PlainValidator, WithJsonSchema

from banger.daemon.context import OperationContext
from banger.daemon.lifecycle import resolve_vm
from banger.daemon.ops.detail import VmParams, check_runs
from banger.daemon.starts import vm_paths
from banger.errors import UsageError
from banger.host.caller import find_proxies
from banger.model.command import Operation
from banger.model.image import Image
from banger.model.vm import Vm

#: The locale of commands where the guest lacks the caller's: every Debian since 12 has it.
_LANG = "C.UTF-8"
#: The longest word that a guest's kernel takes, characters.
_WORD_LIMIT = 131072


def _is_text(value: object) -> str:
    if not isinstance(value, str) or "\0" in value or len(value) > _WORD_LIMIT:
        raise ValueError(f"must be text of at most {_WORD_LIMIT} characters, without NUL")
    return value


def _fits_path(value: str) -> str:
    if not 0 < len(value) <= 4096:
        raise ValueError("must be a path of 1 to 4096 characters")
    return value


#: A word for the guest: what is no UTF-8 in it travels as Python's ``surrogateescape`` has it.
GuestText = Annotated[str, PlainValidator(_is_text), WithJsonSchema({"type": "string"})]
GuestPath = Annotated[GuestText, AfterValidator(_fits_path)]


class ExecOpenParams(VmParams):
    """A command to run in a VM; answered with a token for ``stream.sock``.

    ``user``: the image's user when not given, else root; ``cwd``: the user's home when not given;
    ``proxy``: set the caller's proxy variables; as ``defaults.proxy`` says when not given;
    ``time_zone``: a name of the zone data base, used where the guest has it;
    ``language``: a value for LANG, used where the guest has that locale, unless ``env`` or the image sets LANG;
    ``image_command``: the image's entrypoint and command are run instead of ``argv`` where it has any.
    """

    argv: tuple[GuestText, ...] = Field(min_length=1, max_length=4096)
    env: dict[GuestText, GuestText] = Field(default_factory=dict, max_length=1024)
    cwd: GuestPath | None = None
    user: str | None = Field(default=None, max_length=256)
    time_zone: str | None = Field(default=None, max_length=100)
    language: str | None = Field(default=None, max_length=100)
    proxy: bool | None = None
    image_command: bool = False
    tty: bool = False
    rows: int = Field(default=24, ge=1, le=65535)
    columns: int = Field(default=80, ge=1, le=65535)


class CopyOpenParams(VmParams):
    """Files to or from a VM; answered with a token for ``stream.sock``, on which the records of a tree pass.

    ``path``: absolute, or from the user's home; ``base``: what the source is called, for a target that is a directory;
    ``directory``: the source is one.
    """

    path: GuestPath
    user: str | None = Field(default=None, max_length=256)
    base: GuestText = ""
    directory: bool = False


class ListenOpenParams(VmParams):
    """A socket to make in a VM, for its root alone; answered with a token for ``stream.sock``.

    ``path``: in the guest. What connects to it comes as messages with the connection's number.
    """

    path: str = Field(pattern=r"^/run/banger/[a-z0-9.-]{1,80}$")


class RelayOpenParams(VmParams):
    """A TCP port of the guest's loopback, or a Unix socket in it; answered with a token for ``stream.sock``."""

    port: int | None = Field(default=None, ge=1, le=65535)
    unix: GuestPath | None = None


class StreamToken(BaseModel):
    """Good for one connection to ``socket`` within ten seconds: send ``BANGER/1 <token>`` and a newline."""

    token: str
    socket: str
    vm: str


async def open_exec(op: OperationContext, params: ExecOpenParams) -> StreamToken:
    """Prepare a command's stream."""
    vm = running_vm(op, params.vm)
    if not params.argv[0]:
        raise UsageError("the command's name is empty", hint="banger vm exec VM -- COMMAND")
    image = _image_of(op, vm)
    own = (*image.entrypoint, *image.cmd) if image and params.image_command else ()
    chosen = {**(image.env if image else {}), **_proxies(op, params.proxy), **params.env}
    language = None if "LANG" in chosen else params.language
    request: dict[str, Any] = {
        "op": "exec",
        "argv": list(own or params.argv),
        "env": {"LANG": _LANG, **chosen},
        "tty": params.tty,
        "rows": params.rows,
        "cols": params.columns,
    }
    user, cwd = (image.user or None, image.workdir or None) if image else (None, None)
    user, cwd = params.user or user, params.cwd or cwd
    optional = (("cwd", cwd), ("user", user), ("tz", params.time_zone), ("lang", language))
    request |= {key: value for key, value in optional if value is not None}
    return _issue(op, vm, "vm.exec", request)


async def open_listen(op: OperationContext, params: ListenOpenParams) -> StreamToken:
    """Prepare the stream of a socket in a VM whose connections the client answers."""
    vm = running_vm(op, params.vm)
    return _issue(op, vm, "vm.listen", {"op": "listen", "path": params.path})


async def open_relay(op: OperationContext, params: RelayOpenParams) -> StreamToken:
    """Prepare the stream of a connection to a server in the guest."""
    vm = running_vm(op, params.vm)
    given = params.model_dump(include={"port", "unix"}, exclude_none=True)
    if len(given) != 1:
        raise UsageError("a relay leads to a port or to a socket", hint=f"banger vm forward {vm.name} 8080")
    return _issue(op, vm, "vm.relay", {"op": "relay", **given})


async def open_read(op: OperationContext, params: CopyOpenParams) -> StreamToken:
    """Prepare the stream of files that come from a VM."""
    return _open_copy(op, params, "tree-read")


async def open_write(op: OperationContext, params: CopyOpenParams) -> StreamToken:
    """Prepare the stream of files that go to a VM."""
    return _open_copy(op, params, "tree-write")


def _open_copy(op: OperationContext, params: CopyOpenParams, what: str) -> StreamToken:
    vm = running_vm(op, params.vm)
    request: dict[str, Any] = {
        "op": what,
        "path": params.path,
        "base": params.base,
        "directory": params.directory,
    }
    if params.user is not None:
        request["user"] = params.user
    return _issue(op, vm, "vm.cp", request)


def running_vm(op: OperationContext, reference: str) -> Vm:
    """Return the VM that is meant; ConflictError unless it runs."""
    vm = resolve_vm(op.services, reference)
    check_runs(op.services, vm)
    return vm


def _image_of(op: OperationContext, vm: Vm) -> Image | None:
    """Return the image that a VM is pinned to, which says who runs commands, where and with which variables."""
    return next((image for image in op.services.database.images() if image.digest == vm.image), None)


def _proxies(op: OperationContext, wanted: bool | None) -> dict[str, str]:
    """Return the caller's proxies where a command is to have them: asked for with it, or by ``defaults.proxy``."""
    asked = op.services.settings.core.defaults.proxy if wanted is None else wanted
    return find_proxies() if asked else {}


def _issue(op: OperationContext, vm: Vm, name: str, request: dict[str, Any]) -> StreamToken:
    services = op.services
    token = services.streams.issue_request(vm.id, vm_paths(services, vm).channel, name, request)
    return StreamToken(token=token, socket=str(services.paths.stream_socket), vm=vm.name)


OPERATIONS = [
    Operation("vm.exec.open", "prepare a command's stream", ExecOpenParams, StreamToken, open_exec),
    Operation(
        "vm.listen.open", "prepare the stream of a socket in a VM", ListenOpenParams, StreamToken, open_listen
    ),
    Operation(
        "vm.relay.open", "prepare a connection to a server in a VM", RelayOpenParams, StreamToken, open_relay
    ),
    Operation("vm.cp.read", "prepare the stream of files from a VM", CopyOpenParams, StreamToken, open_read),
    Operation("vm.cp.write", "prepare the stream of files to a VM", CopyOpenParams, StreamToken, open_write),
]
