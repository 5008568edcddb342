"""What the command line hands over for a new VM's work disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from banger.cli.handover import open_handover
from banger.errors import HostError, StartError
from banger.host.folder import remove_tree
from banger.start.context import StartContext
from banger.start.step import StartStep
from banger.testing.app import BangerApp
from banger.testing.plugin_sets import make_plugin

MakeLab = Callable[..., BangerApp]


def start_lab(lab: MakeLab, seen: list[str], *, takes: bool) -> BangerApp:
    """Return a daemon whose starts look at what was handed over, take it or not, and fail."""

    def look(ctx: StartContext) -> None:
        seen.extend(path.name for path in ctx.paths.content.iterdir())
        if takes:
            remove_tree(ctx.paths.content)
        raise StartError("far enough")

    def banger_register_start_steps() -> list[StartStep]:
        return [StartStep("look", look, before=("check-host", "preflight"))]

    return lab(make_plugin("look", banger_register_start_steps))


@pytest.mark.parametrize("takes", [True, False])
def test_a_directory_is_taken_over_and_nothing_of_it_stays(lab: MakeLab, takes: bool) -> None:
    seen: list[str] = []
    app = start_lab(lab, seen, takes=takes)
    paths = app.services.paths
    with open_handover(paths.handover) as folder:
        (folder / "file").write_text("x")
        with pytest.raises(StartError, match="far enough"):
            app.call("vm.create", {"name": "otter", "content": folder.name})
        assert not folder.exists()
    [vm] = app.services.database.vms()
    assert seen == ["file"] and not (paths.vms / vm.id / "content").exists()


def test_a_directory_that_is_gone_is_said(lab: MakeLab) -> None:
    app = start_lab(lab, [], takes=False)
    with pytest.raises(HostError, match="what is to go on the work disk is gone"):
        app.call("vm.create", {"content": "0" * 32})


@pytest.mark.parametrize("name", ["../../etc", "x", "0" * 31 + "/"])
def test_a_name_that_is_none_is_refused(lab: MakeLab, name: str, tmp_path: Path) -> None:
    app = start_lab(lab, [], takes=False)
    with pytest.raises(Exception, match="content"):
        app.call("vm.create", {"content": name})
    assert app.services.database.vms() == []
