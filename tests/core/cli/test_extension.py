"""What plugins add to ``vm run`` and ``vm exec``: found, parsed, checked before anything is done."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, cast

import click
import pytest

from banger.cli import extension
from banger.cli.extension import (
    ExtendedCommand,
    Extension,
    Place,
    Plans,
    Work,
    load_extensions,
    plan_extensions,
    wrap_command,
)
from banger.errors import PluginError

_CALLS: list[Any] = []


def _plan(choices: MutableMapping[str, Any]) -> Any:
    where = choices.pop("where")
    if where == "nowhere":
        raise click.UsageError("not there")
    return (lambda client, vm: Place(where, ("env", vm))) if where else None


GOOD = Extension((click.Argument(["where"], required=False),), _plan)
NOT_ONE = object()


def make_command(monkeypatch: pytest.MonkeyPatch, *extensions: Extension) -> click.Command:
    monkeypatch.setattr(extension, "load_extensions", lambda group: extensions)

    @click.command(cls=ExtendedCommand, group="g", dashes=True)
    @click.option("--flag", is_flag=True)
    def run(flag: bool, command: tuple[str, ...], **choices: Any) -> Any:
        """Run it."""
        place = plan_extensions(choices)(None, "vm")
        return flag, place.workdir, wrap_command(place, command), choices

    return run


def call(command: click.Command, *words: str) -> Any:
    return command.main(list(words), prog_name="run", standalone_mode=False)


@pytest.mark.parametrize(
    ("words", "result"),
    [
        ((), (False, None, ())),
        (("--", "cmd", "--flag"), (False, None, ("cmd", "--flag"))),
        (("here", "--flag"), (True, "here", ())),
        (("--flag", "here", "--", "cmd", "--", "x"), (True, "here", ("env", "vm", "cmd", "--", "x"))),
        (("--", "here"), (False, None, ("here",))),
    ],
)
def test_what_stands_before_and_after_the_dashes(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], result: tuple[Any, ...]
) -> None:
    assert call(make_command(monkeypatch, GOOD), *words) == (*result, {})


def test_without_an_extension_nothing_may_stand_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(click.UsageError, match="unexpected extra argument"):
        call(make_command(monkeypatch), "here")


def test_a_refusal_comes_before_anything_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(click.UsageError, match="not there"):
        call(make_command(monkeypatch, GOOD), "nowhere", "--", "cmd")


def test_the_help_has_their_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    command = make_command(monkeypatch, GOOD)
    text = command.get_help(click.Context(command, info_name="run"))
    assert "Usage: run [OPTIONS] [WHERE] [-- COMMAND...]" in text


def plant(monkeypatch: pytest.MonkeyPatch, where: Path, target: str) -> None:
    info = where / "odd-1.0.dist-info"
    info.mkdir()
    (info / "entry_points.txt").write_text(f"[banger]\nodd = nothing\n\n[banger.test]\nodd = {target}\n")
    monkeypatch.syspath_prepend(str(where))


def test_they_are_found_by_entry_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_extensions("banger.test") == ()
    (tmp_path / "banger_odd.py").write_text(
        "from banger.api import Extension\nhere = Extension((), lambda choices: None)\n"
    )
    plant(monkeypatch, tmp_path, "banger_odd:here")
    assert len(load_extensions("banger.test")) == 1


@pytest.mark.parametrize(
    "target", ["no_such_module:x", "banger.cli.extension:nothing", "banger.cli.extension:Place"]
)
def test_one_that_cannot_be_loaded_is_a_plain_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    plant(monkeypatch, tmp_path, target)
    with pytest.raises(PluginError) as caught:
        load_extensions("banger.test")
    assert caught.value.hint == "banger doctor"


def test_what_is_staged_is_handed_over_and_else_removed(tmp_path: Path) -> None:
    told: list[bool] = []

    def stage(folder: Path) -> bool:
        (folder / "file").write_text("x")
        return True

    def arrive(_client: Any, _vm: str, staged: bool) -> Place:
        told.append(staged)
        return Place("/there")

    plans = Plans([Work(arrive, stage), lambda client, vm: Place(None, ("env",))])
    with plans.staged(tmp_path) as name:
        assert name is not None and (tmp_path / name / "file").read_text() == "x"
    assert list(tmp_path.iterdir()) == []
    assert plans(cast("Any", None), "vm", staged=True) == Place("/there", ("env",))
    assert told == [True]


def test_nothing_is_staged_where_nobody_has_something(tmp_path: Path) -> None:
    with Plans([lambda client, vm: Place()]).staged(tmp_path / "staging") as name:
        assert name is None
    assert not (tmp_path / "staging").exists()
    with Plans([Work(lambda *_: Place(), lambda folder: False)]).staged(tmp_path / "staging") as name:
        assert name is None
