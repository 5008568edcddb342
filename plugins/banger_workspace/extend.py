"""What this plugin adds to ``vm run`` and ``vm exec``."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Any

import click

from banger.api import Extension, Place, Work

if TYPE_CHECKING:
    from banger.api import Client

#: Runs the command with the tools that the repository pins, where mise is installed.
_MISE = 'if command -v mise >/dev/null 2>&1; then exec mise exec -- "$@"; fi; exec "$@"'
WRAPPER = ("/bin/sh", "-c", _MISE, "sh")

SOURCE = (
    click.Option(["--guest-path"], help="where the repository arrives [/root/repo]"),
    click.Option(
        ["--mode"],
        type=click.Choice(["shallow_overlay", "full_copy", "metadata_only"]),
        default="shallow_overlay",
        show_default=True,
        help="the commit and the files as they are; with all history; the commit alone",
    ),
    click.Option(["--branch"], metavar="NAME", help="a branch for the guest only"),
    click.Option(["--from", "from_ref"], metavar="REF", help="where --branch begins [HEAD]"),
    click.Option(
        ["--include-untracked"], is_flag=True, help="bring untracked files, too; ignored ones never"
    ),
    click.Option(
        ["--readonly"], is_flag=True, help="take the write permission away, a reminder to the guest"
    ),
    click.Option(["--dry-run"], is_flag=True, help="list the files, do nothing"),
)

_NO_BOOTSTRAP = click.Option(
    ["--no-bootstrap"], is_flag=True, help="do not fetch the tools that the repository pins"
)


def _plan_run(choices: MutableMapping[str, Any]) -> Work | None:
    bootstrap = not choices.pop("no_bootstrap")
    taken = {option.name: choices.pop(str(option.name)) for option in SOURCE}
    path = choices.pop("path")
    if path is None:
        default = {"mode": "shallow_overlay"}
        given = [name for name, value in taken.items() if value not in (None, False, default.get(str(name)))]
        if given:
            option = {"from_ref": "--from"}.get(str(given[0]), "--" + str(given[0]).replace("_", "-"))
            raise click.UsageError(f"{option} needs the PATH of a repository: banger vm run . {option}")
        if not bootstrap:
            raise click.UsageError(
                "--no-bootstrap needs the PATH of a repository: banger vm run . --no-bootstrap"
            )
        return None
    from banger_workspace.newcomer import Newcomer
    from banger_workspace.prepare import read_repository, show_files

    found = read_repository(wanted_from(path, taken))
    if taken["dry_run"]:
        show_files(found)
        raise click.exceptions.Exit(0)
    newcomer = Newcomer(found, _find_tools(found, choices) if bootstrap else None)
    from banger.api import say

    for notice in found.notices():
        say(notice)

    return Work(newcomer.arrive, newcomer.stage)


def _find_tools(found: Any, choices: MutableMapping[str, Any]) -> Any:
    """Return what is to be fetched for people who come to work: a command alone gets what there is.

    :raises UsageError: there is something, and no way to fetch it.
    """
    if click.get_current_context().params.get("command"):
        return None
    from banger_workspace.tools import check_way_out, find_tools

    tools = find_tools(found)
    if tools:
        from banger.api import Client

        check_way_out(tools, Client(), choices)
    return tools or None


def wanted_from(path: str, taken: MutableMapping[Any, Any]) -> Any:
    """Return what the options ask for."""
    from banger_workspace.prepare import GUEST_PATH, Wanted

    return Wanted(
        path,
        taken["guest_path"] or GUEST_PATH,
        taken["mode"],
        taken["include_untracked"],
        taken["readonly"],
        taken["branch"],
        taken["from_ref"],
    )


def _plan_exec(choices: MutableMapping[str, Any]) -> Callable[[Client, str], Place] | None:
    guest_path, again = choices.pop("guest_path"), choices.pop("auto_prepare")
    if guest_path is None and click.get_current_context().params.get("user") not in (None, "root", "0"):
        return None  # the workspace is root's

    def work(client: Client, vm: str) -> Place:
        from banger_workspace.exec import find_place

        return find_place(client, vm, guest_path, auto_prepare=again)

    return work


vm_run = Extension(
    (click.Argument(["path"], required=False, type=click.Path()), *SOURCE, _NO_BOOTSTRAP), _plan_run
)
vm_exec = Extension(
    (
        click.Option(["--guest-path"], help="directory to run in [the workspace, where there is one]"),
        click.Option(["--auto-prepare"], is_flag=True, help="bring the repository again when its HEAD moved"),
    ),
    _plan_exec,
)
