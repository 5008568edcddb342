"""Tools that a repository pins, and what says so: read on the host, fetched in the guest, in the background."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from banger.api import BangerError, Client, UsageError, run_piped, say
from banger_workspace.archive import Tree, open_entry

if TYPE_CHECKING:
    from banger_workspace.prepare import Import

#: In the guest: what fetching them says.
LOG = "/root/.cache/banger/tools.log"
#: Bytes of a file that pins something.
_SIZE = 64 * 1024
#: A version as tools have them, which is a word of a command in the guest.
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}")
#: Names of tools in mise's own files.
_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z.:@/_-]{0,99}")
#: mise reads these itself (https://mise.jdx.dev/configuration.html).
_OWN = ("mise.toml", ".mise.toml", ".config/mise.toml", ".tool-versions")


@dataclass(frozen=True, slots=True)
class Tools:
    """What is to be fetched.

    :param own: mise's own files, which it reads itself. :param pins: ``tool@version`` and the file that says so.
    :param skipped: a file, and why it pins nothing that can be fetched.
    """

    own: tuple[str, ...] = ()
    pins: tuple[tuple[str, str], ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.own or self.pins)

    def describe(self) -> str:
        """Return all of it in a line."""
        parts = [*self.own, *(f"{pin} ({file})" for pin, file in self.pins)]
        left = "".join(f"; {file} left out: {why}" for file, why in self.skipped)
        return f"{', '.join(parts)}{left}"


def find_tools(found: Import) -> Tools:
    """Read what the repository pins in those of its files that arrive."""
    texts = _read(found, (*_OWN, *_READERS))
    own = tuple(file for file in _OWN if file in texts)
    managed = {name for file in own for name in _managed(file, texts[file])}
    pins: dict[str, tuple[str, str]] = {}
    skipped: list[tuple[str, str]] = []
    for file, (tool, read) in _READERS.items():
        if file not in texts or tool in managed or tool in pins:
            continue
        version = read(texts[file])
        if version is None or _VERSION.fullmatch(version) is None or version == "system":
            skipped.append((file, "no version that can be fetched"))
        else:
            pins[tool] = (f"{tool}@{version}", file)
    return Tools(own, tuple(pins.values()), tuple(skipped))


def check_way_out(tools: Tools, client: Client, choices: Mapping[str, Any]) -> None:
    """Refuse before a VM exists what could only fail in it.

    :param choices: what ``vm run`` was asked for: network, capabilities.
    :raises UsageError: the VM would have no way out into the network.
    """
    wanted = {"network": choices.get("network"), "nat": bool(choices.get("nat"))}
    lists = {"with": list(choices.get("with_") or ()), "without": list(choices.get("without") or ())}
    answer = client.call("vm.workspace.egress", {**wanted, **lists})
    if not answer["egress"]:
        raise UsageError(
            f"the repository pins tools ({tools.describe()}), and network '{answer['network']}' leaves no way out "
            "to fetch them",
            hint="--no-bootstrap does without; --nat, or another --net, may lead out",
        )


def fetch(tools: Tools, client: Client, vm: str, guest_path: str) -> None:
    """Begin to fetch them in a running VM; nothing waits for the end, and nothing fails for it."""
    script = files("banger_workspace").joinpath("tools.sh").read_text(encoding="utf-8")
    own = "yes" if tools.own else "no"
    words = ("tools", "begin", script, "/etc/profile.d", guest_path, own, *(pin for pin, _ in tools.pins))
    try:
        ended = run_piped(client, vm, ("/bin/sh", "-c", script, *words), silence=60.0)
        problem = None if ended.status == 0 else ended.said
    except BangerError as error:
        problem = error.message
    if problem is not None:
        say(f"note: tools are not fetched: {problem}")
        return
    say(f"tools are fetched in the background: {tools.describe()}; log in the VM: {LOG}")


def _read(found: Import, names: tuple[str, ...]) -> dict[str, str]:
    """Return the text of those files that arrive, as they arrive."""
    from banger_workspace.changes import Changes

    repository = found.repository
    as_committed = found.changes == Changes() and repository.head is not None
    if as_committed:
        listed = repository.git.fields("ls-tree", "-z", "--name-only", str(repository.head), "--", *names)
    else:
        listed = repository.git.fields("ls-files", "-z", "--", *names)
        listed += [path for path in found.changes.sent if path.decode("latin-1") in names]
    texts: dict[str, str] = {}
    for path in dict.fromkeys(listed):
        name = path.decode("latin-1")
        data = _blob(found, name) if as_committed else _file(found, path)
        if data is not None and len(data) <= _SIZE:
            texts[name] = data.decode(errors="replace")
    return texts


def _blob(found: Import, name: str) -> bytes | None:
    git, which = found.repository.git, f"{found.repository.head}:{name}"
    size = git.text("cat-file", "-s", which)
    return git.ask("cat-file", "blob", which) if size is not None and int(size) <= _SIZE else None


def _file(found: Import, path: bytes) -> bytes | None:
    """Return a file's content; None for one that is gone, too large, or a link, which may point anywhere."""
    try:
        with Tree(found.repository.top) as tree, open_entry(tree, path) as entry:
            if entry.link is not None or entry.status.st_size > _SIZE:
                return None
            return b"".join(entry.pieces)
    except BangerError:
        return None


def _managed(file: str, text: str) -> Iterator[str]:
    """Yield the tools that a file of mise's own names."""
    if file == ".tool-versions":
        yield from (line.split()[0] for line in text.splitlines() if line.split() and line[:1] != "#")
        return
    with suppress(tomllib.TOMLDecodeError, RecursionError):
        tools = tomllib.loads(text).get("tools")
        yield from (name for name in (tools if isinstance(tools, dict) else {}) if _NAME.fullmatch(name))


def _first_line(text: str) -> str | None:
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return next(filter(None, lines), None)


def _node(text: str) -> str | None:
    line = _first_line(text)
    aliases = {"lts/*": "lts", "node": "latest", "stable": "latest", "current": "latest"}
    return aliases.get(line, line.removeprefix("v")) if line is not None else None


def _go(text: str) -> str | None:
    for pattern in (r"^toolchain\s+go([0-9][0-9A-Za-z.]*)", r"^go\s+([0-9][0-9A-Za-z.]*)"):
        said = re.search(pattern, text, re.MULTILINE)
        if said is not None:
            return said[1]
    return None


def _rust(text: str) -> str | None:
    with suppress(tomllib.TOMLDecodeError, RecursionError):
        table = tomllib.loads(text).get("toolchain")
        channel = table.get("channel") if isinstance(table, dict) else None
        return channel if isinstance(channel, str) else None
    return _first_line(text)


#: File -> the tool it pins, and how its version is read; of two for one tool the first counts.
_READERS: dict[str, tuple[str, Callable[[str], str | None]]] = {
    ".node-version": ("node", _node),
    ".nvmrc": ("node", _node),
    ".python-version": ("python", _first_line),
    "go.mod": ("go", _go),
    "rust-toolchain.toml": ("rust", _rust),
    "rust-toolchain": ("rust", _rust),
}
