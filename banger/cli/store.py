"""Commands on images and kernels."""

from __future__ import annotations

from typing import Any

import click

from banger.cli.client import Client
from banger.cli.output import age, print_json, print_pairs, print_table, say
from banger.cli.place import absolute_path, absolute_reference
from banger.cli.vm import json_option, run_operation
from banger.errors import UsageError
from banger.model.size import format_bytes


@click.command()
@click.argument("reference", metavar="NAME|SCHEME:REFERENCE", callback=absolute_reference)
@click.option("--name", help="what to call it here")
@click.option("--kernel-ref", metavar="KERNEL", help="boot it with a kernel that is here, or can be pulled")
@click.option(
    "--kernel", "kernel_file", metavar="FILE", callback=absolute_path, help="boot it with this kernel"
)
@click.option("--initrd", metavar="FILE", callback=absolute_path, help="kept with the kernel, not booted")
@click.option("--modules", metavar="DIR", callback=absolute_path, help="the kernel's /lib/modules/RELEASE")
@click.option("--size", help="of its disk, at least: 4G [as small as its content]")
@json_option
def image_pull(
    reference: str, name: str | None, kernel_file: str | None, as_json: bool, **choices: str | None
) -> None:
    """Get an image, for example debian-bookworm, docker.io/library/alpine:3.20 or oci-archive:./image.tar.

    A name is looked for in the catalogs first: banger image list --available.
    """
    if choices["kernel_ref"] and (kernel_file or choices["initrd"] or choices["modules"]):
        raise UsageError(
            "--kernel-ref goes with none of --kernel, --initrd and --modules", hint="name a kernel in one way"
        )
    wanted = {key: value for key, value in {"kernel": kernel_file, **choices}.items() if value is not None}
    image = run_operation("image.pull", {**_named(reference, name), **wanted})["image"]
    _pulled(image, as_json)


@click.command()
@click.argument("reference", metavar="NAME|SCHEME:REFERENCE")
@click.option("--name", help="what to call it here")
@click.option("--force", is_flag=True, help="get it again though it is here")
@json_option
def kernel_pull(reference: str, name: str | None, force: bool, as_json: bool) -> None:
    """Get a kernel, for example debian-bookworm or debian:trixie.

    With --force a newer one takes the name; VMs keep the kernel they were made with.
    """
    params = {**_named(reference, name), **({"force": True} if force else {})}
    kernel = run_operation("kernel.pull", params)["kernel"]
    _pulled(kernel, as_json)


def _named(reference: str, name: str | None) -> dict[str, Any]:
    return {"reference": reference, "name": name} if name else {"reference": reference}


