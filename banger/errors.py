"""One tree of exceptions. Each message is one line for a person; the hint names what to do next.

Only the command line and the daemon's edge turn these into text and exit codes. Anything that is not a
:class:`BangerError` is a bug and keeps its traceback.
"""

from __future__ import annotations

from typing import Any


class BangerError(Exception):
    """Base of every error banger shows to a person.

    :param message: one line, no trailing full stop needed.
    :param hint: the next command or setting to try.
    :param plugin: the plugin the error came from, where known.
    :param step: the start step the error came from, where known.
    """

    type = "error"
    status = 500

    def __init__(
        self, message: str, *, hint: str | None = None, plugin: str | None = None, step: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.plugin = plugin
        self.step = step
        self.op_id: str | None = None

    def to_problem(self) -> dict[str, Any]:
        """Return the ``application/problem+json`` members (RFC 9457) of this error, ``None`` ones left out."""
        members = {
            "type": f"banger:{self.type}",
            "title": type(self).__name__,
            "status": self.status,
            "detail": self.message,
            "hint": self.hint,
            "op_id": self.op_id,
            "plugin": self.plugin,
            "step": self.step,
        }
        return {key: value for key, value in members.items() if value is not None}


class UsageError(BangerError):
    """What was asked for makes no sense: a bad name, size or option."""

    type = "usage"
    status = 400


class NotFoundError(BangerError):
    """A named VM, image, kernel, network or plugin does not exist."""

    type = "not-found"
    status = 404


class ConflictError(BangerError):
    """The thing exists already, is in use, or is in the wrong state for this."""

    type = "conflict"
    status = 409


class ConfigError(BangerError):
    """A configuration file or setting is wrong; the message names file and dotted path."""

    type = "config"
    status = 400


class StoreError(BangerError):
    """The state directory or database cannot be used."""

    type = "store"


class HostError(BangerError):
    """The host cannot do what is needed: a missing binary, no permission, no space."""

    type = "host"


class ImageError(BangerError):
    """An image cannot be resolved, pulled or read."""

    type = "image"


class LoginError(ImageError):
    """A registry wants to know who asks; the client looks for a login and asks again.

    :param registry: ``host/path``, for which a login is wanted.
    """

    type = "login"

    def __init__(self, message: str, *, registry: str = "", **members: Any) -> None:
        super().__init__(message, **members)
        self.registry = registry

    def to_problem(self) -> dict[str, Any]:
        return {**super().to_problem(), "registry": self.registry}


class KernelError(BangerError):
    """A kernel cannot be resolved, pulled or read."""

    type = "kernel"


class NetworkError(BangerError):
    """A network attachment cannot be made."""

    type = "network"


class VmmError(BangerError):
    """The virtual machine monitor refused or died."""

    type = "vmm"


class GuestError(BangerError):
    """The guest did not do what it was asked to, or broke the protocol."""

    type = "guest"


class PluginError(BangerError):
    """A plugin is broken, missing or in conflict with another."""

    type = "plugin"


class StartError(BangerError):
    """A VM did not start; ``step`` and ``plugin`` say where."""

    type = "start"


class CancelledError(BangerError):
    """The operation was cancelled and undone."""

    type = "cancelled"
    status = 499


class DaemonError(BangerError):
    """The daemon cannot be reached or started."""

    type = "daemon"
    status = 503


class StaleDaemonError(DaemonError):
    """The daemon was started from something else than its client is; it ends, the client starts another."""

    type = "stale-daemon"


#: type member -> class, so that the client raises what the daemon raised.
ERRORS: dict[str, type[BangerError]] = {
    cls.type: cls
    for cls in (
        BangerError,
        UsageError,
        NotFoundError,
        ConflictError,
        ConfigError,
        StoreError,
        HostError,
        ImageError,
        LoginError,
        KernelError,
        NetworkError,
        VmmError,
        GuestError,
        PluginError,
        StartError,
        CancelledError,
        DaemonError,
        StaleDaemonError,
    )
}


def error_from_problem(problem: dict[str, Any]) -> BangerError:
    """Rebuild the error a daemon sent as ``application/problem+json``."""
    kind = str(problem.get("type", "")).removeprefix("banger:")
    error = ERRORS.get(kind, BangerError)(
        str(problem.get("detail") or problem.get("title") or "the daemon reported an error"),
        hint=problem.get("hint"),
        plugin=problem.get("plugin"),
        step=problem.get("step"),
    )
    error.op_id = problem.get("op_id")
    if isinstance(error, LoginError):
        error.registry = str(problem.get("registry", ""))
    return error
