"""``bangerd``: one per state directory. Started by the CLI on its first call, or by hand."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import json
import logging
import os
import signal
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from banger.build import version_line
from banger.config.fingerprint import fingerprint
from banger.config.paths import Paths, find_paths, make_directories, make_private
from banger.config.settings import PluginSettings, Settings, read_settings, salvage_settings
from banger.daemon.log import set_up_log
from banger.errors import BangerError, ConfigError, DaemonError, PluginError
from banger.host.process import close_inherited
from banger.model.name import unknown_hint
from banger.plugins import Plugins, find_plugins

if TYPE_CHECKING:
    from banger.daemon.services import Services

log = logging.getLogger(__name__)

#: Seconds a new daemon waits for the one it replaces to end.
_LOCK_SECONDS = 60.0
#: Seconds that operations under way get to undo what they did when the daemon ends.
_FINISH_SECONDS = 30.0
#: Seconds between two looks at whether the socket is still this daemon's.
_REPLACED_SECONDS = 60.0


#: The lock's file, open until the process is gone, its last thread included.
_held: list[IO[str]] = []


def main() -> None:
    """Run the daemon until it is told to stop. Exit status 0, or 1 with one line on standard error."""
    if "--version" in sys.argv[1:]:
        print(version_line().replace("banger", "bangerd", 1))
        return
    close_inherited()
    try:
        paths = find_paths()
        make_private(paths.state)
        _held.append(_take_lock(paths))
        set_up_log(paths)
        asyncio.run(_serve(paths))
    except BangerError as error:
        print(f"bangerd: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        raise SystemExit(1) from None
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
        if not full:
            traceback.print_exc()
        print(f"bangerd: {error.filename or paths.state}: {error.strerror}", file=sys.stderr)
        where = f"free some space (df -h {paths.state})" if full else f"look at it: ls -ld {error.filename}"
        print(f"hint: {where}, or set XDG_STATE_HOME to another place", file=sys.stderr)
        raise SystemExit(1) from None


def _take_lock(paths: Paths) -> IO[str]:
    """Hold the state directory's lock for as long as this process lives; two daemons never share one."""
    try:
        lock = open(paths.lock, "a+", encoding="ascii")  # noqa: SIM115
    except OSError as error:
        raise DaemonError(
            f"{paths.lock} cannot be written: {error.strerror}",
            hint="check the permissions of the state directory",
        ) from error
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError:
            if time.monotonic() > deadline or answers(paths.daemon_socket):
                lock.close()
                raise DaemonError("another daemon is running", hint="banger daemon status") from None
            time.sleep(0.02)
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def answers(path: Path) -> bool:
    """Tell whether somebody listens on a Unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def bind_socket(path: Path) -> socket.socket:
    """Return a listening Unix socket at ``path``, 0600 from its first moment; a stale one is replaced.

    The caller holds the state directory's lock, so whatever is at ``path`` is stale once nobody answers there.
    """
    if answers(path):
        raise DaemonError(f"something answers at {path} already", hint="banger daemon status")
    if path.is_dir():
        raise DaemonError(f"{path}, where the daemon listens, is a directory", hint=f"mv {path} {path}.old")
    temporary = path.with_name(f".{os.getpid() % 1000}")
    temporary.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        server.bind(str(temporary))
    finally:
        os.umask(mask)
    temporary.chmod(0o600)
    server.listen(128)
    temporary.rename(path)
    return server


def load_plugins(settings: Settings) -> Plugins:
    """Load every installed plugin that is not disabled; ``BANGER_PLUGINS=builtin`` leaves third parties out."""
    plugins, found = Plugins(), find_plugins()
    third_parties = os.environ.get("BANGER_PLUGINS") != "builtin"
    disabled = set(settings.core.disabled)
    if settings.problem is not None:  # which may be that one of them is not installed
        disabled &= {point.name for point in found} - {"core"}
    plugins.load(found, disabled=disabled, third_parties=third_parties)
    if "core" not in plugins.loaded:
        failed = plugins.failed.get("core")
        reason = failed.reason if failed else "its entry point is not installed"
        raise PluginError(
            f"banger's own core does not load: {reason}", hint="pip install --force-reinstall banger"
        )
    return plugins


def mount_settings(plugins: Plugins, settings: Settings) -> PluginSettings:
    """Check every ``[plugins.<name>]`` table against its plugin's model; a plugin whose model is no good is taken out.

    :raises ConfigError: what the user wrote does not fit, or names a plugin that is not installed.
    """
    mounted = PluginSettings(settings.problem)
    for name, target in plugins.declared("settings"):
        if name not in plugins.loaded or settings.problem is not None:
            continue
        try:
            mounted.mount(name, target, settings)
        except ConfigError:
            raise
        except Exception as error:
            plugins.fail(plugins.loaded[name].found, f"its settings: {error}", traceback.format_exc())
    known = {*plugins.loaded, *plugins.failed, *plugins.disabled}
    for name in settings.tables:
        if name not in known:
            raise ConfigError(
                f"{settings.origin(f'plugins.{name}')}: unknown key plugins.{name}: no such plugin is installed",
                hint=unknown_hint(name, known, "see: banger plugins list"),
            )
    return mounted


def make_services(paths: Paths, settings: Settings, plugins: Plugins, mark: str) -> Services:
    """Build the daemon's parts, on the loop they are to live on; the directories they need are made.

    :param mark: the fingerprint of what was read to get here.
    """
    from banger.daemon.guests import Guests
    from banger.daemon.services import Services, fill_registries
    from banger.daemon.streams import Streams
    from banger.daemon.supervisor import Supervisor
    from banger.store.database import Database

    plugin_settings = mount_settings(plugins, settings)
    make_directories(paths)
    services = Services(
        paths=paths,
        settings=settings,
        plugins=plugins,
        plugin_settings=plugin_settings,
        registries=fill_registries(plugins),
        database=Database(paths.database),
        loop=asyncio.get_running_loop(),
        fingerprint=mark,
        fingerprint_digest=hashlib.sha256(mark.encode()).hexdigest()[:32],
    )
    services.guests, services.streams = Guests(services.statuses, services.complaints), Streams(services)
    services.supervisor = Supervisor(services)
    return services


def _configure(paths: Paths, mark: str) -> Services:
    """Build the daemon's parts as the files say; where they do not hold, those that work without."""
    try:
        settings = read_settings(paths.config, personal=paths.config[-1] if paths.is_system else None)
        services = make_services(paths, settings, load_plugins(settings), mark)
    except ConfigError as problem:
        log.error("the configuration cannot be used: %s", problem.message)
        settings = salvage_settings(paths.config, problem)
        services = make_services(paths, settings, load_plugins(settings), mark)
    logging.getLogger().setLevel(settings.core.log_level.upper())
    return services


