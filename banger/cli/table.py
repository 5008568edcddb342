"""The core's commands, as the values plugins declare: name, one line of help, what to import when it is run."""

from __future__ import annotations

from banger.model.command import Command

COMMANDS = (
    Command("vm run", "create a VM and run a command or a shell in it", "banger.cli.vm_run:run"),
    Command("vm create", "create a VM and start it", "banger.cli.vm_run:create"),
    Command("vm start", "start VMs", "banger.cli.vm_power:start"),
    Command("vm stop", "stop VMs through their init", "banger.cli.vm_power:stop"),
    Command("vm restart", "stop VMs and start them again", "banger.cli.vm_power:restart"),
    Command("vm kill", "end VMs at once; their disks stay", "banger.cli.vm_power:kill"),
    Command("vm delete", "delete VMs and their disks", "banger.cli.vm_power:delete"),
    Command("vm pause", "freeze VMs", "banger.cli.vm_power:pause"),
    Command("vm resume", "let paused VMs go on", "banger.cli.vm_power:resume"),
    Command("vm set", "change sizes and ports of VMs", "banger.cli.vm_power:set_command"),
    Command("vm rename", "give a VM another name", "banger.cli.vm_power:rename"),
    Command("vm wait", "wait until a VM is up, or stopped", "banger.cli.vm_power:wait"),
    Command("vm health", "show how a VM's guest is", "banger.cli.vm_health:health"),
    Command("vm ping", "ask a VM's agent for a sign of life", "banger.cli.vm_health:ping"),
    Command("vm touch", "say that a VM is in use", "banger.cli.vm_health:touch"),
    Command("vm list", "list VMs", "banger.cli.vm:list_command"),
    Command("vm show", "show a VM", "banger.cli.vm:show"),
    Command("vm exec", "run a command in a running VM", "banger.cli.vm_exec:exec_command"),
    Command("vm ssh", "log in to a running VM with ssh", "banger.cli.vm_ssh:ssh_command"),
    Command("vm console", "sit down at a VM's serial console", "banger.cli.vm_console:console"),
    Command("vm cp", "copy files to or from a VM", "banger.cli.cp:cp"),
    Command("vm logs", "print a VM's console", "banger.cli.vm_logs:logs"),
    Command("ps", "list VMs", "banger.cli.vm:list_command"),
    Command("image pull", "get an image", "banger.cli.store:image_pull"),
    Command("image list", "list images", "banger.cli.store:image_list"),
    Command("image show", "show an image", "banger.cli.store:image_show"),
    Command("image delete", "delete an image", "banger.cli.store:image_delete"),
    Command("kernel pull", "get a kernel", "banger.cli.store:kernel_pull"),
    Command("kernel list", "list kernels", "banger.cli.store:kernel_list"),
    Command("kernel show", "show a kernel", "banger.cli.store:kernel_show"),
    Command("kernel rm", "delete a kernel", "banger.cli.store:kernel_rm"),
    Command("daemon status", "show the daemon", "banger.cli.self:daemon_status"),
    Command("daemon stop", "end the daemon; VMs go on", "banger.cli.self:daemon_stop"),
    Command("daemon logs", "print the daemon's log", "banger.cli.self:daemon_logs"),
    Command("config show", "show every setting and where it came from", "banger.cli.config:show"),
    Command("config path", "list the files that are looked at", "banger.cli.config:path"),
    Command("config schema", "print the JSON schema of the file", "banger.cli.config:schema"),
    Command("trust", "let a repository's banger.toml reach this host", "banger.cli.trust:trust"),
    Command("plugins list", "list plugins", "banger.cli.self:plugins_list"),
    Command("doctor", "look at the host and say what to mend", "banger.cli.self:doctor"),
    Command("bench", "measure banger against a baseline", "banger.bench.command:bench"),
    Command("ssh-config", "let every ssh program reach VMs", "banger.cli.ssh_config:ssh_config"),
    Command("completion", "print what lets a shell complete commands", "banger.cli.completion:completion"),
    Command("purge", "remove every VM, image, kernel and all state", "banger.cli.purge:purge"),
    Command("version", "print versions, commits and build times", "banger.cli.version:version"),
)

