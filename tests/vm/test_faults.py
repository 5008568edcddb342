"""The daemon is killed at chosen places of a real VM's life; docs/explanation/faults.md has them all, on paper."""

from __future__ import annotations

from fault_home import add_faults, arm, wait_killed
from vmring import Home


def test_a_daemon_that_is_killed_after_a_step_leaves_nothing_in_between(alone: Home) -> None:
    add_faults(alone)
    daemon = arm(alone, "run boot", "after")
    assert alone("vm", "create", "--name", "otter", "--wait", "agent").status != 0
    wait_killed(daemon)
    [vm] = alone.vms()
    assert (vm["state"], vm["last_error"]) == ("error", "the daemon ended while this VM was starting")
    assert alone.qemus() == []

    alone.ok("vm", "start", "otter", "--wait", "agent")
    assert alone.sh("otter", "echo kept > /root/kept; sync; cat /root/kept") == "kept"
    daemon = arm(alone, "row stopping", "after")
    assert alone("vm", "stop", "otter").status != 0
    wait_killed(daemon)
    assert [vm["state"] for vm in alone.vms()] == ["stopped"]
    assert alone.qemus() == []

    daemon = arm(alone, "remove work-disk", "after")
    assert alone("vm", "delete", "otter").status != 0
    wait_killed(daemon)
    [vm] = alone.vms()
    assert (vm["state"], "banger vm delete otter" in vm["last_error"]) == ("error", True)
    refused = alone("vm", "start", "otter")
    assert refused.status == 1 and "was being deleted" in refused.err
    alone.ok("vm", "delete", "otter")
    alone.assert_clean()
