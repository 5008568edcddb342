"""``vm run`` and ``vm create``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import click

from banger.cli.client import Client
from banger.cli.environment import collect_environment
from banger.cli.escape import SessionLeft, check_escape
from banger.cli.extension import ExtendedCommand, Place, Plans, plan_extensions, wrap_command
from banger.cli.lend import collect_loan
from banger.cli.output import Progress, leave_line, say
from banger.cli.place import absolute_reference
from banger.cli.project import Plan, plan_project
from banger.cli.vm import cancel, describe_ports, json_option, run_operation, show_detail
from banger.cli.vm_exec import command_options, run_in_vm, say_left, say_running
from banger.errors import BangerError, UsageError

F = Callable[..., Any]


def size_options(command: F) -> F:
    """Add the options that describe a new VM; each is read from ``BANGER_<NAME>`` too."""
    options = (
        click.option("--name", help="1 to 63 of a-z, 0-9 and '-'; made up when not given"),
        click.option(
            "--image",
            envvar="BANGER_IMAGE",
            callback=absolute_reference,
            help="image name or reference [debian-bookworm]",
        ),
        click.option("--kernel", envvar="BANGER_KERNEL", help="kernel name or reference [the image's]"),
        click.option(
            "--vcpu", type=int, envvar="BANGER_VCPU", help="processors [a quarter of the host's, 4 at most]"
        ),
        click.option(
            "--memory", envvar="BANGER_MEMORY", help="like 2G or 512M [an eighth of the host's, 8G at most]"
        ),
        click.option("--disk-size", envvar="BANGER_DISK_SIZE", help="work disk, /root [8G, sparse]"),
        click.option("--overlay-size", envvar="BANGER_OVERLAY_SIZE", help="root disk [8G, sparse]"),
        click.option("--vmm", envvar="BANGER_VMM", help="virtual machine monitor"),
        click.option(
            "--accel", type=click.Choice(["auto", "kvm", "tcg"]), default="auto", envvar="BANGER_ACCEL"
        ),
        click.option(
            "--init",
            type=click.Choice(["image", "agent", "provisioned"]),
            envvar="BANGER_INIT",
            help="the image's own init, if any; the guest agent; or one that is installed first [image]",
        ),
        click.option("--net", "network", envvar="BANGER_NET", help="network mode"),
        click.option(
            "--publish", "-p", multiple=True, metavar="[HOST:]GUEST", help="make a guest's TCP port reachable"
        ),
        click.option("--label", multiple=True, metavar="KEY=VALUE", help="a note to find it again by"),
        click.option("--with", "with_", multiple=True, metavar="NAME[:K=V,…]", help="turn a capability on"),
        click.option(
            "--auth",
            multiple=True,
            metavar="NAME",
            help="lend it credentials (banger auth list); none: nothing",
        ),
        click.option("--overcommit", is_flag=True, help="although the host lacks the memory or disk now"),
        click.option("--nat", is_flag=True, help="a way out into the network, as with --with nat"),
        click.option("--without", multiple=True, metavar="NAME", help="turn a capability off"),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _params(choices: dict[str, Any]) -> dict[str, Any]:
    choices["with"] = choices.pop("with_")
    for name in ("nat", "overcommit"):
        choices[name] = choices.pop(name) or None
    return {key: value for key, value in choices.items() if value not in (None, ())}


def _given(content: str | None) -> dict[str, str]:
    return {} if content is None else {"content": content}


@click.command(cls=ExtendedCommand, group="banger.vm-create")
@size_options
@click.option("--wait", type=click.Choice(["agent", "system"]), default="system", show_default=True)
@click.option("--no-start", is_flag=True, help="create it only")
@json_option
def create(wait: str, no_start: bool, as_json: bool, **choices: Any) -> None:
    """Create a VM and start it; it stays until it is deleted."""
    plan_extensions(choices)
    detail = run_operation("vm.create", {**_params(choices), "wait": wait, "start": not no_start})
    show_detail(detail, as_json, "created" if no_start else "is running")


@click.command(cls=ExtendedCommand, group="banger.vm-run", dashes=True)
@size_options
@click.option(
    "--wait",
    type=click.Choice(["agent", "system"]),
    help="run the command at once, or when the init is up [agent; system with --detach]",
)
@click.option("--rm", "remove", is_flag=True, help="delete the VM when the command ends")
@click.option("--no-project", is_flag=True, help="leave the repository's banger.toml out")
@click.option("-d", "--detach", is_flag=True, help="leave the VM running, run nothing")
@click.option("--json", "as_json", is_flag=True, help="with --detach: print the VM as JSON")
@command_options
def run(
    remove: bool,
    detach: bool,
    as_json: bool,
    env: tuple[str, ...],
    env_file: tuple[str, ...],
    user: str | None,
    workdir: str | None,
    proxy: bool | None,
    escape: str,
    secret: tuple[str, ...],
    ssh_agent: bool,
    ssh_key: tuple[str, ...],
    wait: str | None,
    command: tuple[str, ...],
    **choices: Any,
) -> int:
    """Create a VM and run COMMAND in it, or what its image is made to run, or a shell.

    \b
      banger vm run                        a shell in a new VM
      banger vm run --rm -- uname -r       one command, and the VM is gone
      banger vm run --rm --wait system -- ./needs-services.sh
      banger vm run -d -p 8080             a VM in the background
    """
    _check_flags(detach, remove or bool(command), as_json, ssh_agent)
    environment, character = collect_environment(env, env_file), check_escape(escape)
    project = plan_project(choices)
    environment = {**project.env, **environment}
    # An agent that the project asks for is no use to a VM that is only left running.
    wants_agent = ssh_agent or (project.ssh_agent and not detach)
    loan = collect_loan((*project.secrets, *secret), wants_agent, ssh_key)
    prepare = plan_extensions(choices)
    if detach:
        client = Client()
        with prepare.staged(client.paths.handover) as content:
            params = {**_params(choices), "wait": wait or "system", **_given(content)}
            detail = run_operation("vm.create", params)
        given = {**loan.bring(client, detail["vm"]["id"]), **environment}
        _settle(client, detail, project, prepare, given)
        show_detail(detail, as_json, "is running")
        return 0
    client, progress = Client(), Progress()
    vm: dict[str, Any] | None = None
    try:
        with prepare.staged(client.paths.handover) as content:
            params = {**_params(choices), "wait": wait or "agent", "remove": remove, **_given(content)}
            detail = client.call("vm.create", params, on_event=progress, hold=remove)
        vm = detail["vm"]
        progress.end()
        for port in describe_ports(detail["ports"], detail["vm"]):
            say(f"published {port}")
        with loan.lent(client, vm["id"]) as lent:
            place = _settle(client, detail, project, prepare, {**lent, **environment})
            return run_in_vm(
                client,
                vm["id"],
                wrap_command(place, command),
                env={**lent, **environment},
                user=user,
                workdir=workdir or place.workdir,
                proxy=proxy,
                escape=character,
                image_command=True,
            )
    except SessionLeft:
        assert vm is not None
        if remove:
            client.call("op.keep", {"op_id": progress.op_id})
        say_left(client, vm["name"], command)
        vm, remove, progress.vm_id = None, False, None
        return 0
    finally:
        progress.end()
        _leave(client, progress, vm, remove)


def _check_flags(detach: bool, ends: bool, as_json: bool, ssh_agent: bool) -> None:
    """Refuse what does not go together. :param ends: the run has an end: a command, or ``--rm``."""
    if detach and ends:
        raise click.UsageError("--detach goes with neither --rm nor a command")
    if as_json and not detach:
        raise UsageError(
            "--json goes with --detach: what a command prints is its own",
            hint="banger vm run --detach --json, or banger vm create --json",
        )
    if detach and ssh_agent:
        raise UsageError(
            "--ssh-agent lasts as long as what runs", hint="banger vm exec --ssh-agent VM -- COMMAND, later"
        )


def _settle(
    client: Client, detail: Mapping[str, Any], project: Plan, prepare: Plans, env: dict[str, str]
) -> Place:
    """Bring what belongs into a new VM, and let the project set it up."""
    vm = detail["vm"]["id"]
    project.lend(client, vm)
    place = prepare(client, vm, staged=detail["content"])
    project.set_up(client, vm, place.workdir, env)
    return place


def _leave(client: Client, progress: Progress, vm: dict[str, Any] | None, remove: bool) -> None:
    """Leave nothing of what was interrupted or was to go; say what stays."""
    error = sys.exc_info()[1]
    interrupt = error if isinstance(error, KeyboardInterrupt) else None
    if interrupt is not None:
        leave_line()
    if vm is None and interrupt is not None:
        cancel(client, progress.op_id)
    if progress.vm_id is not None and (remove or (vm is None and interrupt is not None)):
        _delete(client, progress.vm_id)
        what = f"'{progress.vm_name}' was deleted again"
    elif vm is not None:
        say_running(client, vm["id"])
        what = f"'{vm['name']}' stays"
    else:
        what = "no VM was made"
    if interrupt is not None:
        interrupt.add_note(what)


def _delete(client: Client, reference: str) -> None:
    """Delete a VM even when the user is impatient: an interrupt here would leave what --rm promised to take away."""
    import signal

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        client.call("vm.delete", {"vm": reference})
    except BangerError as error:
        if error.type != "not-found":
            raise
    finally:
        signal.signal(signal.SIGINT, before)
