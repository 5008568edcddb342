"""Loopback addresses and ports, for real, in a network namespace."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from banger.api import HostForward, NetworkError
from banger_net_user.address import POOL
from banger_net_user.attach import check_free, host_port, unprivileged_limit

pytestmark = pytest.mark.host


def test_every_address_of_the_pool_is_the_hosts_own_without_set_up(in_network_namespace):
    def bind() -> int:
        for position in (1, 77, POOL.num_addresses // 2, POOL.num_addresses - 2):
            address = (str(POOL[position]), 8080)
            with socket.create_server(address), socket.create_connection(address, timeout=5) as client:
                assert client.getpeername() == address
        return 4

    assert in_network_namespace(bind) == 4


def test_a_taken_port_is_named_and_the_same_port_of_another_vm_is_free(in_network_namespace):
    def look() -> str:
        with socket.create_server(("127.70.0.5", 8080)):
            check_free(HostForward("127.70.0.6", 8080, 80))
            with pytest.raises(NetworkError) as refused:
                check_free(HostForward("127.70.0.5", 8080, 80))
        check_free(HostForward("127.70.0.5", 8080, 80))
        return refused.value.message

    assert in_network_namespace(look) == "127.70.0.5:8080 is taken"


def test_the_unprivileged_limit_is_the_namespaces_own(in_network_namespace):
    def look() -> list[int]:
        Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").write_text("80")
        limit = unprivileged_limit()
        return [limit, host_port(80, limit), host_port(22, limit)]

    before = unprivileged_limit()
    assert in_network_namespace(look) == [80, 80, 20022]
    assert unprivileged_limit() == before


def test_in_a_namespace_without_links_nothing_of_the_host_is_reached(in_network_namespace):
    with socket.create_server(("127.0.0.1", 0)) as outside:
        port = outside.getsockname()[1]

        def connect() -> None:
            socket.create_connection(("127.0.0.1", port), timeout=2).close()

        with pytest.raises(ConnectionRefusedError):
            in_network_namespace(connect)
