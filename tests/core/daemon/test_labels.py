"""What plugins say of VMs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from banger.daemon.labels import read_labels, write_label
from banger.errors import NotFoundError
from banger.testing.app import BangerApp


def test_labels_are_read_as_they_were_written(tmp_path: Path) -> None:
    assert read_labels(tmp_path) == {}
    write_label(tmp_path, "workspace", "/srv/mine/\udcff -> /root/repo")
    write_label(tmp_path, "workspace", "/srv/yours -> /root/repo")
    write_label(tmp_path, "long", "x" * 1000)
    (tmp_path / "labels" / "Not One").write_text("x")
    assert read_labels(tmp_path) == {"long": "x" * 300, "workspace": "/srv/yours -> /root/repo"}
    with pytest.raises(ValueError, match="no label's name"):
        write_label(tmp_path, "../x", "")
    with pytest.raises(NotFoundError, match="deleted meanwhile"):
        write_label(tmp_path / "gone", "workspace", "x")


def test_list_and_show_have_them(lab: Callable[..., BangerApp]) -> None:
    app = lab()
    vm = app.call("vm.create", {"name": "otter", "start": False})["vm"]
    assert app.call("vm.list")["labels"] == {}
    directory = app.services.paths.vms / vm["id"]
    directory.mkdir(exist_ok=True)
    write_label(directory, "workspace", "/srv/yours -> /root/repo")
    said = {"workspace": "/srv/yours -> /root/repo"}
    assert app.call("vm.list")["labels"] == {vm["id"]: said}
    assert app.call("vm.show", {"vm": "otter"})["labels"] == said
