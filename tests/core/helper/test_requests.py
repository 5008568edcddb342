"""What the root helper takes for an argument, and what not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banger.errors import UsageError
from banger.helper.names import check_bridge_address
from banger.helper.operations import HANDLERS
from banger.helper.requests import REQUESTS, EnsureBridge, fields_of, parse_request

BRIDGE = {"bridge": "br-banger", "mark": "0123abcd"}
GOOD: dict[str, dict[str, Any]] = {
    "helper.status": {},
    "bridge.ensure": {**BRIDGE, "address": "172.16.176.1", "prefix": 20},
    "bridge.remove": BRIDGE,
    "bridge.show": BRIDGE,
    "tap.create": {**BRIDGE, "tap": "bgr-0123abcd", "isolated": True},
    "tap.claim": {**BRIDGE, "tap": "bgr-0123abcd", "pooled": "bgrp-0123abcd"},
    "tap.guard": {**BRIDGE, "tap": "bgr-0123abcd", "mac": "02:00:00:00:00:01", "address": "172.16.176.2"},
    "tap.remove": {**BRIDGE, "tap": "bgrp-0123abcd"},
    "nat.allow": {**BRIDGE, "addresses": ["172.16.176.2"], "only": False},
    "nat.deny": {**BRIDGE, "address": "172.16.176.2"},
    "nat.show": BRIDGE,
    "names.route": {**BRIDGE, "port": 42069},
    "names.drop": BRIDGE,
    "disk.snapshot": {"vm": "01" * 16, "origin": "/a/b", "changes": "/a/c", "size_mib": 8192},
    "disk.release": {"vm": "01" * 16},
    "jail.show": {},
    "jail.launch": {
        "vm": "01" * 16,
        "read": ["/a/kernel"],
        "written": ["/a/disk"],
        "sockets": "/a/s",
        "console": "/a/console.log",
        "log": "/a/firecracker.log",
    },
    "jail.signal": {"vm": "01" * 16, "signal": "SIGKILL"},
    "jail.remove": {"vm": "01" * 16},
}
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
JSON = PLAIN | st.lists(PLAIN, max_size=3) | st.dictionaries(st.text(max_size=8), PLAIN, max_size=3)


def test_every_operation_has_its_handler_and_a_good_request() -> None:
    assert set(HANDLERS) == set(REQUESTS.values())
    assert set(GOOD) == set(REQUESTS)
    for operation, body in GOOD.items():
        request = parse_request(operation, body)
        assert parse_request(operation, fields_of(request)) == request


@pytest.mark.parametrize(
    ("operation", "field", "value"),
    [
        ("bridge.show", "bridge", "eth0"),
        ("bridge.show", "bridge", "docker0"),
        ("bridge.show", "bridge", "br-banger-"),
        ("bridge.show", "bridge", "br-banger-toolong"),
        ("bridge.show", "bridge", "br-banger\n"),
        ("bridge.show", "bridge", 'br-banger" drop'),
        ("bridge.show", "bridge", "../br-banger"),
        ("bridge.show", "bridge", 5),
        ("bridge.show", "mark", "xyz"),
        ("disk.release", "vm", "01" * 15),
        ("disk.release", "vm", "../" + "0" * 29),
        ("disk.snapshot", "origin", "b"),
        ("disk.snapshot", "changes", "/a/../c"),
        ("disk.snapshot", "size_mib", 0),
        ("disk.snapshot", "size_mib", (16 << 20) + 1),
        ("disk.snapshot", "size_mib", True),
        ("jail.launch", "vm", "../" + "0" * 29),
        ("jail.launch", "vm", "01" * 15 + "/x"),
        ("jail.launch", "vm", "01" * 16 + "\n"),
        ("jail.launch", "read", ["kernel"]),
        ("jail.launch", "read", ["/a"] * 64),
        ("jail.launch", "read", "/a/kernel"),
        ("jail.launch", "written", ["/a/../b"]),
        ("jail.launch", "written", ["/a/b\0"]),
        ("jail.launch", "written", [5]),
        ("jail.launch", "sockets", "/a/s/"),
        ("jail.launch", "console", "/a//console"),
        ("jail.launch", "log", ""),
        ("jail.signal", "signal", "SIGSTOP"),
        ("jail.signal", "signal", "9"),
        ("jail.signal", "signal", 9),
        ("jail.signal", "vm", "*"),
        ("jail.remove", "vm", "*"),
        ("jail.remove", "vm", "/" * 32),
        ("bridge.ensure", "address", "172.16.176.0"),
        ("bridge.ensure", "address", "172.16.191.255"),
        ("bridge.ensure", "address", "127.0.0.1"),
        ("bridge.ensure", "address", "224.0.0.1"),
        ("bridge.ensure", "address", "fe80::1"),
        ("bridge.ensure", "address", "172.16.176.1/20"),
        ("bridge.ensure", "address", "0172.16.176.1"),
        ("bridge.ensure", "prefix", 7),
        ("bridge.ensure", "prefix", 31),
        ("bridge.ensure", "prefix", True),
        ("bridge.ensure", "prefix", "20"),
        ("bridge.ensure", "prefix", 20.0),
        ("tap.create", "tap", "tap0"),
        ("tap.create", "tap", "bgr-0123ABCD"),
        ("tap.create", "isolated", 1),
        ("tap.claim", "tap", "bgrp-0123abcd"),
        ("tap.claim", "pooled", "bgr-0123abcd"),
        ("tap.guard", "tap", "bgrp-0123abcd"),
        ("tap.guard", "mac", "03:00:00:00:00:01"),
        ("tap.guard", "mac", "02:00:00:00:00:01 accept"),
        ("tap.guard", "address", "10.0.0.0/8"),
        ("nat.allow", "addresses", "172.16.176.2"),
        ("nat.allow", "addresses", ["172.16.176.2 }; flush ruleset"]),
        ("nat.allow", "addresses", [["172.16.176.2"]]),
        ("nat.allow", "addresses", ["172.16.176.2"] * 4097),
        ("nat.deny", "address", "0.0.0.0/0"),
        ("names.route", "port", 53),
        ("names.route", "port", 65536),
        ("names.route", "port", "42069"),
    ],
)
def test_a_bad_argument_is_refused(operation: str, field: str, value: Any) -> None:
    with pytest.raises(UsageError) as refused:
        parse_request(operation, {**GOOD[operation], field: value})
    assert len(refused.value.message) < 200 and refused.value.hint


@pytest.mark.parametrize("body", [None, [], "x", 5, {"bridge": "br-banger"}, {**BRIDGE, "more": 1}])
def test_missing_and_unknown_fields_are_refused(body: Any) -> None:
    with pytest.raises(UsageError):
        parse_request("bridge.show", body)


def test_an_unknown_operation_is_refused() -> None:
    with pytest.raises(UsageError, match=r"there is no operation 'shell.run'"):
        parse_request("shell.run", {})


def test_a_networks_own_addresses_are_no_bridges() -> None:
    assert str(check_bridge_address("10.0.0.1", 8)) == "10.0.0.1/8"
    for address, prefix in (("10.0.0.0", 8), ("10.255.255.255", 8), ("1.2.3.4", 1), ("126.0.0.1", 7)):
        with pytest.raises(UsageError):
            check_bridge_address(address, prefix)


@settings(max_examples=60)
@given(st.sampled_from(sorted(REQUESTS)) | st.text(max_size=20), JSON)
def test_whatever_is_asked_is_a_request_or_a_refusal(operation: str, body: Any) -> None:
    try:
        request = parse_request(operation, body)
    except UsageError:
        return
    assert type(request) is REQUESTS[operation]


@settings(max_examples=60)
@given(st.sampled_from(sorted(GOOD)), st.data())
def test_one_field_of_another_kind_never_gets_through_as_something_else(operation: str, data: Any) -> None:
    fields = GOOD[operation]
    if not fields:
        return
    name = data.draw(st.sampled_from(sorted(fields)))
    value = data.draw(JSON)
    try:
        request = parse_request(operation, {**fields, name: value})
    except UsageError:
        return
    got = getattr(request, name)
    assert got is not None and got == (tuple(value) if isinstance(value, list) else value)


def test_a_request_made_in_this_process_is_checked_too() -> None:
    with pytest.raises(UsageError):
        EnsureBridge("eth0", "0123abcd", "172.16.176.1", 20)
