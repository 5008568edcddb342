"""The disk of the store is full."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from banger.errors import StoreError
from banger.testing.app import BangerApp


def test_a_full_disk_refuses_what_is_new_and_costs_nothing_that_is_there(
    lab: Callable[..., BangerApp],
) -> None:
    app = lab()
    app.call("vm.create", {"name": "before", "start": False})
    connection = app.services.database._connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    made = 0
    with pytest.raises(StoreError, match="database or disk is full") as caught:
        for made in range(1000):
            app.call("vm.create", {"name": f"more-{made}", "start": False})
    assert "check free space" in str(caught.value.hint)
    names = {vm["name"] for vm in app.call("vm.list")["vms"]}
    assert names == {"before", *(f"more-{number}" for number in range(made))}
    connection.execute("PRAGMA max_page_count = 1000000")
    app.call("vm.create", {"name": f"more-{made}", "start": False})
    app.call("vm.set", {"vm": "before", "label": ["a=b"]})
