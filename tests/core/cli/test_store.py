"""Commands on images and kernels: names only, and several at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from banger.testing.app import BangerApp
from banger.testing.pytest_plugin import MakeApp, RunCli
from banger.testing.samples import sample_image, sample_kernel
from tests.core.daemon.paper_lab import CONFIG, make_lab

MAKE: dict[str, Callable[..., Any]] = {"image": sample_image, "kernel": sample_kernel}


@pytest.fixture
def app(banger_app: MakeApp) -> BangerApp:
    app = banger_app(make_lab(), builtin=["core"], config=CONFIG)
    for number, name in enumerate(("one", "two", "three")):
        digest = f"sha256:{number:064x}"
        app.services.database.add_image(sample_image().model_copy(update={"name": name, "digest": digest}))
        app.services.database.add_kernel(sample_kernel().model_copy(update={"name": name, "digest": digest}))
    return app


@pytest.mark.parametrize("what", ["image", "kernel"])
def test_names_only(app: BangerApp, run_cli: RunCli, what: str) -> None:
    result = run_cli(what, "list", "-q")
    assert sorted(result.stdout.splitlines()) == ["one", "three", "two"] and result.stderr == ""


@pytest.mark.parametrize(("what", "verb"), [("image", "delete"), ("kernel", "rm")])
def test_several_are_deleted_and_what_is_unknown_is_said(
    app: BangerApp, run_cli: RunCli, what: str, verb: str
) -> None:
    result = run_cli(what, verb, "one", "nothing", "two", "one")
    assert (result.status, result.stdout) == (1, "one deleted\ntwo deleted\n")
    assert f"there is no {what} 'nothing'" in result.stderr and result.stderr.count("hint: ") == 1
    assert run_cli(what, "list", "-q").stdout == "three\n"
    assert json.loads(run_cli(what, verb, "three", "--json").stdout)["name"] == "three"
    assert run_cli(what, verb).status == 2