async def _serve(paths: Paths) -> None:
    from banger.daemon.app import make_app
    from banger.daemon.console import bound_consoles
    from banger.daemon.reconcile import reconcile
    from banger.daemon.server import serve_http
    from banger.daemon.wake import watch_clock

    mark = fingerprint(paths.config, is_system=paths.is_system)
    services = _configure(paths, mark)
    plugins = services.plugins
    write_commands(services)
    for failed in plugins.failed.values():
        log.error("plugin %s is left out: %s\n%s", failed.found.name, failed.reason, failed.trace)
    services.operations.recover(paths.operations)
    await reconcile(services)
    consoles = asyncio.create_task(bound_consoles(services))
    unwatch_clock = watch_clock(services)
    for number in (signal.SIGTERM, signal.SIGINT):
        services.loop.add_signal_handler(number, services.stopping.set)
    stream_socket, http_socket = bind_socket(paths.stream_socket), bind_socket(paths.daemon_socket)
    streams = await asyncio.start_unix_server(services.streams.serve, sock=stream_socket)
    services.supervisor.start()
    log.info("serving at %s, process %d", paths.daemon_socket, os.getpid())
    ending = [
        asyncio.create_task(work) for work in (_cancel_when_stopping(services), _end_when_replaced(services))
    ]
    ours = paths.daemon_socket.stat().st_ino
    try:
        await serve_http(make_app(services), http_socket, services.stopping)
    finally:
        for task in (*ending, consoles):
            task.cancel()
        unwatch_clock()
        streams.close()
        if _inode(paths.daemon_socket) == ours:
            for path in (paths.daemon_socket, paths.stream_socket):
                path.unlink(missing_ok=True)
        late = await services.supervisor.close() + await _finish_work(services)
        await services.guests.close()
        services.database.close()
        log.info("ended")
        if late:  # their threads would keep the process, and with it the lock; the next daemon reconciles
            logging.shutdown()
            os._exit(0)


async def _cancel_when_stopping(services: Services) -> None:
    """Cancel what runs as soon as the daemon is to end; each undoes what it did."""
    await services.stopping.wait()
    for record in services.operations.running():
        record.cancel.set()


async def _end_when_replaced(services: Services) -> None:
    """End a daemon that nobody can reach any more because its socket was removed or is another daemon's."""
    ours = _inode(services.paths.daemon_socket)
    while _inode(services.paths.daemon_socket) == ours:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(services.stopping.wait(), _REPLACED_SECONDS)
            return
    log.error("%s is gone or another daemon's; ending", services.paths.daemon_socket)
    services.stopping.set()


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


async def _finish_work(services: Services) -> int:
    """Wait, bounded, until no thread works any more, and return how many do; the next daemon reconciles them."""
    late: set[asyncio.Future[Any]] = set()
    work = {*services.tasks, *services.background}
    if work:
        _, late = await asyncio.wait(work, timeout=_FINISH_SECONDS)
        if late:
            log.error("%d operations did not end within %.0f s", len(late), _FINISH_SECONDS)
    services.pool.shutdown(wait=False, cancel_futures=True)
    return len(late)


def write_commands(services: Services) -> None:
    """Write down the commands there are, for the command line, which loads no plugin."""
    table = [
        {"name": command.name, "help": command.help, "target": command.target}
        for command in services.registries.commands.values()
    ]
    content = {"fingerprint": services.fingerprint_digest, "commands": table}
    temporary = services.paths.commands.with_suffix(".tmp")
    temporary.write_text(json.dumps(content))
    temporary.rename(services.paths.commands)


if __name__ == "__main__":
    main()
