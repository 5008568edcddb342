from __future__ import annotations

import pytest

from banger import errors
from banger.errors import ERRORS, BangerError, StartError, UsageError, error_from_problem


def _classes(base: type[BangerError] = BangerError) -> set[type[BangerError]]:
    return {base}.union(
        *(_classes(sub) for sub in base.__subclasses__() if sub.__module__ == errors.__name__)
    )


def test_every_error_has_a_type_of_its_own_and_is_known_to_the_client() -> None:
    classes = _classes()
    assert len(classes) > 10
    assert {cls.type: cls for cls in classes} == ERRORS
    assert len({cls.type for cls in classes}) == len(classes)


@pytest.mark.parametrize("cls", sorted(ERRORS.values(), key=lambda cls: cls.type))
def test_error_crosses_the_wire_as_the_same_class_with_all_it_says(cls: type[BangerError]) -> None:
    error = cls("it broke", hint="mend it", plugin="foo", step="boot")
    error.op_id = "op-1"
    problem = error.to_problem()
    assert problem["status"] == cls.status and problem["title"] == cls.__name__
    back = error_from_problem(problem)
    assert type(back) is cls
    assert (back.message, back.hint, back.plugin, back.step, back.op_id) == (
        "it broke",
        "mend it",
        "foo",
        "boot",
        "op-1",
    )


def test_problem_leaves_out_what_is_not_known() -> None:
    problem = UsageError("no").to_problem()
    assert problem == {"type": "banger:usage", "title": "UsageError", "status": 400, "detail": "no"}


def test_unknown_problem_still_becomes_an_error_with_a_message() -> None:
    error = error_from_problem({"type": "banger:from-the-future", "title": "FutureError"})
    assert type(error) is BangerError
    assert error.message == "FutureError"
    assert error_from_problem({}).message


def test_an_errors_text_is_its_message() -> None:
    assert str(StartError("it did not start", hint="try again")) == "it did not start"
