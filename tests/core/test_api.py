"""What plugins import: every promised name is there, and is what its home has."""

from __future__ import annotations

import pytest

from banger import api
from banger.daemon.context import OperationContext


@pytest.mark.parametrize("name", api.__all__)
def test_every_name_has_its_home(name: str) -> None:
    assert getattr(api, name) is not None and name in dir(api)


def test_operations_of_plugins_can_be_typed() -> None:
    assert api.OperationContext is OperationContext


@pytest.mark.parametrize("name", ["Database", "_internal"])
def test_other_names_are_not_there(name: str) -> None:
    with pytest.raises(AttributeError, match=f"banger.api has no '{name}'"):
        getattr(api, name)
