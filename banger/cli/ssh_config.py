"""``ssh-config``: lets every program over ssh reach ``<vm>.vm``, by one line in the user's ``~/.ssh/config``."""

from __future__ import annotations

import click

from banger.cli.output import clean, print_json, say
from banger.cli.vm import json_option


@click.command()
@click.option("--install", "wanted", flag_value="install", help="include it at the top of ~/.ssh/config")
@click.option("--uninstall", "wanted", flag_value="uninstall", help="take that out again")
@json_option
def ssh_config(wanted: str | None, as_json: bool) -> None:
    """Print where banger's ssh_config is and the line that includes it, or put that into ~/.ssh/config.

    Editors, scp, rsync, git and ansible then reach a running VM as NAME.vm. Only a block between two marks is written,
    and only that is taken out.
    """
    from banger.config.paths import find_paths, make_private
    from banger.host import ssh_include
    from banger.host.ssh import find_ssh_files

    paths = find_paths()
    files = find_ssh_files(paths)
    user_config = ssh_include.find_home() / ".ssh" / "config"
    changed = False
    if wanted == "install":
        ssh_include.include_line(files.config)
        make_private(paths.state)
        files.prepare()
        changed = ssh_include.install(user_config, files.config)
    elif wanted == "uninstall":
        changed = ssh_include.uninstall(user_config, files.config)
    installed = wanted != "uninstall" and ssh_include.is_installed(user_config, files.config)
    if as_json:
        print_json(
            {
                "config": str(files.config),
                "include": ssh_include.include_line(files.config) if wanted != "uninstall" else None,
                "user_config": str(user_config),
                "installed": installed,
                "changed": changed,
            }
        )
    elif wanted is None:
        print(files.config)
        print(ssh_include.include_line(files.config))
        if not installed:
            say(f"hint: banger ssh-config --install puts it into {clean(str(user_config))}")
    else:
        there = "includes it" if wanted == "install" else "does not include it"
        say(clean(f"{user_config} {'now' if changed else 'already'} {there}"))
    if wanted == "install" and user_config.parent.parent != ssh_include.passwd_home():
        say(f"note: HOME is not the home in /etc/passwd, where ssh looks: ssh -F {clean(str(user_config))}")
