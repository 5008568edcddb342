"""``vm workspace prepare``, ``diff``, ``export`` and ``pull``."""

from __future__ import annotations

from typing import Any

import click

from banger.api import Client, print_json, say
from banger_workspace.extend import SOURCE, wanted_from

#: MiB of a patch or of a pull unless something else is said.
_MAX_MIB = 2048

_base = click.option(
    "--base-commit", metavar="REF", help="compare with this commit [the files as they arrived]"
)
_size = click.option(
    "--max-size",
    type=click.IntRange(1),
    default=_MAX_MIB,
    show_default=True,
    help="MiB taken at most from the guest",
)
_json = click.option("--json", "as_json", is_flag=True, help="print JSON")


@click.command(params=list(SOURCE))
@click.argument("vm")
@click.argument("path", required=False)
@click.option("--force", is_flag=True, help="throw away what the guest changed")
@_json
def prepare(vm: str, path: str | None, force: bool, as_json: bool, **taken: Any) -> None:
    """Bring the repository that PATH lies in into a running VM.

    Without PATH: the one that is there, again and in the same way. What the guest changed is never thrown away without
    --force.
    """
    from banger_workspace.place import look
    from banger_workspace.prepare import bring, read_repository, show_files

    client = Client()
    if path is None:
        from banger_workspace.exec import prepare_again
        from banger_workspace.place import resolve

        record = prepare_again(client, vm, resolve(client, vm)[1], force=force)
    else:
        found = read_repository(wanted_from(path, taken))
        if taken["dry_run"]:
            show_files(found)
            return
        for notice in found.notices():
            say(notice)
        record = bring(client, vm, found, force=force)
    if as_json:
        print_json(record)
    else:
        commit = (record["head"] or "no commit yet")[:12]
        print(f"{record['guest_path']} in {look(client, vm)['vm']} is at {commit}, branch {record['branch']}")


@click.command()
@click.argument("vm")
@_base
@click.option("--stat", "form", flag_value="stat", help="how much in which file, instead of the patch")
@click.option(
    "--name-only",
    "form",
    flag_value="names",
    help="names of files only, with a letter for what became of them",
)
@_size
@_json
def diff(vm: str, base_commit: str | None, form: str | None, max_size: int, as_json: bool) -> None:
    """Show what changed in the VM: committed, edited and new files, ignored ones never."""
    from banger_workspace.place import guest_of, locked, resolve
    from banger_workspace.take import changed_files, show_patch

    client = Client()
    detail, workspace = resolve(client, vm)
    guest, limit = guest_of(client, detail, workspace), max_size << 20
    with locked(detail):
        base = base_commit or workspace["tree"]
        if not as_json and form != "names":
            show_patch(guest, base, form or "patch", limit)
            return
        files = changed_files(guest, base, limit)
    if as_json:
        print_json([{"change": letter, "path": name} for letter, name in files])
    else:
        for letter, name in files:
            print(f"{letter} {name}")


@click.command()
@click.argument("vm")
@click.option("-o", "--output", metavar="FILE", help="file for the patch [standard output]")
@_base
@_size
def export(vm: str, output: str | None, base_commit: str | None, max_size: int) -> None:
    """Write what changed in the VM as a patch for git apply, binary files included."""
    from banger_workspace.place import guest_of, locked, resolve
    from banger_workspace.take import say_files, write_patch

    client = Client()
    detail, workspace = resolve(client, vm)
    guest, limit = guest_of(client, detail, workspace), max_size << 20
    with locked(detail):
        base = base_commit or workspace["tree"]
        files = write_patch(guest, base, output, limit)
    say_files(files)
    say(f"{len(files)} files changed" + (f"; the patch is in {output}" if output else ""))


@click.command()
@click.argument("vm")
@click.argument("path", required=False)
@click.option("--branch", "branches", multiple=True, metavar="NAME", help="only this branch of the guest's")
@_size
@click.option(
    "--max-objects",
    type=click.IntRange(1),
    default=1_000_000,
    show_default=True,
    help="git objects taken at most",
)
@_json
def pull(
    vm: str, path: str | None, branches: tuple[str, ...], max_size: int, max_objects: int, as_json: bool
) -> None:
    """Take the VM's commits as branches banger/VM/BRANCH of the repository they came from, or of PATH's.

    Nothing else of the repository changes: no tags, no hooks, no configuration, no files.
    """
    from banger_workspace.place import guest_of, locked, resolve
    from banger_workspace.pull import pull_branches

    client = Client()
    detail, workspace = resolve(client, vm)
    guest = guest_of(client, detail, workspace)
    with locked(detail):
        pulled = pull_branches(
            guest,
            path or workspace["source"],
            head=workspace["head"],
            wanted=branches,
            max_size=max_size << 20,
            max_objects=max_objects,
        )
    if as_json:
        print_json(
            [{"branch": taken.branch, "commit": taken.commit, "how": taken.how} for taken in pulled.taken]
        )
    for taken in () if as_json else pulled.taken:
        print(f"{taken.branch} {taken.commit[:12]} {taken.how}")
    if not pulled.taken:
        say(f"no commits that are not here in '{guest.name}'")
    if pulled.refused:
        say(f"note: branches left out for their names: {', '.join(pulled.refused[:10])}")
    if pulled.uncommitted:
        say(f"note: what is not committed stays there: banger vm workspace export {guest.name}")
