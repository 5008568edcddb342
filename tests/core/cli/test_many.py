"""Several VMs in one command: what is meant, in which order it is told, and what failed."""

from __future__ import annotations

from typing import Any

import pytest

from banger.cli.filter import make_filter
from banger.cli.vm_many import Meant, _resolve, run_on
from banger.errors import ConflictError, NotFoundError, UsageError

VMS = [
    {"name": "one", "id": "aaaa1111" + "0" * 24, "state": "running", "image_name": "debian", "labels": {}},
    {
        "name": "two",
        "id": "aaaa2222" + "0" * 24,
        "state": "stopped",
        "image_name": "debian",
        "labels": {"env": "test", "team": "red"},
    },
    {
        "name": "bbbb",
        "id": "cccc3333" + "0" * 24,
        "state": "running",
        "image_name": "alpine",
        "labels": {"env": "test-2"},
    },
]


def test_each_vm_is_meant_once_in_the_order_it_was_first_named() -> None:
    found, errors = _resolve(["two", "aaaa1111", "one", "nobody", "aaaa", "bbbb", "twoo"], VMS)
    assert [vm["name"] for vm in found] == ["two", "one", "bbbb"]
    assert [type(error) for error in errors] == [ConflictError, NotFoundError, NotFoundError]
    assert errors[0].hint == "they are: one, two"
    assert errors[2].hint == "did you mean 'two'?"


def test_no_hint_names_a_vm_that_the_same_command_deletes() -> None:
    _, (error,) = _resolve(["two", "twoo"], VMS, goes=True)
    assert error.hint == "there is: bbbb, one"
    _, (error,) = _resolve(["one", "two", "bbbb", "nobody"], VMS, goes=True)
    assert error.hint == "see: banger vm list"


class FakeClient:
    """A daemon in which one VM cannot be stopped, and one call breaks."""

    def call(self, name: str, params: dict[str, Any] | None = None, **_: Any) -> dict[str, Any]:
        if name == "vm.list":
            return {"vms": VMS}
        assert params is not None
        (vm,) = [vm for vm in VMS if vm["id"] == params["vm"]]
        if vm["name"] == "one":
            raise ConflictError("'one' is stuck", hint="banger vm kill one")
        if vm["name"] == "bbbb":
            raise RuntimeError("a bug")
        return {"vm": vm, "ports": []}


def stop(vms: tuple[str, ...], *, every: bool = False, filters: tuple[str, ...] = ()) -> int:
    return run_on(
        "vm.stop",
        Meant(vms, every, filters),
        {},
        fits=lambda vm: vm["state"] == "running",
        done="stopped",
        as_json=False,
    )


def test_what_works_is_done_and_what_fails_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("banger.cli.vm_many.Client", FakeClient)
    assert stop(("one", "two", "nobody", "bbbb")) == 1
    said = capsys.readouterr()
    assert said.out == "two stopped\n"
    for words in ("'one' is stuck", "banger vm kill one", "there is no VM 'nobody'", "RuntimeError: a bug"):
        assert words in said.err
    assert stop((), every=True) == 1
    assert "two" not in capsys.readouterr().out


@pytest.mark.parametrize(("vms", "every"), [((), False), (("one",), True)])
def test_names_or_all(vms: tuple[str, ...], every: bool) -> None:
    with pytest.raises(UsageError, match="--all"):
        stop(vms, every=every)


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        (("state=running",), "one bbbb"),
        (("state=running,state=stopped",), "one two bbbb"),
        (("label=env",), "two bbbb"),
        (("label=env=test",), "two"),
        (("label=env=test*",), "two bbbb"),
        (("label=env", "label=team=red"), "two"),
        (("label=env,state=running",), "bbbb"),
        (("name=*b*,image=alpine",), "bbbb"),
        (("label=nothing",), ""),
        ((), "one two bbbb"),
    ],
)
def test_filters(filters: tuple[str, ...], names: str) -> None:
    assert " ".join(vm["name"] for vm in filter(make_filter(filters), VMS)) == names


@pytest.mark.parametrize(
    ("text", "words"),
    [("stat=running", "no such key"), ("state", "which one"), ("", "no such key"), ("label=", "which one")],
)
def test_what_is_no_filter(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make_filter((text,))


def test_a_filter_chooses_among_those_it_makes_sense_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("banger.cli.vm_many.Client", FakeClient)
    assert stop((), filters=("label=env",)) == 1
    assert "RuntimeError: a bug" in capsys.readouterr().err
    assert stop((), filters=("label=env=test",)) == 0
    assert capsys.readouterr().err == "no VM to do that with\n"
    with pytest.raises(UsageError):
        stop(("one",), filters=("label=env",))
