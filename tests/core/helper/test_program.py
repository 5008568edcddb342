"""Programs that the helper runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from banger.errors import HostError
from banger.helper import program
from banger.helper.program import first_line, run_program


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a program ``tool`` of the test's into the only folder that is looked at."""
    monkeypatch.setattr(program, "_FOLDERS", (str(tmp_path / "none"), str(tmp_path)))

    def install(text: str) -> None:
        (tmp_path / "tool").write_text(text)
        (tmp_path / "tool").chmod(0o755)

    return install


def test_it_gets_its_input_and_nothing_of_the_callers(
    install: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "of the caller")
    install('#!/bin/sh\ncat; echo "$1 $SECRET $LANG"; pwd; echo why >&2; exit 3\n')
    monkeypatch.setattr(program, "_FOLDERS", (*program._FOLDERS, "/usr/bin", "/bin"))
    done = run_program("tool", ["one"], text="said\n", seconds=60, package="tools")
    assert (done.returncode, done.stdout, done.stderr) == (3, "said\none  C.UTF-8\n/\n", "why\n")


def test_what_is_not_there_names_its_package(install: Callable[[str], None]) -> None:
    with pytest.raises(HostError, match="tool is not installed") as caught:
        run_program("tool", [], seconds=1, package="tools")
    assert caught.value.hint == "sudo apt install tools"


def test_one_that_does_not_end_is_ended(install: Callable[[str], None]) -> None:
    install("#!/bin/sh\nexec /bin/sleep 120\n")
    with pytest.raises(HostError, match="tool did not end within 1 s"):
        run_program("tool", [], seconds=1, package="tools")


def test_what_cannot_be_started_is_one_clear_line(install: Callable[[str], None]) -> None:
    install("not a program")
    with pytest.raises(HostError, match="tool could not be started: "):
        run_program("tool", [], seconds=1, package="tools")


@pytest.mark.parametrize(
    ("text", "line"), [("", "it says nothing"), (" \n\nthis\nthat", "this"), ("x" * 300, "x" * 200)]
)
def test_the_first_line_that_says_something(text: str, line: str) -> None:
    assert first_line(text) == line
