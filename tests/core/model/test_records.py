from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

import banger.model
from banger.model.image import Image
from banger.model.vm import PublishedPort, Vm, VmSpec, VmState
from banger.testing.samples import sample_image, sample_kernel, sample_vm

MODULES = [
    importlib.import_module(f"banger.model.{info.name}")
    for info in pkgutil.iter_modules(banger.model.__path__)
]
CLASSES = [
    cls
    for module in MODULES
    for _, cls in inspect.getmembers(module, inspect.isclass)
    if cls.__module__ == module.__name__
]


@pytest.mark.parametrize(
    "record", [sample_vm(), sample_image(), sample_kernel()], ids=lambda r: type(r).__name__
)
def test_record_survives_json(record: Any) -> None:
    assert type(record).model_validate_json(record.model_dump_json()) == record


@pytest.mark.parametrize(
    "change",
    [{"vcpu": 0}, {"vcpu": 256}, {"memory_mib": 0}, {"disk_mib": -1}, {"overlay_mib": 0}, {"unknown": 1}],
)
def test_impossible_spec_is_refused(change: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        VmSpec.model_validate({**sample_vm().spec.model_dump(), **change})


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_impossible_port_is_refused(port: int) -> None:
    with pytest.raises(ValidationError):
        PublishedPort(guest=port, host=80)


@pytest.mark.parametrize("digest", ["", "sha256:", "sha256:" + "g" * 64, "md5:" + "0" * 64, "0" * 64])
def test_impossible_digest_is_refused(digest: str) -> None:
    with pytest.raises(ValidationError):
        Image.model_validate({**sample_image().model_dump(), "digest": digest})


@pytest.mark.parametrize("vm_id", ["", "X" * 32, "0" * 31, "../" + "0" * 29])
def test_impossible_id_is_refused(vm_id: str) -> None:
    with pytest.raises(ValidationError):
        sample_vm(id=vm_id)


def test_every_value_of_the_model_is_frozen() -> None:
    dataclass_count = model_count = 0
    for cls in CLASSES:
        if dataclasses.is_dataclass(cls):
            dataclass_count += 1
            assert cls.__dataclass_params__.frozen, cls  # type: ignore[attr-defined]
        elif issubclass(cls, BaseModel):
            model_count += 1
            assert cls.model_config.get("frozen") and cls.model_config.get("extra") == "forbid", cls
    assert dataclass_count > 10 and model_count > 3


def test_states_are_what_people_see() -> None:
    assert f"{VmState.RUNNING}" == "running"
    assert set(VmState) == {"created", "starting", "running", "stopping", "stopped", "error"}
    assert Vm.model_validate({**sample_vm().model_dump(), "state": "stopped"}).state is VmState.STOPPED
