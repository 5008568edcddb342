"""What can be built: suites, and named sets of packages on top of them."""

from __future__ import annotations

import difflib
import hashlib
import re
from dataclasses import dataclass, replace

from banger.api import NotFoundError, UsageError

#: Suites, each with the mmdebstrap options it needs.
SUITES: dict[str, tuple[str, ...]] = {
    # Its packages still ship /bin and /lib; the hook lays the links to /usr first, so that usrmerge, a
    # conversion program in Perl, is not installed.
    "bookworm": ("--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",),
    "trixie": (),
}

#: A systemd machine that is pleasant to work in; what a project needs beyond it is one ``apt install`` away.
LEAN = (
    *("systemd-sysv", "dbus", "udev", "procps", "sudo", "tzdata"),
    *("iproute2", "iputils-ping", "openssh-server", "ca-certificates", "curl"),
    *("bash-completion", "git", "jq", "kmod", "less", "ncurses-base", "ncurses-term", "tmux"),
)
#: Containers inside: the kernel's modules are the VM's own, and nftables' iptables is what Docker calls.
DOCKER = ("docker.io", "iptables", "apparmor")
#: For people and coding agents that build things.
DEV = (
    *("build-essential", "gdb", "pkg-config", "python3-venv", "pipx", "nodejs", "npm"),
    *("file", "fd-find", "ripgrep", "rsync", "unzip", "vim-tiny", "xz-utils", "zip"),
)

#: What may be called a package: Debian policy 5.6.1.
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]{1,63}\Z")
#: Packages that one reference may add.
_PACKAGES = 200
_NAME_LIMIT = 127


@dataclass(frozen=True, slots=True)
class Recipe:
    """What an image is built from: a suite, packages that are asked for by name, and whether tools.sh has its turn."""

    suite: str
    packages: tuple[str, ...]
    tools: bool = False


RECIPES: dict[str, Recipe] = {
    "bookworm": Recipe("bookworm", LEAN),
    "bookworm-docker": Recipe("bookworm", (*LEAN, *DOCKER)),
    "bookworm-dev": Recipe("bookworm", (*LEAN, *DEV), tools=True),
    "trixie": Recipe("trixie", LEAN),
}


def find_recipe(reference: str) -> Recipe:
    """Return what ``RECIPE`` or ``RECIPE+PACKAGE,PACKAGE…`` means.

    :raises NotFoundError: there is no such recipe. :raises UsageError: something is no name of a package.
    """
    name, plus, more = reference.partition("+")
    if name not in RECIPES:
        close = difflib.get_close_matches(name[:80], RECIPES, n=1)
        meant = f"did you mean debian:{close[0]}? " if close else ""
        there = ", ".join(f"debian:{known}" for known in RECIPES)
        raise NotFoundError(f"there is no image debian:{name[:80]}", hint=f"{meant}there is {there}")
    recipe = RECIPES[name]
    if not plus:
        return recipe
    added = more.split(",")
    wrong = next((package for package in added if not _PACKAGE.match(package)), None)
    if wrong is not None:
        example = f"debian:{name}+rsync,python3"
        raise UsageError(
            f"debian:{name}+: '{wrong[:80]}' is not the name of a package", hint=f"as in {example}"
        )
    if len(added) > _PACKAGES:
        raise UsageError(f"{len(added)} packages are too many for a reference", hint=f"at most {_PACKAGES}")
    return replace(recipe, packages=tuple(dict.fromkeys((*recipe.packages, *added))))


def default_name(reference: str) -> str:
    """Return ``debian-<recipe>`` and the packages it adds, a long list as a digest; errors as :func:`find_recipe`."""
    find_recipe(reference)
    name = "debian-" + re.sub(r"[+,]+", "-", reference).strip("-")
    name = name.replace("-+", "-")
    if len(name) > _NAME_LIMIT:
        digest = hashlib.sha256(reference.encode()).hexdigest()[:8]
        return f"{name[: _NAME_LIMIT - 9].rstrip('-.')}-{digest}"
    return name
