from __future__ import annotations

from pathlib import Path

import pytest

from banger.cli.place import absolute_reference


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("oci-archive:./a b.tar", "oci-archive:/here/a b.tar"),
        ("oci-layout:../x", "oci-layout:/x"),
        ("oci-layout:.", "oci-layout:/here"),
        ("oci-archive:~/x.tar", "oci-archive:/me/x.tar"),
        ("oci-archive:/x.tar", "oci-archive:/x.tar"),
        ("debian:bookworm", "debian:bookworm"),
        ("localhost:5000/a/b:v1", "localhost:5000/a/b:v1"),
        ("./x", "./x"),
        (None, None),
    ],
)
def test_paths_are_the_callers(monkeypatch: pytest.MonkeyPatch, typed: str | None, meant: str | None) -> None:
    monkeypatch.setenv("HOME", "/me")
    monkeypatch.setattr("os.getcwd", lambda: str(Path("/here")))
    assert absolute_reference(None, None, typed) == meant
