"""The command line's house around a VM that runs: versions, names under Tab, and taking it all away."""

from __future__ import annotations

import json
import os
import signal

from vmring import Home, is_alive

#: Its tests leave the home and the VM as they found them: see conftest.
IN_COMMONS = True


def test_running_agent_is_named_and_is_this_build(banger: Home, vm: str) -> None:
    told = banger.ok("version", "--json").json
    assert [(agent["vm"], agent["drift"]) for agent in told["agents"]] == [(vm, False)]
    agent = told["agents"][0]
    assert (agent["version"], agent["commit"]) == (told["agent"]["version"], told["agent"]["commit"])
    assert told["drift"] == []
    shown = banger.ok("daemon", "status")
    assert "note: " not in shown.err and told["agent"]["commit"] in shown.text


def test_agent_of_a_vm_that_hangs_is_left_out(banger: Home, vm: str) -> None:
    """Versions are asked of the guest, which may say nothing: that is bounded, and no error."""
    pid = banger.show(vm)["pid"]
    banger.close_daemon()  # its channel would remember
    os.kill(pid, signal.SIGSTOP)
    try:
        banger.vms()  # starts the next one
        assert banger.ok("daemon", "status", "--json").json["agents"] == []
    finally:
        os.kill(pid, signal.SIGCONT)
    assert banger.sh(vm, "echo back") == "back"


def test_tab_names_the_vm_with_its_state(banger: Home, vm: str) -> None:
    banger.env |= {"_BANGER_COMPLETE": "fish_complete", "COMP_WORDS": "banger shell ", "COMP_CWORD": ""}
    try:
        assert banger.ok().text == f"plain,{vm}\trunning, debian-bookworm"
    finally:
        for name in ("_BANGER_COMPLETE", "COMP_WORDS", "COMP_CWORD"):
            del banger.env[name]


def test_short_forms_drive_a_vm(banger: Home, vm: str) -> None:
    assert banger.ok("exec", vm, "--", "echo", "hello").text == "hello"
    assert banger("shell", vm, "--", "sh", "-c", "exit 41").status == 41
    assert vm in banger.ok("ls", "-q").text.split()


def test_purge_ends_what_runs_and_leaves_nothing(alone: Home) -> None:
    alone.ok("create", "--name", "doomed", "--wait", "agent")
    alone.ok("vm", "create", "--name", "never", "--no-start")
    pid, daemon = alone.show("doomed")["pid"], alone.daemon_pid()
    neighbour = alone.state.parent / "neighbour"
    neighbour.write_text("mine")
    before = json.loads(alone.ok("purge", "--dry-run", "--json").out)
    assert sorted(before["vms"]) == ["doomed", "never"] and is_alive(pid)
    alone.ok("purge", "--yes")
    assert not is_alive(pid) and not is_alive(daemon) and not alone.qemus()
    assert not alone.state.exists() and not (alone.base / "c" / "banger").exists()
    assert alone.config.exists() and neighbour.read_text() == "mine"
