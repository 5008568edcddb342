"""Files fetched over HTTP: to the byte and the digest that was wanted, going on where an earlier try stopped."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from banger.errors import ImageError
from banger.transfer.connections import TRIES, Connections

if TYPE_CHECKING:
    import httpx

#: The longest that a Retry-After is kept to, seconds.
_WAIT = 20.0
_CHUNK = 1024 * 1024

#: Asks for a file with these headers besides the usual ones; gives an answer of status 200 or 206.
Get = Callable[[dict[str, str]], AbstractContextManager["httpx.Response"]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a file has to be: ``sha256:`` and 64 hexadecimal digits, bytes; and who has it, for people."""

    digest: str
    size: int
    origin: str


def download(
    get: Get, target: Path, wanted: Wanted, connections: Connections, tick: Callable[[int], None]
) -> None:
    """Fetch a file to ``target``; ``tick`` gets the bytes so far. What came of it before lies in ``target.part``.

    Of several that fetch the same file, in this process or another, one does and the others wait.

    :raises ImageError: other content came, or it was broken off too often.
    """
    import httpx

    part = target.with_name(f"{target.name}.part")
    with _hold(part, target, connections) as file:
        if file is None:
            return
        for attempt in range(TRIES):
            try:
                _fetch(get, wanted, file, connections, tick)
                break
            except httpx.TransportError as error:
                retry_later(connections, wanted.origin, attempt, error)
            except ImageError:
                part.unlink(missing_ok=True)
                raise
        file.flush()  # what a crash makes of it is seen by its digest
        os.replace(part, target)


def retry_later(connections: Connections, origin: str, attempt: int, error: Exception) -> None:
    """Wait before the next try; ImageError when there is none."""
    connections.check()
    if attempt + 1 == TRIES:
        said = ascii(str(error) or type(error).__name__)[1:-1][:80]
        raise ImageError(f"{origin} broke off {TRIES} times: {said}", hint="try again later") from error
    connections.sleep(0.2 * 2**attempt)


def find_pause(asked: str, tries: int) -> float:
    """Return the seconds to wait: as a Retry-After asks for, within bounds."""
    if asked.isascii() and asked.isdigit() and len(asked) < 6:
        return min(float(asked), _WAIT)
    return 0.3 * 2.0**tries


@contextmanager
def _hold(part: Path, target: Path, connections: Connections) -> Iterator[IO[bytes] | None]:
    """Give the part, locked; None when somebody else has finished it meanwhile."""
    while True:
        with open(part, "a+b") as file:
            while not _lock(file):
                connections.sleep(0.1)
            if not _is_same(file, part):
                continue  # it was finished, or thrown away, by whoever had it
            if target.exists():
                part.unlink()
                yield None
            else:
                yield file
            return


def _fetch(
    get: Get, wanted: Wanted, file: IO[bytes], connections: Connections, tick: Callable[[int], None]
) -> None:
    import httpx

    digest, done = _hash_part(file, wanted.size)
    if done < wanted.size:
        with get({"Range": f"bytes={done}-"} if done else {}) as answer:
            if done and not _goes_on(answer, done):
                file.truncate(0)
                digest, done = hashlib.sha256(), 0
            for data in answer.iter_raw():
                done += len(data)
                if done > wanted.size:
                    break
                digest.update(data)
                file.write(data)
                connections.moved(len(data))
                tick(done)
    if done < wanted.size:
        raise httpx.ReadError(f"only {done} of {wanted.size} bytes came")
    if done > wanted.size or f"sha256:{digest.hexdigest()}" != wanted.digest:
        raise ImageError(f"{wanted.origin} sent other content than {wanted.digest[:19]}")


def _lock(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_same(file: IO[bytes], path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(file.fileno()), there)


def _hash_part(file: IO[bytes], limit: int) -> tuple[hashlib._Hash, int]:
    """Return the state of the digest of what is there, and its bytes; what is too long is thrown away."""
    digest, done = hashlib.sha256(), 0
    file.seek(0)
    while data := file.read(_CHUNK):
        digest.update(data)
        done += len(data)
    if done > limit:
        file.truncate(0)
        return hashlib.sha256(), 0
    return digest, done


def _goes_on(answer: httpx.Response, done: int) -> bool:
    """Tell whether an answer is the rest from a byte on."""
    found = re.match(r"bytes (\d{1,15})-", answer.headers.get("Content-Range", ""))
    return answer.status_code == 206 and found is not None and int(found[1]) == done
