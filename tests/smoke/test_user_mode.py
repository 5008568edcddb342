"""Scenarios of user mode on a whole host."""

from __future__ import annotations

import pytest

from tests.smoke.smokehost import Host

pytestmark = pytest.mark.smoke
_SEED = """cd ~/.local/state/banger
cp --archive /opt/seed/banger.db .
cp --archive --link /opt/seed/images /opt/seed/kernels ."""


@pytest.fixture(scope="module", autouse=True)
def seeded(smoke: Host) -> None:
    smoke.ok(_SEED)


def test_bare_run(host: Host) -> None:
    """A command in a VM of its own, under the host's KVM, before anything is installed for root."""
    done = host("banger vm run --rm -- sh -c 'id -u; exit 7'")
    assert (done.status, done.text) == (7, "0"), done.err
    assert "software emulation" not in done.err
    assert host.ok("banger vm list --quiet") == ""
    host.ok("banger daemon stop")
