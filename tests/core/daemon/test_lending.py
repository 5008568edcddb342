"""What a new VM is lent: chosen, refused, remembered by name alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from banger.errors import ConfigError, NotFoundError, UsageError
from banger.model.auth import AuthSync
from banger.model.capability import Capability
from banger.testing.app import BangerApp
from banger.testing.plugin_sets import make_plugin
from tests.core.daemon.paper_lab import CONFIG

MakeLab = Callable[..., BangerApp]


def banger_register_auth_syncs() -> list[AuthSync]:
    return [
        AuthSync("tool", "~/.tool", "~/.tool"),
        AuthSync("other", "~/.other", "~/.other", read=lambda _: b"x"),
    ]


def banger_register_capabilities() -> list[Capability]:
    return [Capability("helper", "comes with a login", lends=("other",)), Capability("plain", "comes alone")]


@pytest.fixture
def make(lab: MakeLab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], BangerApp]:
    monkeypatch.setenv("HOME", str(tmp_path))
    return lambda config: lab(
        make_plugin("lender", banger_register_auth_syncs, banger_register_capabilities),
        config=CONFIG + config,
    )


def chosen(app: BangerApp, **wanted: Any) -> list[str]:
    auth: list[str] = app.call("vm.create", {"start": False, **wanted})["vm"]["spec"]["auth"]
    return auth


def test_nothing_is_lent_unless_chosen(make: Callable[[str], BangerApp]) -> None:
    assert chosen(make("")) == []


def test_configuration_and_flags_add_up_and_none_is_none(make: Callable[[str], BangerApp]) -> None:
    app = make('[auth]\nsync = ["tool"]\n')
    assert chosen(app) == ["tool"]
    assert chosen(app, auth=["other", "tool"]) == ["tool", "other"]
    assert chosen(app, auth=["none"]) == ["none"]
    with pytest.raises(UsageError, match="--auth none"):
        chosen(app, auth=["none", "tool"])


def test_a_capability_brings_what_it_lends_unless_nothing_is_to_be_lent(
    make: Callable[[str], BangerApp],
) -> None:
    app = make("")
    assert chosen(app, **{"with": ["helper", "plain"]}) == ["other"]
    assert chosen(app, auth=["tool"], **{"with": ["helper"]}) == ["tool", "other"]
    assert chosen(app, auth=["none"], **{"with": ["helper"]}) == ["none"]


def test_an_unknown_name_is_refused_with_what_is_close(make: Callable[[str], BangerApp]) -> None:
    with pytest.raises(NotFoundError) as caught:
        chosen(make(""), auth=["toll"])
    assert "tool" in (caught.value.hint or "")


def test_a_private_key_is_refused_before_anything_is_made(
    make: Callable[[str], BangerApp], tmp_path: Path
) -> None:
    (tmp_path / "id").write_text("-----BEGIN PRIVATE KEY-----\n")
    app = make('[[file_sync]]\nhost = "~/id"\nguest = "~/id"\n')
    with pytest.raises(ConfigError, match="private key"):
        chosen(app)
    assert app.call("vm.list")["vms"] == []
    assert chosen(app, auth=["none"]) == ["none"]
