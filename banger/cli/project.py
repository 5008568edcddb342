"""A repository's ``banger.toml`` in ``vm run``: looked at, trusted or refused, and put under what the user said."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from banger.cli.output import Progress, say
from banger.cli.pipe import run_piped
from banger.errors import ConfigError, GuestError

if TYPE_CHECKING:
    from banger.cli.client import Client
    from banger.config.lent import FileSync

#: Where in the guest the output of ``setup`` is kept.
LOG = "/root/.cache/banger/setup.log"
_SETUP = 'mkdir -p "${1%/*}" && cd "$2" && exec sh -c "$3" >>"$1" 2>&1 </dev/null'
#: Keys that go to the daemon as the flags of the same names do.
_PLAIN = ("image", "kernel", "vcpu", "memory", "disk_size", "overlay_size")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a project asks for beyond the VM's shape; all of it was trusted where that is needed."""

    env: dict[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    ssh_agent: bool = False
    setup: tuple[str, ...] = ()
    file_sync: tuple[FileSync, ...] = ()

    def lend(self, client: Client, vm: str) -> None:
        """Bring the user's files that the project names into a running VM."""
        if self.file_sync:
            _send_files(client, vm, self.file_sync)

    def set_up(self, client: Client, vm: str, workdir: str | None, env: dict[str, str]) -> None:
        """Run the project's lines in the guest. :raises GuestError: one failed; those after it were not run."""
        progress = Progress()
        try:
            for line in self.setup:
                progress({"event": "stage", "stage": "setup"})
                argv = ("/bin/sh", "-c", _SETUP, "setup", LOG, workdir or "/root", line)
                ended = run_piped(client, vm, argv, env=env, silence=3600.0)
                if ended.status != 0:
                    name = client.call("vm.show", {"vm": vm})["vm"]["name"]
                    raise GuestError(
                        f"a line of setup in banger.toml ended with status {ended.status}",
                        hint=f"what it said: banger vm exec {name} -- tail {LOG}",
                    )
        finally:
            progress.end()


def plan_project(choices: MutableMapping[str, Any]) -> Plan:
    """Read the file of the repository that is to be brought, and fill in what no flag says.

    :raises ConfigError: it cannot be read, says what it may not say, or is not trusted.
    """
    path = choices.get("path")
    if choices.pop("no_project") or path is None or choices.get("dry_run"):
        return Plan()
    from banger.cli.project_file import find_project

    file = find_project(path)
    if file is None:
        return Plan()
    from banger.cli.trust import check_trust

    check_trust(file)
    project = file.project
    for key in _PLAIN:
        value = getattr(project, key)
        if choices.get(key) is None and value is not None:
            choices[key] = value
    choices["publish"] = (*choices["publish"], *project.publish)
    if "none" not in choices["auth"]:
        choices["auth"] = (*choices["auth"], *project.auth)
    say(f"banger.toml: {', '.join(sorted(project.model_fields_set)) or 'nothing'}")
    missing = [name for name in project.env_from_host if name not in os.environ]
    if missing:
        say(f"note: banger.toml asks for {', '.join(missing)}, which you do not have")
    given = {name: os.environ[name] for name in project.env_from_host if name in os.environ}
    secrets = tuple(f"{name}={source}" for name, source in project.secrets.items())
    return Plan({**project.env, **given}, secrets, project.ssh_agent, project.setup, project.file_sync)


def _send_files(client: Client, vm: str, entries: tuple[FileSync, ...]) -> None:
    from contextlib import closing

    from banger.cli.terminal import open_stream
    from banger.cli.transfer import Transfer
    from banger.host.command import HostCommands
    from banger.host.lent import encode_files, read_lent

    for entry in entries:
        files = read_lent(entry.lent(), HostCommands())
        if files is None:
            say(f"note: there is no {entry.host} here; the guest's stays as it is")
            continue
        params = {"vm": vm, "path": "/root", "base": ".", "directory": True, "user": "root"}
        answer = client.call("vm.cp.write", params)
        complaints: list[str] = []
        with closing(open_stream(answer["socket"], answer["token"])) as connection:
            status = Transfer(connection, Progress(), complaints.append).send(
                iter((encode_files(files),)), None
            )
        if status != 0 or complaints:
            said = complaints[0] if complaints else "the copy was cut off"
            raise ConfigError(
                f"{entry.guest} did not arrive: in the guest: {said}", hint="see: banger vm exec"
            )
