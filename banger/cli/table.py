"""The core's commands, as the values plugins declare: name, one line of help, what to import when it is run."""

from __future__ import annotations

from banger.model.command import Command

COMMANDS = (
    Command("vm run", "create a VM and run a command or a shell in it", "banger.cli.vm_run:run"),
    Command("vm create", "create a VM and start it", "banger.cli.vm_run:create"),
    Command("vm start", "start a VM", "banger.cli.vm:start"),
    Command("vm stop", "stop a VM through its init", "banger.cli.vm:stop"),
    Command("vm kill", "end a VM at once; its disks stay", "banger.cli.vm:kill"),
    Command("vm delete", "delete a VM and its disks", "banger.cli.vm:delete"),
    Command("vm list", "list VMs", "banger.cli.vm:list_command"),
    Command("vm show", "show a VM", "banger.cli.vm:show"),
    Command("vm exec", "run a command in a running VM", "banger.cli.vm_exec:exec_command"),
    Command("vm logs", "print a VM's console", "banger.cli.vm:logs"),
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
    Command("plugins list", "list plugins", "banger.cli.self:plugins_list"),
    Command("doctor", "look at the host and say what to mend", "banger.cli.self:doctor"),
    Command("bench", "measure banger against a baseline", "banger.bench.command:bench"),
    Command("version", "print the version, commit and build time", "banger.cli.self:version"),
)

#: What the groups are for.
GROUPS = {
    "vm": "virtual machines",
    "image": "root file systems VMs start from",
    "kernel": "kernels VMs boot",
    "daemon": "the process in the background",
    "plugins": "what banger is made of",
}
