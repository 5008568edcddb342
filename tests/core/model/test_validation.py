from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from banger.model.validation import describe_refusal


class Thing(BaseModel):
    model_config = ConfigDict(extra="forbid")

    number: int = Field(default=1, ge=1, le=9)
    share: float = 0.5
    switch: bool = False
    text: str = Field(default="abc", min_length=1, max_length=5)
    kind: Literal["a", "b"] = "a"
    names: tuple[str, ...] = Field(default=(), max_length=2)
    table: dict[str, str] = {}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"number": "many"}, "must be a whole number, not 'many'"),
        ({"number": 1.5}, "must be a whole number, not 1.5"),
        ({"number": None}, "must be a whole number, not nothing"),
        ({"number": 0}, "must be 1 or more, not 0"),
        ({"number": 10}, "must be 9 or less, not 10"),
        ({"share": "half"}, "must be a number, not 'half'"),
        ({"switch": 7}, "must be true or false, not 7"),
        ({"switch": "perhaps"}, "must be true or false, not 'perhaps'"),
        ({"text": 3}, "must be text, not 3"),
        ({"text": True}, "must be text, not true"),
        ({"text": ""}, "must not be empty"),
        ({"text": "x" * 100}, f"must be text of at most 5 characters, not '{'x' * 60}…'"),
        ({"kind": "c"}, "must be one of 'a' or 'b', not 'c'"),
        ({"names": "a"}, "must be a list, not 'a'"),
        ({"names": ["a"] * 3}, "must be a list of at most 2, not a list of 3"),
        ({"table": []}, "must be a table of names and values, not a list of 0"),
        ({"nothing": 1}, "is unknown"),
    ],
    ids=str,
)
def test_plain_words(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Thing.model_validate(given)
    assert describe_refusal(caught.value.errors()[0]) == said


def test_missing_is_said_so() -> None:
    class Needs(BaseModel):
        name: str

    with pytest.raises(ValidationError) as caught:
        Needs.model_validate({})
    assert describe_refusal(caught.value.errors()[0]) == "is missing"


def test_unknown_kind_of_error_keeps_its_own_words() -> None:
    assert describe_refusal({"type": "value_error", "msg": "Value error, too blue"}) == "too blue"
