"""``vm console``: a real serial line, with a shell on it."""

from __future__ import annotations

import pytest
from test_terminal import Terminal
from vmring import Home


def test_console_has_a_shell_and_can_be_left_and_come_back_to(banger: Home, vm: str) -> None:
    for turn in range(2):
        terminal = Terminal(banger, "vm", "console", vm)
        terminal.expect(b"leave it with ~.")
        if not turn:
            terminal.expect(b"login: root (automatic login)")
        terminal.type(b"\r")
        terminal.expect(b"# ")
        terminal.type(b"tty; echo $((6 * 7))\r")
        terminal.expect(b"/dev/ttyS0\r\n42")
        refused = banger("vm", "console", vm)
        assert refused.status == 2 and "a console needs a terminal" in refused.err
        other = Terminal(banger, "vm", "console", vm)
        other.expect(b"somebody is at the console of")
        assert other.process.wait(30) == 1
        other.close()
        terminal.type(b"\r~.")
        terminal.expect(b"runs on")
        assert terminal.process.wait(30) == 0
        terminal.close()
    assert "automatic login" in banger.ok("vm", "logs", vm).text


@pytest.mark.long
def test_console_ends_with_the_vm(alone: Home) -> None:
    alone.ok("vm", "create", "--name", "brief")
    terminal = Terminal(alone, "vm", "console", "brief")
    terminal.expect(b"leave it with ~.")
    alone.ok("vm", "kill", "brief")
    assert terminal.process.wait(30) == 0
    terminal.close()
    refused = Terminal(alone, "vm", "console", "brief")
    refused.expect(b"is stopped, not running")
    assert refused.process.wait(30) == 1
    refused.close()
    alone.ok("vm", "delete", "brief")
    alone.assert_clean()
