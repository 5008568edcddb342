from __future__ import annotations

import tempfile

from banger.errors import CancelledError
from banger_images_debian.transcript import Transcript

PRINTED = """I: running apt-get update...
Get:1 http://a.example/debian bookworm InRelease [151 kB]
I: downloading packages with apt...
Need to get 1,500 kB of archives.
Get:1 http://a.example/debian bookworm/main amd64 libc6 amd64 2.36 [1,000 kB]
Get:2 http://a.example/debian bookworm/main amd64 bash amd64 5.2 [500 kB]
I: installing remaining packages inside the chroot...
Need to get 12.5 MB/20.0 MB of archives.
Get:1 http://a.example/debian bookworm/main amd64 git amd64 2.39 [12.4 MB]
Setting up git (2.39) ...
banger: notice mise is left out
banger: stage disk
"""


def test_stages_and_bytes() -> None:
    seen: list[tuple[object, ...]] = []

    def report(stage: str, detail: str = "", *, done: int | None = None, total: int | None = None) -> None:
        seen.append((stage, detail, done, total))

    with tempfile.TemporaryFile() as log:
        transcript = Transcript(log, report)
        for line in PRINTED.splitlines(keepends=True):
            # A line may arrive in pieces.
            for piece in (line[:7], line[7:]):
                log.write(piece.encode())
                log.flush()
                assert transcript.follow() is False
    assert list(dict.fromkeys(seen[1:])) == [
        ("fetching package lists", "", None, None),
        ("fetching package lists", "", 151_000, None),
        ("fetching the base system", "", None, None),
        ("fetching the base system", "", 0, 1_500_000),
        ("fetching the base system", "", 1_000_000, 1_500_000),
        ("fetching the base system", "", 1_500_000, 1_500_000),
        ("fetching packages", "", None, None),
        ("fetching packages", "", 0, 12_500_000),
        ("fetching packages", "", 12_400_000, 12_500_000),
        ("installing packages", "git", None, None),
        ("writing the disk", "", None, None),
    ]
    assert transcript.tail[-1] == "banger: stage disk"
    assert transcript.notices == ["mise is left out"]


def test_cancellation_is_passed_on() -> None:
    def report(stage: str, detail: str = "", *, done: int | None = None, total: int | None = None) -> None:
        raise CancelledError("enough")

    with tempfile.TemporaryFile() as log:
        assert Transcript(log, report).follow() is True


def test_unchanged_stage_is_not_repeated_at_once() -> None:
    count = 0

    def report(stage: str, detail: str = "", *, done: int | None = None, total: int | None = None) -> None:
        nonlocal count
        count += 1

    with tempfile.TemporaryFile() as log:
        transcript = Transcript(log, report)
        for _ in range(5):
            transcript.follow()
    assert count == 1
