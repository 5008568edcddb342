"""Logins for registries, which plugins know how to find: entry points of the group ``banger.login``.

They run here and not in the daemon: what holds a user's secrets (a keyring, a helper program) belongs to his session.
"""

from __future__ import annotations

from importlib import import_module

from banger.errors import BangerError, PluginError


def find_login(registry: str) -> tuple[str, str] | None:
    """Return user and secret for ``host/path``, from the first plugin that knows one.

    :raises BangerError: a plugin could not look where it should.
    """
    from banger.config.fingerprint import entry_points

    for line in sorted(line.partition(" ")[2] for line in entry_points("banger.login")):
        name, _, target = (part.strip() for part in line.partition("="))
        module, _, attribute = target.partition(":")
        try:
            login = getattr(import_module(module), attribute)(registry)
        except BangerError:
            raise
        except Exception as error:
            raise PluginError(
                f"plugin '{name}' could not look for a login: {type(error).__name__}: {error}", plugin=name
            ) from error
        if login is not None:
            return login.user, login.secret
    return None
