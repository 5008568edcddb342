"""What the zone ``vm.`` answers, and that no packet upsets it."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from banger_dns.answer import QUESTION_LIMIT, answer

_VMS = {"otter": "127.64.0.7", "lynx": "127.64.0.8"}


def ask(name: str, kind: str, rdclass: str = "IN") -> dns.message.Message:
    said = answer(dns.message.make_query(name, kind, rdclass).to_wire(), _VMS)
    assert said is not None
    return dns.message.from_wire(said)


@pytest.mark.parametrize(
    ("name", "kind", "code", "values"),
    [
        ("otter.vm.", "A", "NOERROR", ["127.64.0.7"]),
        ("OTTER.vm.", "A", "NOERROR", ["127.64.0.7"]),
        ("otter.vm.", "AAAA", "NOERROR", []),
        ("otter.vm.", "MX", "NOERROR", []),
        ("vm.", "A", "NOERROR", []),
        ("badger.vm.", "A", "NXDOMAIN", []),
        ("www.otter.vm.", "A", "NXDOMAIN", []),
        ("8.0.64.127.in-addr.arpa.", "PTR", "NOERROR", ["lynx.vm."]),
        ("8.0.64.127.in-addr.arpa.", "A", "NOERROR", []),
        ("9.0.64.127.in-addr.arpa.", "PTR", "REFUSED", []),
        ("example.org.", "A", "REFUSED", []),
        (".", "NS", "REFUSED", []),
    ],
)
def test_zone(name: str, kind: str, code: str, values: list[str]) -> None:
    said = ask(name, kind)
    assert dns.rcode.to_text(said.rcode()) == code
    assert [value.to_text() for rrset in said.answer for value in rrset] == values
    assert bool(said.flags & dns.flags.AA) == (code != "REFUSED")


def test_the_probe_is_answered_and_nothing_like_it() -> None:
    def codes(probe: str) -> list[str]:
        names = (
            "0a1b._banger.vm.",
            "0A1B._banger.vm.",
            "x0a1b._banger.vm.",
            "_banger.vm.",
            "a.0a1b._banger.vm.",
        )
        said = [answer(dns.message.make_query(name, "A").to_wire(), _VMS, probe) for name in names]
        return [dns.rcode.to_text(dns.message.from_wire(wire or b"").rcode()) for wire in said]

    assert codes("0a1b._banger.vm") == ["NOERROR", "NOERROR", "NXDOMAIN", "NXDOMAIN", "NXDOMAIN"]
    assert set(codes("")) == {"NXDOMAIN"}
    reverse = answer(
        dns.message.make_query("1.0.0.127.in-addr.arpa.", "PTR").to_wire(), _VMS, "0a1b._banger.vm"
    )
    assert reverse is not None and b"0a1b" not in reverse


def test_other_classes_and_opcodes_are_declined() -> None:
    assert ask("otter.vm.", "A", "CH").rcode() == dns.rcode.REFUSED
    query = dns.message.make_query("otter.vm.", "A")
    query.set_opcode(2)
    said = answer(query.to_wire(), _VMS)
    assert said is not None and dns.message.from_wire(said).rcode() == dns.rcode.NOTIMP


def test_answers_and_oversized_packets_get_nothing() -> None:
    query = dns.message.make_query("otter.vm.", "A")
    assert answer(dns.message.make_response(query).to_wire(), _VMS) is None
    assert answer(query.to_wire() + bytes(QUESTION_LIMIT), _VMS) is None


@given(st.binary(max_size=QUESTION_LIMIT + 8))
def test_no_packet_upsets_it(packet: bytes) -> None:
    _check(packet)


@given(st.data())
def test_no_damage_to_a_question_upsets_it(data: st.DataObject) -> None:
    packet = bytearray(dns.message.make_query("otter.vm.", "A", use_edns=0).to_wire())
    for _ in range(data.draw(st.integers(1, 6))):
        packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
    _check(bytes(packet[: data.draw(st.integers(0, len(packet)))]))


def _check(packet: bytes) -> None:
    said = answer(packet, _VMS)
    assert said is None or (said[:2] == packet[:2] and said[2] & 0x80)