#: What the groups are for.
GROUPS = {
    "vm": "virtual machines",
    "image": "root file systems VMs start from",
    "kernel": "kernels VMs boot",
    "daemon": "the process in the background",
    "config": "settings",
    "plugins": "what banger is made of",
}

#: What people type -> what it is. Not listed among the commands, but in the help's last lines and in the reference.
ALIASES = {
    "run": "vm run",
    "create": "vm create",
    "ls": "vm list",
    "list": "vm list",
    "rm": "vm delete",
    "delete": "vm delete",
    "show": "vm show",
    "inspect": "vm show",
    "start": "vm start",
    "stop": "vm stop",
    "restart": "vm restart",
    "kill": "vm kill",
    "exec": "vm exec",
    "shell": "vm exec",
    "logs": "vm logs",
    "ssh": "vm ssh",
    "cp": "vm cp",
    "pull": "image pull",
    "images": "image list",
    "kernels": "kernel list",
    "vm rm": "vm delete",
    "vm ls": "vm list",
    "vm ps": "vm list",
    "vm inspect": "vm show",
    "vm shell": "vm exec",
    "image rm": "image delete",
    "image ls": "image list",
    "kernel delete": "kernel rm",
    "kernel ls": "kernel list",
    "plugins ls": "plugins list",
    "plugin list": "plugins list",
    "plugin ls": "plugins list",
}

_ANEW = "banger daemon stop; the next command starts it again (VMs go on)"
_REACH = "what its guest listens on, and where that opens: banger vm ports VM; its address: banger vm show VM"

#: What people try from other tools, and what to do here.
HABITS = {
    "daemon start": "banger vm list, or any other command, starts it",
    "daemon restart": _ANEW,
    "daemon reload": _ANEW,
    "top": "banger vm top",
    "stats": "banger vm stats",
    "events": "banger vm events",
    **dict.fromkeys(("port", "ports", "vm ip"), _REACH),
    **dict.fromkeys(
        ("attach", "vm attach"), "a shell: banger vm exec VM; its serial console: banger vm console VM"
    ),
    "console": "banger vm console VM",
    **dict.fromkeys(("info", "vm info"), "of the host: banger doctor; of a VM: banger vm show VM"),
    **dict.fromkeys(("reboot", "vm reboot"), "banger vm restart VM"),
    **dict.fromkeys(("poweroff", "shutdown", "halt", "down", "vm shutdown"), "banger vm stop VM"),
    **dict.fromkeys(("destroy", "vm destroy", "vm remove", "remove"), "banger vm delete VM"),
    **dict.fromkeys(("suspend", "vm suspend", "pause"), "banger vm pause VM"),
    **dict.fromkeys(("unpause", "vm unpause", "resume"), "banger vm resume VM"),
    **dict.fromkeys(
        ("scp", "rsync"), "banger vm cp; after banger ssh-config --install also scp and rsync to VM.vm"
    ),
    **dict.fromkeys(("login", "logout"), "docker login, podman login or skopeo login: their logins are used"),
    **dict.fromkeys(("prune", "system prune"), "banger vm prune; what takes room: banger system df"),
    "df": "banger system df",
    "rmi": "banger image delete NAME",
    **dict.fromkeys(("up", "new", "launch"), "banger vm run, or banger vm create"),
    **dict.fromkeys(("update", "vm update", "vm edit", "vm resize"), "banger vm set VM --memory 2G"),
    **dict.fromkeys(
        ("upgrade", "self-update"),
        "banger is upgraded as it was installed, for example: pip install -U banger",
    ),
    "status": "of the VMs: banger ps; of the daemon: banger daemon status",
    **dict.fromkeys(
        ("config set", "config edit"),
        "edit the file; which: banger config path; what may be in it: banger config schema",
    ),
    "config get": "banger config show NAME",
}
