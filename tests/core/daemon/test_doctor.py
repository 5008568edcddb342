"""Doctor prints what it can, whatever is wrong: that is when it is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from banger.model.check import Check, CheckResult, CheckStatus
from banger.testing.app import BangerApp
from banger.testing.plugin_sets import make_plugin
from banger.testing.pytest_plugin import MakeApp

MakeLab = Callable[..., BangerApp]


def wrong(kind: Any) -> Any:
    """Return a type as what takes anything: plugins are not type-checked."""
    return kind


def fail(commands: Any) -> CheckResult:
    raise RuntimeError("first\nsecond")


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (lambda _: None, "NoneType"),
        (lambda _: "PASS", "'str'"),
        (lambda _: wrong(CheckResult)(CheckStatus.PASS, b"\xff"), "detail"),
        (lambda _: wrong(CheckResult)("GREAT", "it is"), "status"),
        (fail, "first second"),
    ],
)
def test_check_that_fails_itself_is_a_line_like_the_others(lab: MakeLab, run: Any, said: str) -> None:
    def banger_register_checks() -> list[Check]:
        return [Check("weather", run)]

    answer = lab(make_plugin("sea", banger_register_checks)).call("doctor")
    [line] = [line for line in answer["checks"] if line["name"] == "weather"]
    assert (line["status"], line["plugin"], line["hint"]) == ("FAIL", "sea", "report it to plugin sea")
    assert line["detail"].startswith("the check itself failed: ") and said in line["detail"]
    assert not answer["ok"] and len(answer["checks"]) > 1


def test_plugin_whose_docstring_is_blank_is_listed(lab: MakeLab) -> None:
    plugins = lab(make_plugin("mute", __doc__=" \n")).call("plugins.list")["plugins"]
    assert {"mute": ""}.items() <= {line["name"]: line["summary"] for line in plugins}.items()


def test_vm_whose_handles_are_damaged_is_a_warning(lab: MakeLab) -> None:
    app = lab()
    vm = app.call("vm.create", {"name": "otter", "start": False})["vm"]
    app.services.database.set_handles(vm["id"], {"sections": 7})
    (app.paths.vms / vm["id"]).mkdir(exist_ok=True)
    (app.paths.vms / vm["id"] / "handles.json").write_text("[]")
    [line] = [line for line in app.call("doctor")["checks"] if line["name"] == "vm otter"]
    assert line["status"] == "WARN" and "is damaged" in line["detail"] and "--force" in line["hint"]


def test_defaults_are_said_with_where_they_come_from(banger_app: MakeApp) -> None:
    app = banger_app(builtin=["core"], config='[defaults]\nmemory = "768M"\n')
    lines = {line["name"]: line for line in app.call("doctor")["checks"]}
    assert (
        "768M of memory (config.toml:2), 8G disk (built-in), debian-bookworm (built-in)"
        in (lines["defaults"]["detail"])
    )
    assert (lines["plugins"]["status"], lines["plugins"]["detail"]) == ("PASS", "core")
