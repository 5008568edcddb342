"""Logins that docker and podman keep: their files, and the helper programs that the files name. Runs in the client."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from banger.api import Commands, ConfigError, HostCommands, HostError, Login

#: Bytes of a file of logins, seconds for a helper, what a helper's name is made of.
_FILE_LIMIT, _HELPER_SECONDS = 1024 * 1024, 30.0
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
#: Docker Hub's name in those files.
_HUB = "https://index.docker.io/v1/"


def find_login(
    registry: str, commands: Commands | None = None, env: Mapping[str, str] = os.environ
) -> Login | None:
    """Return the login for ``host/path``; None when no file has one.

    ``REGISTRY_AUTH_FILE`` alone, where it is set; else podman's file, then docker's.

    :raises ConfigError: a file cannot be read.
    :raises HostError: a helper that a file names for this registry failed.
    """
    for file in _files(env):
        known = _read(file)
        if known is not None:
            login = _find(known, registry, file, commands or HostCommands(), env)
            if login is not None:
                return login
    return None


def _files(env: Mapping[str, str]) -> Iterator[Path]:
    if chosen := env.get("REGISTRY_AUTH_FILE"):
        yield Path(chosen)
        return
    home = Path(env.get("HOME") or Path.home())
    if run_time := env.get("XDG_RUNTIME_DIR"):
        yield Path(run_time, "containers/auth.json")
    yield Path(env.get("XDG_CONFIG_HOME") or home / ".config", "containers/auth.json")
    yield Path(env.get("DOCKER_CONFIG") or home / ".docker", "config.json")


def _read(path: Path) -> dict[str, Any] | None:
    try:
        with open(path, "rb") as file:
            value = json.loads(file.read(_FILE_LIMIT))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        # What a JSON error quotes may be a secret.
        what = error.strerror if isinstance(error, OSError) else "it is no JSON"
        raise ConfigError(f"the logins in {path} cannot be read: {what}", hint="look at that file") from None
    if not isinstance(value, dict):
        raise ConfigError(f"the logins in {path} cannot be read: it is no object", hint="look at that file")
    return value


def _find(
    known: dict[str, Any], registry: str, file: Path, commands: Commands, env: Mapping[str, str]
) -> Login | None:
    names = list(_names(registry))
    helpers, auths = (_table(known.get(key)) for key in ("credHelpers", "auths"))
    helper = next((helpers[name] for name in names if name in helpers), None)
    if helper is not None:
        return _ask(helper, registry, file, commands, env)
    for name in names:
        login = _decode(auths.get(name), file)
        if login is not None:
            return login
    store = known.get("credsStore")
    return _ask(store, registry, file, commands, env) if store else None


def _names(registry: str) -> Iterator[str]:
    """Yield what a registry is called in those files, the closest first: podman has logins for parts of one."""
    parts = registry.split("/")
    for length in range(len(parts), 0, -1):
        yield "/".join(parts[:length])
    host = parts[0]
    if host == "docker.io":
        yield from (_HUB, "index.docker.io", "registry-1.docker.io")
    yield from (f"https://{host}", f"https://{host}/v1/", f"https://{host}/v2/", f"http://{host}")


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _decode(entry: Any, file: Path) -> Login | None:
    entry = _table(entry)
    token, packed = entry.get("identitytoken"), entry.get("auth")
    if isinstance(token, str) and token:
        return Login("", token)
    if not isinstance(packed, str) or not packed:
        return None
    try:
        user, colon, secret = base64.b64decode(packed, validate=True).decode().partition(":")
    except ValueError:
        colon = ""
    if not colon:
        raise ConfigError(f"a login in {file} cannot be read", hint="log in again with docker or podman")
    return Login(user, secret.rstrip("\0"))


def _ask(helper: Any, registry: str, file: Path, commands: Commands, env: Mapping[str, str]) -> Login | None:
    if not isinstance(helper, str) or not _HELPER.match(helper):
        raise ConfigError(f"{file} names a credential helper that cannot be one", hint="look at that file")
    host = registry.partition("/")[0]
    asked = _HUB if host == "docker.io" else host
    program = f"docker-credential-{helper}"
    done = commands.run(
        [program, "get"], timeout=_HELPER_SECONDS, input=asked.encode(), env=dict(env), check=False
    )
    if done.status != 0:
        if b"not found" in done.stdout + done.stderr:
            return None
        # What it printed may be a secret.
        raise HostError(
            f"{program} ended with status {done.status}", hint=f"try: echo {asked} | {program} get"
        )
    try:
        value = _table(json.loads(done.stdout))
    except (ValueError, RecursionError):
        value = {}
    user, secret = value.get("Username"), value.get("Secret")
    if not isinstance(user, str) or not isinstance(secret, str) or not secret:
        raise HostError(f"{program} printed no login", hint=f"try: echo {asked} | {program} get")
    return Login("" if user == "<token>" else user, secret)
