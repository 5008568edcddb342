"""What plugins say of VMs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from banger.errors import UsageError
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


def test_a_users_labels_come_with_the_vm_and_change_at_once(lab: Callable[..., BangerApp]) -> None:
    app = lab()
    made = app.call("vm.create", {"name": "otter", "start": False, "label": ["env=test", "team=a=b", "bare"]})
    assert made["vm"]["labels"] == {"env": "test", "team": "a=b", "bare": ""}
    changed = app.call("vm.set", {"vm": "otter", "label": ["env=prod"], "unlabel": ["team", "bare"]})
    assert changed["vm"]["labels"] == changed["labels"] == {"env": "prod"} and changed["notices"] == []
    assert app.call("vm.list")["labels"] == {made["vm"]["id"]: {"env": "prod"}}
    with pytest.raises(UsageError, match="has no label 'nothing'"):
        app.call("vm.set", {"vm": "otter", "unlabel": ["nothing"]})


@pytest.mark.parametrize(
    "text", ["", "=x", "Env=x", "a b=c", "-a=b", "k=" + "x" * 201, "k=a\nb", "k=\x1b[31m"]
)
def test_what_is_no_label(lab: Callable[..., BangerApp], text: str) -> None:
    app = lab()
    with pytest.raises(UsageError, match="--label"):
        app.call("vm.create", {"name": "otter", "start": False, "label": [text]})
    assert app.call("vm.list")["vms"] == []


def test_a_label_that_is_taken_back_meanwhile_is_left_out(lab: Callable[..., BangerApp]) -> None:
    app = lab()
    vm = app.call("vm.create", {"name": "otter", "start": False})["vm"]
    folder = app.services.paths.vms / vm["id"] / "labels"
    folder.mkdir(parents=True)
    (folder / "lifetime").symlink_to(folder / "taken-back")  # listed, and not there when it is read
    assert app.call("vm.list")["labels"] == {}
