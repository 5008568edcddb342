"""The fake keeps the real one's contract; tests/host/test_helper.py has the real ones."""

from __future__ import annotations

from banger.testing.privileged import FakePrivileged
from tests.core.helper.contract import check_contract


def test_the_fake_keeps_the_contract() -> None:
    check_contract(FakePrivileged().call)
