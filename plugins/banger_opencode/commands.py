"""``vm opencode``."""

from __future__ import annotations

from typing import Any

import click

from banger.api import Client, ConflictError, NotFoundError, run_in_vm, run_piped


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("vm")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def opencode(vm: str, arguments: tuple[str, ...]) -> int:
    """Open opencode in a running VM, in its workspace where it has one; its exit status becomes banger's.

    Where the VM was made with `--with opencode:port=PORT`, attach to the server that runs there. With ARGUMENTS after
    `--` they go to opencode itself.

    \b
      banger vm opencode brisk-otter
      banger vm opencode brisk-otter -- run 'mend the failing test'
    """
    client = Client()
    detail = client.call("vm.show", {"vm": vm})["vm"]
    name = detail["name"]
    if detail["state"] != "running":
        raise ConflictError(f"'{name}' is not running", hint=f"banger vm start {name}")
    _check_there(client, detail)
    words = arguments[1:] if arguments[:1] == ("--",) else arguments
    return run_in_vm(
        client,
        detail["id"],
        _line("attach", str(_port(detail) or "none"), *words),
        env={},
        user="root",
        workdir=_workspace(client, detail["id"]),
    )


def _check_there(client: Client, detail: dict[str, Any]) -> None:
    from banger_opencode.step import MISSING

    if run_piped(client, detail["id"], _line("find"), silence=60.0).status == MISSING:
        raise NotFoundError(
            f"there is no opencode in '{detail['name']}'",
            hint="make a VM that has it: banger vm run PATH --with opencode; or an image with it",
        )


def _line(*words: str) -> tuple[str, ...]:
    from banger_opencode.step import SCRIPT

    return ("/bin/sh", "-c", SCRIPT, "opencode", *words)


def _port(detail: dict[str, Any]) -> int | None:
    """Return the port that opencode serves on; as of now, not as of the VM's next start."""
    spec = detail.get("running_spec") or detail["spec"]
    port = spec["capabilities"].get("opencode", {}).get("port")
    return int(port) if port is not None else None


def _workspace(client: Client, vm: str) -> str | None:
    """Return where the VM's repository is; None without one, or without the plugin that knows."""
    try:
        workspace = client.call("vm.workspace.show", {"vm": vm})["workspace"]
    except NotFoundError:
        return None
    return str(workspace["guest_path"]) if workspace is not None else None
