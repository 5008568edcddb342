"""How the build hook compiles the agent."""

from __future__ import annotations

import importlib.util
import os
import shlex
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def build() -> Any:
    """The build hook's module; hatchling is a dependency of builds alone."""
    pytest.importorskip("hatchling")
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def hook(build: Any) -> Any:
    return build.AgentBuildHook(str(ROOT), {}, None, None, str(ROOT), "wheel")


def test_the_agent_is_hardened(build: Any) -> None:
    flags = hook(build)._flags(shlex.split(os.environ.get("CC", "cc")))
    assert flags == [*build.FLAGS, *(flag for group in build.HARDENING for flag in group)]


def test_what_a_compiler_does_not_take_is_left_out(build: Any, tmp_path: Path) -> None:
    picky = tmp_path / "cc"
    picky.write_text(
        f'#!/bin/sh\ncase "$*" in *FORTIFY*) exit 1;; esac\nexec {os.environ.get("CC", "cc")} "$@"\n'
    )
    picky.chmod(0o755)
    assert hook(build)._flags([str(picky)]) == [*build.FLAGS, "-fstack-protector-strong"]
