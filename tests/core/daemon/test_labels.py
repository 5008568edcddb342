"""What plugins say of VMs."""

from __future__ import annotations

from collections.abc import Callable

from banger.testing.app import BangerApp


def test_list_and_show_have_labels_fit_for_a_terminal(lab: Callable[..., BangerApp]) -> None:
    app = lab()
    vm = app.call("vm.create", {"name": "otter", "start": False})["vm"]
    assert app.call("vm.list")["labels"] == {} and app.call("vm.show", {"vm": "otter"})["labels"] == {}
    folder = app.services.paths.vms / vm["id"] / "labels"
    folder.mkdir(parents=True)
    (folder / "workspace").write_bytes(b"/srv/\xff\x1b[31m -> /root/repo" + b"x" * 1000)
    (folder / ".workspace").write_text("being written")
    [(name, text)] = app.call("vm.show", {"vm": "otter"})["labels"].items()
    assert name == "workspace" and text.startswith("/srv/") and "\x1b" not in text and len(text) <= 300
    assert app.call("vm.list")["labels"] == {vm["id"]: {"workspace": text}}