def _pulled(thing: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(thing)
    else:
        print(f"{thing['name']} {thing['digest'][:19]} {format_bytes(thing['allocated_bytes'])}")


quiet_option = click.option("-q", "--quiet", is_flag=True, help="print names only")


@click.command()
@click.option("--available", is_flag=True, help="list what can be pulled, and whether it is here")
@json_option
@quiet_option
def image_list(available: bool, as_json: bool, quiet: bool) -> None:
    """List the images here, and those that can be had by name."""
    if available:
        answer = run_operation("image.list", {"ask": True})
        _list_offers(answer["offers"], as_json=as_json, quiet=quiet)
        return
    answer = Client().call("image.list")
    _list(answer["images"], answer["available"], "image", as_json=as_json, quiet=quiet)


@click.command()
@click.option("--available", is_flag=True, help="list what can be pulled, and whether it is here")
@json_option
@quiet_option
def kernel_list(available: bool, as_json: bool, quiet: bool) -> None:
    """List the kernels here, and those that can be had by name."""
    if available:
        answer = run_operation("kernel.list", {"ask": True})
        _list_offers(answer["offers"], as_json=as_json, quiet=quiet)
        return
    answer = Client().call("kernel.list")
    _list(answer["kernels"], answer["available"], "kernel", as_json=as_json, quiet=quiet)


def _list(
    things: list[dict[str, Any]], available: list[str], what: str, *, as_json: bool, quiet: bool
) -> None:
    if as_json:
        print_json(things)
        return
    if quiet:
        for thing in things:
            print(thing["name"])
        return
    if things:
        print_table(
            ("NAME", "DIGEST", "SIZE", "SOURCE", "CREATED"),
            (
                (
                    thing["name"],
                    thing["digest"][7:19],
                    format_bytes(thing["allocated_bytes"]),
                    thing["source"],
                    f"{age(thing['created_at'])} ago",
                )
                for thing in things
            ),
        )
    rest = [name for name in available if name not in {thing["name"] for thing in things}]
    if rest:
        say(f"can be pulled: {', '.join(rest)} (banger {what} pull NAME)")


def _list_offers(offers: list[dict[str, Any]], *, as_json: bool, quiet: bool) -> None:
    if as_json:
        print_json(offers)
        return
    if quiet:
        print("".join(f"{offer['name']}\n" for offer in offers), end="")
        return
    rows = [
        (
            offer["name"],
            offer["state"],
            format_bytes(offer["bytes"]) if offer["bytes"] is not None else "-",
            offer["reference"],
            offer["description"] or "-",
        )
        for offer in offers
    ]
    # sources of a distribution describe nothing: a column of dashes would say nothing
    shown = 5 if any(offer["description"] for offer in offers) else 4
    columns = ("NAME", "STATE", "SIZE", "SOURCE", "DESCRIPTION")[:shown]
    print_table(columns, [row[:shown] for row in rows])


@click.command()
@click.argument("name")
@json_option
def image_show(name: str, as_json: bool) -> None:
    """Show an image."""
    _show(Client().call("image.show", {"name": name}), "image", as_json)


@click.command()
@click.argument("name")
@json_option
def kernel_show(name: str, as_json: bool) -> None:
    """Show a kernel."""
    _show(Client().call("kernel.show", {"name": name}), "kernel", as_json)


#: Members of a record that only programs have use for.
_NOT_FOR_PEOPLE = ("mtime_ns",)


def _show(answer: dict[str, Any], what: str, as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    thing = answer[what]
    sizes = {"allocated_bytes": "on disk", "size_bytes": "file system"}
    pairs = [
        (sizes.get(key, key.replace("_", " ")), format_bytes(value) if key in sizes else _text(value))
        for key, value in thing.items()
        if value not in (None, {}, [], "") and key not in _NOT_FOR_PEOPLE
    ]
    print_pairs([*pairs, ("used by", ", ".join(answer["used_by"]))])


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        value = [f"{key}={inner}" for key, inner in value.items()]
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


names_argument = click.argument("names", nargs=-1, required=True, metavar="NAME...")


@click.command()
@names_argument
@json_option
def image_delete(names: tuple[str, ...], as_json: bool) -> int:
    """Delete images that no VM uses."""
    return _delete("image", "image.delete", names, as_json)


@click.command()
@names_argument
@json_option
def kernel_rm(names: tuple[str, ...], as_json: bool) -> int:
    """Delete kernels that no VM uses."""
    return _delete("kernel", "kernel.rm", names, as_json)


def _delete(what: str, operation: str, names: tuple[str, ...], as_json: bool) -> int:
    """Delete one after the other; return the exit status, 1 when one of several could not be deleted."""
    from banger.cli.main import show_error
    from banger.errors import BangerError

    client, gone, failed = Client(), [], False
    for name in dict.fromkeys(names):
        try:
            gone.append(client.call(operation, {"name": name})[what])
        except BangerError as error:
            if len(names) == 1:
                raise
            failed = True
            show_error(error)
        else:
            if not as_json:
                print(f"{gone[-1]['name']} deleted")
    if as_json:
        print_json(gone[0] if len(names) == 1 else gone)
    return 1 if failed else 0
