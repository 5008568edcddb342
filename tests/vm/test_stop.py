"""Stopping keeps what was written, whatever the guest makes of it."""

from __future__ import annotations

import pytest
from vmring import Home, until

#: Appends numbered lines and fsyncs each, as a data base does with its log, and says how far it is.
_WRITER = "n=0; while n=$((n+1)); do echo row $n >>/root/log; sync /root/log; echo $n >/run/committed; done"


def test_a_stop_keeps_what_was_written_a_moment_ago(alone: Home) -> None:
    alone.ok("vm", "create", "--name", "keeper")
    alone.ok("vm", "exec", "keeper", "--", "sh", "-c", f"nohup sh -c '{_WRITER}' >/dev/null 2>&1 &")
    until(lambda: alone.exec("keeper", "test", "-s", "/run/committed").status == 0, 30, "nothing was written")
    committed = int(alone.sh("keeper", "echo fresh >/root/fresh; echo fresh >/srv/fresh; cat /run/committed"))
    stopped = alone.ok("vm", "stop", "keeper")
    assert "was ended" not in stopped.err
    console = alone.ok("vm", "logs", "keeper").text
    assert "reboot: Power down" in console
    assert "lib/modules" not in console  # what the agent mounted is no trouble to the init
    alone.ok("vm", "start", "keeper", "--wait", "agent")
    assert alone.sh("keeper", "cat /root/fresh /srv/fresh") == "fresh\nfresh"
    lines = alone.sh("keeper", "cat /root/log").splitlines()
    assert len(lines) >= committed
    assert lines == [f"row {number}" for number in range(1, len(lines) + 1)]
    assert "recovery complete" not in alone.sh("keeper", "dmesg")


def test_a_guest_that_ignores_the_power_off_is_written_out(alone: Home) -> None:
    alone.ok("vm", "create", "--name", "deaf")
    unit = "[Service]\\nExecStart=/bin/sleep inf\\nExecStop=/bin/sleep 600\\nTimeoutStopSec=900\\n"
    alone.sh(
        "deaf",
        f"printf '{unit}' >/run/systemd/system/stubborn.service && systemctl start stubborn && echo kept >/root/kept",
    )
    stopped = alone.ok("vm", "stop", "deaf", "--timeout", "2")
    assert "'deaf' did not power off within 2 s and was ended: its disks were written out" in stopped.err
    assert alone.qemus() == []
    alone.ok("vm", "start", "deaf", "--wait", "agent")
    assert alone.sh("deaf", "cat /root/kept") == "kept"
    assert alone.ok("vm", "stop", "deaf", "--timeout", "0").status == 0
    alone.ok("vm", "start", "deaf", "--wait", "agent")
    assert alone.sh("deaf", "cat /root/kept") == "kept"


@pytest.mark.long
def test_a_guest_without_an_init(alone: Home) -> None:
    alone.ok("vm", "create", "--name", "bare")
    alone.sh("bare", "for init in /sbin/init /lib/systemd/systemd; do rm -f $init; done; sync")
    alone.ok("vm", "stop", "bare", "--timeout", "0")
    alone.ok("vm", "start", "bare", "--wait", "agent")
    assert alone.sh("bare", "cat /proc/1/comm; echo kept >/root/kept") == "banger-agent"
    stopped = alone.ok("vm", "stop", "bare")
    assert "was ended" not in stopped.err
    alone.ok("vm", "start", "bare", "--wait", "agent")
    assert alone.sh("bare", "cat /root/kept") == "kept"


@pytest.mark.long
def test_a_guest_whose_agent_hangs(alone: Home) -> None:
    alone.ok("vm", "create", "--name", "hung", "--wait", "agent")
    alone.sh("hung", "setsid sh -c 'sleep 1; pkill -STOP -x banger-agent' >/dev/null 2>&1 </dev/null & echo")
    until(lambda: alone("vm", "ping", "hung").status == 1, 60, "the agent goes on")
    stopped = alone("vm", "stop", "hung", "--timeout", "2", timeout=60)
    assert stopped.status == 0
    assert "what it had not written to its disks is lost" in stopped.err
    assert alone.qemus() == []
    alone.ok("vm", "start", "hung", "--wait", "agent")
