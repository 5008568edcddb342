"""Whether a port speaks HTTPS or HTTP. What answers is hostile: little is read, and not for long."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

#: Seconds for each attempt.
_SECONDS = 1.5
#: Bytes of an answer that are read.
_BYTES = 16


async def find_scheme(address: str, port: int) -> str | None:
    """Return ``https``, ``http`` or None. HTTPS first: its servers answer plain HTTP too, with a refusal."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # nothing is sent but a request for "/": it does not matter who answers
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    for scheme, tls in (("https", context), ("http", None)):
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
            async with asyncio.timeout(_SECONDS):
                if await _answers(address, port, tls):
                    return scheme
    return None


async def _answers(address: str, port: int, tls: ssl.SSLContext | None) -> bool:
    reader, writer = await asyncio.open_connection(address, port, ssl=tls)
    try:
        writer.write(b"HEAD / HTTP/1.0\r\n\r\n")
        await writer.drain()
        return (await reader.readexactly(_BYTES)).startswith(b"HTTP/")
    finally:
        writer.transport.abort()
