"""One DNS question in, one answer out: what the zone ``vm.`` says, without a socket.

Everything that comes in is hostile: it is bounded, and what cannot be read is dropped or answered with FORMERR.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dns.message
    import dns.name
    import dns.rcode

#: Bytes of a question that is looked at: a name has at most 255 (RFC 1035, 2.3.4), EDNS options the rest.
QUESTION_LIMIT = 512
#: Seconds that an answer may be kept: names follow their VMs.
TTL = 1
_HEADER, _HERE = 12, "127.0.0.1"


def answer(question: bytes, addresses: Mapping[str, str], probe: str = "") -> bytes | None:
    """Return the answer to a question in wire format, or None when it deserves none.

    :param addresses: VM's name, in lower case, to its IPv4 loopback address.
    :param probe: a name in the zone that no VM can have, ``label.label.vm``, and that means this host: whoever gets an
        answer for it has asked us.
    """
    import dns.exception
    import dns.message
    import dns.rcode

    if not _HEADER <= len(question) <= QUESTION_LIMIT or question[2] & 0x80:  # an answer is never answered
        return None
    try:
        query = dns.message.from_wire(question, ignore_trailing=True)
        response = dns.message.make_response(query)
    except (dns.exception.DNSException, ValueError):
        return _format_error(question)
    response.set_rcode(_fill(query, response, addresses, probe))
    return response.to_wire()


def _fill(
    query: dns.message.Message, response: dns.message.Message, addresses: Mapping[str, str], probe: str
) -> dns.rcode.Rcode:
    """Put what the zone knows into the answer and return its code (RFC 1035, 4.1.1; RFC 2308 for an empty one)."""
    import dns.name
    import dns.opcode
    import dns.rcode
    import dns.rdataclass

    if query.opcode() != dns.opcode.QUERY:
        return dns.rcode.NOTIMP
    if len(query.question) != 1:
        return dns.rcode.FORMERR
    asked = query.question[0]
    if asked.rdclass != dns.rdataclass.IN:
        return dns.rcode.REFUSED
    if asked.name.is_subdomain(dns.name.from_text("vm.")):
        return _forward(asked.name, asked.rdtype, response, addresses, probe)
    return _reverse(asked.name, asked.rdtype, response, addresses)


def _forward(
    name: dns.name.Name,
    kind: int,
    response: dns.message.Message,
    addresses: Mapping[str, str],
    probe: str,
) -> dns.rcode.Rcode:
    import dns.flags
    import dns.rcode
    import dns.rdatatype

    response.flags |= dns.flags.AA
    labels = [label.decode("ascii", "replace").lower() for label in name.labels[:-2]]
    if not labels:
        return dns.rcode.NOERROR
    address = addresses.get(labels[0]) if len(labels) == 1 else None
    if len(labels) == 2 and ".".join((*labels, "vm")) == probe:
        address = _HERE
    if address is None:
        return dns.rcode.NXDOMAIN
    if kind in (dns.rdatatype.A, dns.rdatatype.ANY):
        _add(response, name, "A", address)
    return dns.rcode.NOERROR


def _reverse(
    name: dns.name.Name, kind: int, response: dns.message.Message, addresses: Mapping[str, str]
) -> dns.rcode.Rcode:
    import dns.flags
    import dns.rcode
    import dns.rdatatype
    import dns.reversename

    lowered = name.canonicalize()
    for vm, address in addresses.items():
        if dns.reversename.from_address(address) == lowered:
            response.flags |= dns.flags.AA
            if kind in (dns.rdatatype.PTR, dns.rdatatype.ANY):
                _add(response, name, "PTR", f"{vm}.vm.")
            return dns.rcode.NOERROR
    return dns.rcode.REFUSED


def _add(response: dns.message.Message, name: dns.name.Name, kind: str, value: str) -> None:
    import dns.rrset

    response.answer.append(dns.rrset.from_text(name, TTL, "IN", kind, value))


def _format_error(question: bytes) -> bytes:
    """Return FORMERR with the question's id and nothing of its content."""
    return question[:2] + bytes([0x80 | (question[2] & 0x79), 0x01]) + bytes(8)
